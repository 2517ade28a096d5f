"""The rules of 2048 with its chance apart: what a move does, and what may follow it.

pgx does both in one step. Here they are two, so that a search can have nodes of chance;
a test holds them against pgx. Boards are exponents of two, i32 `[16]`, row by row.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

OUTCOMES = 32
"""A 2 on each cell, then a 4 on each."""
_FOURS = 0.1
"""Chance of a 4."""


def moved(board: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The board after a move, before a number appears, and the points it makes, f32.

    Args:
      board: i32 `[16]`.
      action: 0 left, 1 up, 2 right, 3 down.
    """
    turned = jnp.stack([jnp.rot90(board.reshape(4, 4), k) for k in range(4)])
    rows, points = jax.vmap(_slid)(turned[action])
    back = jnp.stack([jnp.rot90(rows, -k) for k in range(4)])
    return back[action].reshape(16), points.sum()


def legal(board: jax.Array) -> jax.Array:
    """bool `[4]`: moves that change the board."""
    after = jax.vmap(lambda action: moved(board, action)[0])(jnp.arange(4))
    return (after != board).any(-1)


def logits(board: jax.Array) -> jax.Array:
    """Of what may appear, f32 `[32]`: every free cell alike, 2 in nine of ten."""
    share = jnp.repeat(jnp.array([1 - _FOURS, _FOURS]), 16)
    return jnp.where(jnp.tile(board == 0, 2), jnp.log(share), -1e30)


def appeared(board: jax.Array, outcome: jax.Array) -> jax.Array:
    """The board with the number of `outcome`."""
    return board.at[outcome % 16].set(1 + outcome // 16)


def _slid(row: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`[4]` pushed to the left, equal neighbours merged once, and the points."""
    pushed = lambda row: row[jnp.argsort(row == 0, stable=True)]
    row, points = pushed(row), jnp.zeros(())
    for i in range(3):
        same = (row[i] == row[i + 1]) & (row[i] > 0)
        grown = row.at[i].add(1).at[i + 1].set(0)
        row = jnp.where(same, grown, row)
        points += jnp.where(same, 2.0 ** row[i], 0.0)
    return pushed(row), points
