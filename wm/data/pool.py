"""A pool of imagined transitions: a ring of rows whose logical size may change.

Storage is allocated for the largest size; only the newest rows within the logical size
are drawn, and what a smaller size dropped does not come back with a larger one: what
reallocating with the newest kept would give.
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
    """i32: rows written since the start, or beyond one round the place in it."""
    size: jax.Array
    """i32: how many of the newest may be drawn at most; at most P."""
    held: jax.Array
    """i32: how many there are to be drawn."""


def empty(example: Tree, capacity: int) -> Pool:
    """Room for `capacity` rows like those of `example`, leaves `[N, …]` or shapes."""
    blank = lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype)
    # An array each: a state is donated, which an array can be once.
    written, size, held = (jnp.asarray(n, jnp.int32) for n in (0, capacity, 0))
    return Pool(jax.tree.map(blank, example), written, size, held)


def resized(pool: Pool, size: jax.Array) -> Pool:
    """Of another logical size, i32 at most P."""
    return pool.replace(size=size, held=jnp.minimum(pool.held, size))


def add(pool: Pool, rows: Tree, valid: jax.Array) -> Pool:
    """Append those of `rows` `[N, …]`, N at most P, where `valid` bool `[N]`."""
    capacity = jax.tree.leaves(pool.rows)[0].shape[0]
    place = pool.written + jnp.cumsum(valid, dtype=jnp.int32) - 1
    # Rows that are not valid go past the end, where writes are dropped.
    slot = jnp.where(valid, place % capacity, capacity)
    put = lambda old, new: old.at[slot].set(new, mode="drop")
    new = valid.sum(dtype=jnp.int32)
    written = pool.written + new
    # Beyond one round only the place in it counts: a count of all would overflow.
    written = jnp.where(written < capacity, written, capacity + written % capacity)
    return pool.replace(
        rows=jax.tree.map(put, pool.rows, rows),
        written=written,
        held=jnp.minimum(pool.held + new, pool.size),
    )


def sample(pool: Pool, key: Key, N: int) -> Tree:
    """N rows drawn uniformly from the newest; zeros while there are none."""
    capacity = jax.tree.leaves(pool.rows)[0].shape[0]
    count = jnp.maximum(pool.held, 1)
    back = jax.random.randint(key, (N,), 0, count)
    slot = (pool.written - 1 - back) % capacity
    return jax.tree.map(lambda x: x[slot], pool.rows)
