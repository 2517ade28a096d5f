"""Symmetries of boards: a position turned or mirrored, and its moves with it.

Source: Silver et al. 2017 (AlphaGo Zero), Methods: Go positions are turned and mirrored
at random for training. AlphaZero left it out, since not all of its games have any.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.types import EnvSpec, Key

Name = Literal["none", "mirror", "square"]


class Symmetry(NamedTuple):
    """A group of G maps as permutations."""

    points: np.ndarray
    """i32 `[G, H·W]`: point p of the new position shows point `points[g, p]`."""
    actions: np.ndarray
    """i32 `[G, A]`: likewise of moves."""


def symmetry(name: Name, spec: EnvSpec) -> Symmetry | None:
    """The maps called `name`; None for `none`.

    Args:
      name: `mirror` (left and right), or `square` (the eight of a square board).
      spec: observations `[H, W, C]`. Moves are columns (A = W), or points row by row,
        then one that is none (a pass).

    Raises:
      ValueError: observations or moves that these maps do not fit.
    """
    if name == "none":
        return None
    shape: Any = getattr(spec.observation, "shape", ())
    A = spec.action.classes or 0
    points = shape[0] * shape[1] if len(shape) == 3 else 0
    # A game for one has moves that are directions, as many as columns in 2048.
    fits = A in (points, points + 1) or (len(shape) == 3 and shape[1] == A)
    fits = fits and points > 0 and spec.players == 2
    if not fits or (name == "square" and (shape[0] != shape[1] or shape[0] ** 2 > A)):
        raise ValueError(
            f"symmetry must be none for {spec.name}: {name} needs planes of a "
            f"{'square ' * (name == 'square')}board and moves that are its points"
            f"{' or columns' * (name == 'mirror')}"
        )
    H, W = shape[:2]
    grid = np.arange(H * W).reshape(H, W)
    if name == "mirror":
        grids = [grid, grid[:, ::-1]]
    else:
        turned = [np.rot90(grid, turns) for turns in range(4)]
        grids = [*turned, *(x[:, ::-1] for x in turned)]
    points = np.stack([x.reshape(-1) for x in grids]).astype(np.int32)
    if A == W:
        actions = np.stack([x[0] for x in grids]).astype(np.int32)
    else:
        others = np.tile(np.arange(H * W, A, dtype=np.int32), (len(grids), 1))
        actions = np.concatenate([points, others], 1)
    return Symmetry(points, actions)


def shuffled(
    group: Symmetry, key: Key, observation: jax.Array, *moves: jax.Array
) -> tuple[jax.Array, ...]:
    """Every row under a map drawn for it.

    Args:
      group: of maps.
      key: consumed.
      observation: `[B, H, W, C]`.
      *moves: `[B, A]` each.

    Returns:
      The same arrays, permuted.
    """
    chosen = jax.random.randint(key, observation.shape[:1], 0, len(group.points))
    return mapped(group, chosen, observation, *moves)


def mapped(
    group: Symmetry, chosen: jax.Array, observation: jax.Array, *moves: jax.Array
) -> tuple[jax.Array, ...]:
    """Every row under map `chosen` i32 `[B]`."""
    B, H, W, C = observation.shape
    points = jnp.asarray(group.points)[chosen]
    flat = observation.reshape(B, H * W, C)
    seen = jnp.take_along_axis(flat, points[..., None], 1).reshape(B, H, W, C)
    actions = jnp.asarray(group.actions)[chosen]
    return seen, *(jnp.take_along_axis(x, actions, 1) for x in moves)
