"""A pool of imagined transitions: a ring of rows whose logical size may change.

Storage is allocated for the largest size; only the newest rows within the logical size
are drawn, which is what reallocating with the newest kept would give.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.nodes import Node
from wm.types import Key, Tree


class Pool(Node):
    """Rows, newest overwriting oldest."""

    rows: Tree
    """Leaves `[P, …]`."""
    written: jax.Array
    """i32: rows written since the start."""
    size: jax.Array
    """i32: how many of the newest may be drawn, at most P."""


def empty(example: Tree, capacity: int) -> Pool:
    """Room for `capacity` rows like those of `example`, leaves `[N, …]` or shapes."""
    blank = lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype)
    zero = jnp.zeros((), jnp.int32)
    return Pool(jax.tree.map(blank, example), zero, jnp.asarray(capacity, jnp.int32))


def add(pool: Pool, rows: Tree, valid: jax.Array) -> Pool:
    """Append those of `rows` `[N, …]`, N at most P, where `valid` bool `[N]`."""
    capacity = jax.tree.leaves(pool.rows)[0].shape[0]
    place = pool.written + jnp.cumsum(valid, dtype=jnp.int32) - 1
    # Rows that are not valid go past the end, where writes are dropped.
    slot = jnp.where(valid, place % capacity, capacity)
    put = lambda old, new: old.at[slot].set(new, mode="drop")
    written = pool.written + valid.sum(dtype=jnp.int32)
    # Beyond one round only the place in it counts: a count of all would overflow.
    written = jnp.where(written < capacity, written, capacity + written % capacity)
    return pool.replace(
        rows=jax.tree.map(put, pool.rows, rows),
        written=written,
    )


def sample(pool: Pool, key: Key, N: int) -> Tree:
    """N rows drawn uniformly from the newest; zeros while there are none."""
    capacity = jax.tree.leaves(pool.rows)[0].shape[0]
    count = jnp.maximum(stored(pool), 1)
    back = jax.random.randint(key, (N,), 0, count)
    slot = (pool.written - 1 - back) % capacity
    return jax.tree.map(lambda x: x[slot], pool.rows)


def stored(pool: Pool) -> jax.Array:
    """i32: rows that may be drawn."""
    return jnp.minimum(pool.written, pool.size)
