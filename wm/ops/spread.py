"""Rows of a batch over the devices of a mesh, where there is one.

Only hints for the compiler live here: values stay what they are. Which mesh is in use
is decided by whoever compiles (`jax.set_mesh`); without one nothing happens.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from wm.types import Tree

SEED, DATA, MODEL = "seed", "data", "model"
"""Axes of every mesh: seeds, rows of batches and environments, parts of a network."""


def ways() -> int:
    """Devices that share the rows of a batch in what is being compiled."""
    return jax.sharding.get_abstract_mesh().shape.get(DATA, 1)


def spread(tree: Tree) -> Tree:
    """`tree` with every leading axis split along `data`.

    What was drawn by index from a replay in parts would else be computed with on all
    devices alike. Axes that do not divide stay whole.
    """
    size = ways()
    if size == 1:
        return tree

    def split(x):
        if not x.ndim or x.shape[0] % size:
            return x
        return jax.lax.with_sharding_constraint(x, PartitionSpec(DATA))

    return jax.tree.map(split, tree)


def flat_rows(x: jax.Array) -> jax.Array:
    """x `[T, B, …, D]` as rows `[N, D]`, in one order for arrays of equal axes.

    Batch major where the batch is split: a split axis behind another cannot be joined
    with it without gathering the array on every device.
    """
    if ways() > 1:
        x = jnp.moveaxis(x, 0, -2)
    return x.reshape(-1, x.shape[-1])
