"""A baseline of returns that is linear in features of observation and time.

Fitted anew to every batch by least squares, in closed form: nothing is kept.

Source: Duan et al. 2016 (rllab), `LinearFeatureBaseline`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

RIDGE = 1e-5
"""Of each feature's own mean square, added to it (rllab: 1e-5 itself, to the sum)."""


def features(observation: jax.Array) -> jax.Array:
    """Of `[T, B, D]`: observations within ±10, their squares, t / 100 and its square
    and cube, and 1; f32 `[T, B, 2 D + 4]`."""
    seen = jnp.clip(observation.astype(jnp.float32), -10.0, 10.0)
    T, B, _ = seen.shape
    time = jnp.broadcast_to(jnp.arange(T)[:, None, None] / 100.0, (T, B, 1))
    parts = [seen, seen**2, time, time**2, time**3, jnp.ones_like(time)]
    return jnp.concatenate(parts, -1)


def baseline(observation: jax.Array, returns: jax.Array, mask: jax.Array) -> jax.Array:
    """What the features say of `returns` `[T, B]`, f32 `[T, B]`.

    Args:
      observation: `[T, B, D]`, of rollouts that all begin at t = 0.
      returns: f32 `[T, B]`.
      mask: f32 `[T, B]`: 0 where a rollout is over; such rows are not fitted.
    """
    x = features(observation)
    seen = x * mask[..., None]
    count = jnp.maximum(mask.sum(), 1)
    # Scaled to a unit diagonal: single precision then solves it.
    scale = jnp.sqrt(jnp.square(seen).sum((0, 1)) / count) + 1e-8
    x, seen = x / scale, seen / scale
    products = jnp.einsum("tbi,tbj->ij", seen, seen) / count
    targets = jnp.einsum("tbi,tb->i", seen, returns) / count
    identity = RIDGE * jnp.eye(x.shape[-1])
    return x @ jnp.linalg.solve(products + identity, targets)
