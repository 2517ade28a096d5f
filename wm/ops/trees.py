"""Helpers over pytrees of arrays: selecting rows, joining axes, and the one place
where arrival-aligned records become transitions."""

from __future__ import annotations

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from wm.types import Batch, Tree


class Transition(NamedTuple):
    """Departure-aligned steps, leaves `[N, L − 1, …]`."""

    observation: Tree
    action: Tree
    reward: jax.Array
    """f32: earned by `action`."""
    discount: jax.Array
    """f32: of the state it led to (0 terminal); no gamma in it."""
    next_observation: Tree
    next_is_last: jax.Array
    """bool: the state it led to ends the episode."""
    mask: jax.Array
    """bool: false where the record was a last one, so the "action" was a reset."""
    extras: dict[str, Tree]
    """As stored with the earlier record."""


def transitions(batch: Batch) -> Transition:
    """Shift and mask records `[N, L, …]` into transitions `[N, L − 1, …]`.

    In replay a reward and a discount arrive with the observation, so those of an
    action stand one record later. Records that end an episode start no transition.
    """
    timestep = batch.timestep
    chex.assert_rank(timestep.reward, 2)
    now = lambda tree: jax.tree.map(lambda x: x[:, :-1], tree)
    later = lambda tree: jax.tree.map(lambda x: x[:, 1:], tree)
    return Transition(
        observation=now(timestep.observation),
        action=now(batch.action),
        reward=later(timestep.reward),
        discount=later(timestep.discount),
        next_observation=later(timestep.observation),
        next_is_last=later(timestep.is_last),
        mask=~(now(timestep.is_last) | later(timestep.is_first)),
        extras=now(batch.extras),
    )


def where_rows(mask: jax.Array, new: Tree, old: Tree) -> Tree:
    """Rows of `new` where `mask` is true, else of `old`.

    Args:
      mask: bool `[B]` or more leading axes.
      new: leaves `[B, …]`, keys included.
      old: the same.
    """

    def select(a, b):
        trailing = 0 if _is_key(a) else a.ndim - mask.ndim
        return jnp.where(mask.reshape(*mask.shape, *(1,) * trailing), a, b)

    return jax.tree.map(select, new, old)


@jax.custom_jvp
def with_gradient_of(value: Tree, source: Tree) -> Tree:
    """`value`, with the derivative of `source`: value + source − sg(source).

    Nothing flows into `value`, and nothing is rounded.

    Args:
      value: floats.
      source: the same structure and shapes.
    """
    return value


@with_gradient_of.defjvp
def _with_gradient_of_jvp(primals, tangents):
    return primals[0], tangents[1]


def stack(trees: list[Tree], axis: int = 0) -> Tree:
    """One tree with a new axis from trees of the same structure."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees)


def unstack(tree: Tree) -> list[Tree]:
    """The trees along the first axis; the inverse of `stack`."""
    size = jax.tree.leaves(tree)[0].shape[0]
    return [jax.tree.map(lambda x: x[i], tree) for i in range(size)]


def flatten_batch(tree: Tree, axes: int = 2) -> Tree:
    """Join the first `axes` axes: `[B, T, …]` → `[B·T, …]`, row b·T + t."""
    return jax.tree.map(
        lambda x: x.reshape(math.prod(x.shape[:axes]), *x.shape[axes:]), tree
    )


def unflatten_batch(tree: Tree, shape: tuple[int, ...]) -> Tree:
    """Split the first axis into `shape`: the inverse of `flatten_batch`."""
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), tree)


def swap_time(tree: Tree) -> Tree:
    """Exchange the first two axes: batch first to time first and back."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def size_bytes(tree: Tree) -> int:
    """Bytes of all leaves, which may be shapes (`jax.ShapeDtypeStruct`)."""

    def one(x):
        # A typed key's own itemsize is that of its key data.
        return math.prod(x.shape) * x.dtype.itemsize

    return sum(one(x) for x in jax.tree.leaves(tree))


def count_parameters(tree: Tree) -> int:
    """Numbers in all leaves."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def all_finite(tree: Tree) -> jax.Array:
    """bool `[]`: no NaN or infinity in any floating leaf."""
    finite = [
        jnp.isfinite(x).all()
        for x in jax.tree.leaves(tree)
        if jnp.issubdtype(x.dtype, jnp.floating)
    ]
    return jnp.stack(finite).all() if finite else jnp.array(True)


def _is_key(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
