"""Schedules: functions of a count (int or i32 array) that return f32 `[]`.

They are what optax expects as a learning rate, and serve for any annealed number.
"""

from __future__ import annotations

import jax.numpy as jnp
import optax


def linear(start: float, end: float, steps: int, begin: int = 0) -> optax.Schedule:
    """`start` until count `begin`, then straight to `end` over `steps` counts."""
    _positive(steps)
    return lambda count: start + (end - start) * _progress(count, steps, begin)


def cosine(start: float, end: float, steps: int, begin: int = 0) -> optax.Schedule:
    """`start` until count `begin`, then half a cosine to `end` over `steps` counts."""
    _positive(steps)

    def schedule(count):
        share = 0.5 * (1 - jnp.cos(jnp.pi * _progress(count, steps, begin)))
        return start + (end - start) * share

    return schedule


def exponential(start: float, end: float, steps: int, begin: int = 0) -> optax.Schedule:
    """`start` until `begin`, then a constant factor per count to `end`."""
    _positive(steps)
    if not (start > 0 and end > 0):
        raise ValueError(f"start and end must be positive, got {start} and {end}")
    return lambda count: start * (end / start) ** _progress(count, steps, begin)


def product(*schedules: optax.Schedule) -> optax.Schedule:
    """The product of several schedules, e.g. of a warm-up and a decay."""

    def schedule(count):
        value = jnp.float32(1)
        for part in schedules:
            value = value * part(count)
        return value

    return schedule


def _progress(count, steps: int, begin: int):
    count = jnp.asarray(count, jnp.float32)
    return jnp.clip((count - begin) / steps, 0.0, 1.0)


def _positive(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
