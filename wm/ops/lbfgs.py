"""Minimising a smooth function to the end, on the device.

One flat loop: every round is one evaluation, whether it is the first of all, goes on
with a line search or begins the next. The program holds the function once, and rows
under `vmap` never wait for one another inside a search.

Sources: the direction is `optax.scale_by_lbfgs` (Liu & Nocedal 1989); the line search
is bisection to the weak Wolfe conditions (Lewis & Overton 2013, algorithm 2.6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from wm.types import Tree

ARMIJO, CURVATURE = 1e-4, 0.9
"""Least share of the promised decrease; most of the slope that may be left."""


class Minimum(NamedTuple):
    """Where the search ended."""

    point: Tree
    """The best point met."""
    value: jax.Array
    iterations: jax.Array
    """i32, line searches that were finished."""


class _Search(NamedTuple):
    """What the loop carries; points are flat `[K]`."""

    point: jax.Array
    value: jax.Array
    gradient: jax.Array
    direction: jax.Array
    memory: Tree
    step: jax.Array
    low: jax.Array
    high: jax.Array
    evaluations: jax.Array
    """i32, of this line search."""
    count: jax.Array
    """i32, finished line searches; −1 before the start was evaluated."""
    going: jax.Array


def minimize(
    function: Callable[[Tree], jax.Array],
    start: Tree,
    iterations: int,
    evaluations: int = 30,
    memory: int = 75,
    tolerance: float = 1e-7,
) -> Minimum:
    """L-BFGS, in a `while_loop`. A value that is not finite shortens the step.

    Use double precision: in single, line searches end early.

    Args:
      function: of a tree like `start`, where it must be finite.
      start: arrays of one dtype.
      iterations: line searches, at most; with 0 the start is the result.
      evaluations: of the function per line search, at most.
      memory: steps that the curvature is estimated from; with as many as there are
        entries, this is as good as BFGS.
      tolerance: ends when an iteration gains less than this times 1 + |value|, or no
        entry of the gradient is above it.
    """
    flat, rebuild = ravel_pytree(start)
    value_and_grad = jax.value_and_grad(lambda point: function(rebuild(point)))
    lbfgs = optax.scale_by_lbfgs(memory_size=memory)

    def unfinished(now: _Search) -> jax.Array:
        return now.going & (now.count < iterations)

    def one(now: _Search) -> _Search:
        point = now.point + now.step * now.direction
        value, gradient = value_and_grad(point)
        slope = now.gradient @ now.direction
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all()
        lower = finite & (value <= now.value + ARMIJO * now.step * slope)
        flatter = gradient @ now.direction >= CURVATURE * slope
        spent = now.evaluations + 1 >= evaluations
        take, give_up = lower & (flatter | spent), ~lower & spent
        low = jnp.where(lower, now.step, now.low)
        high = jnp.where(lower, now.high, now.step)
        step = jnp.where(jnp.isinf(high), 2 * low, 0.5 * (low + high))
        gained = now.value - value > tolerance * (1 + jnp.abs(value))
        taken = _begin(lbfgs, point, value, gradient, now.memory)
        taken = taken._replace(
            count=now.count + jnp.int32(1),
            going=(now.count < 0) | gained & (jnp.abs(gradient).max() > tolerance),
        )
        onward = now._replace(
            step=step,
            low=low,
            high=high,
            evaluations=now.evaluations + jnp.int32(1),
            going=~give_up,
        )
        return jax.tree.map(lambda a, b: jnp.where(take, a, b), taken, onward)

    end = jax.lax.while_loop(unfinished, one, _unmoved(lbfgs, flat))
    return Minimum(rebuild(end.point), end.value, jnp.maximum(end.count, 0))


def _begin(lbfgs, point, value, gradient, memory) -> _Search:
    """The first evaluation of a line search from here."""
    bent, memory = lbfgs.update(gradient, memory, point)
    full = jnp.ones_like(value)
    zero = jnp.zeros((), jnp.int32)
    return _Search(
        point=point,
        value=value,
        gradient=gradient,
        direction=-bent,
        memory=memory,
        step=full,
        low=jnp.zeros_like(full),
        high=jnp.full_like(full, jnp.inf),
        evaluations=zero,
        count=zero,
        going=jnp.ones((), bool),
    )


def _unmoved(lbfgs, flat) -> _Search:
    """A step of 0 from the start, as if its value were infinite."""
    still, zero = jnp.zeros_like(flat), jnp.zeros((), flat.dtype)
    infinite = jnp.full_like(zero, jnp.inf)
    return _Search(
        point=flat,
        value=infinite,
        gradient=still,
        direction=still,
        memory=lbfgs.init(flat),
        step=zero,
        low=zero,
        high=infinite,
        evaluations=jnp.zeros((), jnp.int32),
        count=jnp.full((), -1, jnp.int32),
        going=jnp.ones((), bool),
    )
