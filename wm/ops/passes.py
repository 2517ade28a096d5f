"""Passes over data in minibatches, on the device, with shapes that stay: how many rows
there are, how many steps a pass has and how many passes are made may all be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.types import Key, Tree


class Passes(NamedTuple):
    """What `passes` returns."""

    params: Tree
    optimizer: Tree
    loss: jax.Array
    """f32, mean of the last pass; 0 where none was made."""
    count: jax.Array
    """i32, passes made."""


def shuffled(key: Key, N: int, count: jax.Array) -> jax.Array:
    """i32 `[N]`: the first `count` entries are 0 … count − 1 in random order."""
    noise = jax.random.uniform(key, (N,))
    return jnp.argsort(jnp.where(jnp.arange(N) < count, noise, 2.0)).astype(jnp.int32)


def passes(
    loss: Callable[[Tree, Tree], jax.Array],
    rule: optax.GradientTransformation,
    params: Tree,
    optimizer: Tree,
    key: Key,
    begin: Callable[[Key], Callable[[jax.Array], Tree]],
    steps: jax.Array,
    count: jax.Array,
) -> Passes:
    """Descend `loss` for `count` passes of `steps` steps each.

    Args:
      loss: `(params, batch) -> f32 []`.
      rule: the optimizer.
      params: what is descended in.
      optimizer: state of `rule`.
      key: consumed.
      begin: `(key of the pass) -> (number of the step, i32) -> batch`.
      steps: i32, of a pass.
      count: i32, passes.
    """

    def one_pass(now: Passes) -> Passes:
        batch = begin(jax.random.fold_in(key, now.count))

        def one_step(i, carry):
            params, state, total = carry
            value, gradient = jax.value_and_grad(loss)(params, batch(i))
            change, state = rule.update(gradient, state, params)
            return optax.apply_updates(params, change), state, total + value

        carry = (now.params, now.optimizer, jnp.zeros(()))
        params, state, total = jax.lax.fori_loop(0, steps, one_step, carry)
        return Passes(params, state, total / jnp.maximum(steps, 1), now.count + 1)

    start = Passes(params, optimizer, jnp.zeros(()), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(lambda now: now.count < count, one_pass, start)


def passes_for(steps: int | None, epochs: int, per_pass: jax.Array) -> jax.Array:
    """i32, how many passes: `epochs`, or as many as make `steps` where that is set."""
    if steps is None:
        return jnp.asarray(epochs, jnp.int32)
    return (-(-steps // jnp.maximum(per_pass, 1))).astype(jnp.int32)
