"""Builders of single `TimeStep` records, so that every source ends episodes alike."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.types import TimeStep, Tree


def first(observation: Tree, private: Tree | None = None) -> TimeStep:
    """The record a reset returns: reward 0, discount 1."""
    return TimeStep(
        observation=observation,
        reward=jnp.zeros((), jnp.float32),
        discount=jnp.ones((), jnp.float32),
        is_first=jnp.ones((), bool),
        is_last=jnp.zeros((), bool),
        private=private,
    )


def following(
    observation: Tree,
    reward: jax.Array | float,
    terminal: jax.Array | bool = False,
    truncated: jax.Array | bool = False,
    private: Tree | None = None,
) -> TimeStep:
    """The record a step returns.

    A terminal ends the episode with discount 0, a truncation with discount 1; where
    both hold it is a terminal.
    """
    terminal = jnp.asarray(terminal, bool)
    return TimeStep(
        observation=observation,
        reward=jnp.asarray(reward, jnp.float32),
        discount=jnp.where(terminal, 0.0, 1.0).astype(jnp.float32),
        is_first=jnp.zeros((), bool),
        is_last=terminal | jnp.asarray(truncated, bool),
        private=private,
    )


def like(new: Tree, old: Tree) -> Tree:
    """`new` with the dtypes of `old` and no weak types, so that scans accept it.

    Libraries start a state with Python numbers and continue it with arrays.
    """

    def cast(value, example):
        if jnp.issubdtype(jnp.asarray(example).dtype, jax.dtypes.extended):
            return value
        return jnp.asarray(value, jnp.asarray(example).dtype)

    return jax.tree.map(cast, new, old)


def strong(tree: Tree) -> Tree:
    """`tree` as arrays without weak types."""
    return like(tree, tree)


def unshared(tree: Tree) -> Tree:
    """`tree` in new containers: some libraries write into the dicts of a state."""
    return jax.tree.map(lambda leaf: leaf, tree)
