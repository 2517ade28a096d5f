"""Minimising a smooth function to the end, on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.ops.trees import where_rows
from wm.types import Tree


class Minimum(NamedTuple):
    """Where the search ended."""

    point: Tree
    """The best point met."""
    value: jax.Array
    iterations: jax.Array
    """i32."""


def minimize(
    function: Callable[[Tree], jax.Array],
    start: Tree,
    iterations: int,
    evaluations: int = 30,
    tolerance: float = 1e-7,
) -> Minimum:
    """L-BFGS with a zoom line search, in a `while_loop`.

    Under `vmap` every row ends by itself. Use double precision: in single, line
    searches end early.

    Args:
      function: of a tree like `start`; finite wherever it is asked.
      start: arrays of one dtype.
      iterations: line searches, at most; with 0 the start is the result.
      evaluations: of the function per line search, at most.
      tolerance: ends when an iteration gains less than this times 1 + |value|, or no
        entry of the gradient is above it.
    """
    search = optax.scale_by_zoom_linesearch(max_linesearch_steps=evaluations)
    optimizer = optax.lbfgs(linesearch=search)
    value_and_grad = optax.value_and_grad_from_state(function)

    def unfinished(now):
        _, _, _, _, count, going = now
        return going & (count < iterations)

    def one(now):
        point, state, best, least, count, _ = now
        value, gradient = value_and_grad(point, state=state)
        step, state = optimizer.update(
            gradient, state, point, value=value, grad=gradient, value_fn=function
        )
        point = optax.apply_updates(point, step)
        reached = optax.tree.get(state, "value").astype(least.dtype)
        steep = jnp.max(
            jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves(gradient)])
        )
        going = (value - reached > tolerance * (1 + jnp.abs(value))) & (
            steep > tolerance
        )
        better = reached < least
        best = where_rows(better, point, best)
        least = jnp.where(better, reached, least)
        return point, state, best, least, count + jnp.int32(1), going

    zero, going = jnp.zeros((), jnp.int32), jnp.ones((), bool)
    now = (start, optimizer.init(start), start, function(start), zero, going)
    _, _, best, least, count, _ = jax.lax.while_loop(unfinished, one, now)
    return Minimum(best, least, count)
