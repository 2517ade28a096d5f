"""Own environments seen as pictures, and the game of Catch also as a vector."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from wm.envs.timesteps import first, following
from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep

BALL = (255, 96, 64)
PADDLE = (64, 160, 255)


class CatchState(Node):
    """Where the ball and the paddle are."""

    row: jax.Array
    """i32, of the ball; 0 at the top."""
    column: jax.Array
    """i32, of the ball."""
    paddle: jax.Array
    """i32, column in the bottom row."""


class Catch(Node):
    """A ball falls one row per step; be under it when it reaches the bottom.

    Actions 0, 1, 2 move the paddle left, not, right. The reward is +1 for a catch and
    −1 for a miss, in the terminal step. The ball's column is uniform, so whatever does
    not look at it scores 2 / columns − 1, random play included.

    Source: Mnih et al. 2014 (Recurrent models of visual attention, §4.2) has the game;
    the drawing is our own.
    """

    rows: int = static(default=6)
    columns: int = static(default=5)
    size: int | None = static(default=16)
    """Side of the picture in pixels; None for the vector `[rows · columns]`."""
    channels: int = static(default=1)
    name: str = static(default="pixels/catch")

    @property
    def spec(self) -> EnvSpec:
        """Image `[size, size, channels]`, or f32 `[rows · columns]`; 3 actions."""
        if self.size is None:
            observation = ArraySpec((self.rows * self.columns,))
        else:
            observation = ArraySpec((self.size, self.size, self.channels), "uint8")
        return EnvSpec(
            observation=observation,
            action=ArraySpec((), "int32", classes=3),
            name=self.name,
            time_limit=self.rows - 1,
            random_return=2 / self.columns - 1,
            optimal_return=1.0,
        )

    def reset(self, key: Key) -> tuple[CatchState, TimeStep]:
        """The ball at the top of a random column, the paddle in the middle."""
        state = CatchState(
            row=jnp.zeros((), jnp.int32),
            column=jax.random.randint(key, (), 0, self.columns),
            paddle=jnp.asarray(self.columns // 2, jnp.int32),
        )
        return state, first(self._draw(state))

    def step(self, state: CatchState, action: jax.Array) -> tuple[CatchState, TimeStep]:
        """Move the paddle, then let the ball fall one row."""
        paddle = jnp.clip(state.paddle + action - 1, 0, self.columns - 1)
        state = state.replace(row=state.row + 1, paddle=paddle)
        landed = state.row >= self.rows - 1
        caught = jnp.where(state.column == paddle, 1.0, -1.0)
        return state, following(self._draw(state), landed * caught, terminal=landed)

    def _draw(self, state: CatchState) -> jax.Array:
        bottom = jnp.asarray(self.rows - 1, jnp.int32)
        cells = ((state.row, state.column), (bottom, state.paddle))
        board = (self.rows, self.columns)
        if self.size is None:
            lit = [
                jnp.arange(self.rows * self.columns) == row * self.columns + column
                for row, column in cells
            ]
            return (lit[0] | lit[1]).astype(jnp.float32)
        return draw(cells, (BALL, PADDLE), board, self.size, self.channels)


def draw(
    cells: tuple[tuple[jax.Array, jax.Array], ...],
    colors: tuple[tuple[int, int, int], ...],
    board: tuple[int, int],
    size: int,
    channels: int,
) -> jax.Array:
    """Lit cells of a board as blocks of pixels, in the middle of a black square.

    Args:
      cells: (row, column) of each, i32; later ones are drawn over earlier ones.
      colors: red, green, blue of each; one channel draws all in white.
      board: rows and columns.
      size: side of the picture; blocks are as large as fit.
      channels: 1 or 3.

    Returns:
      uint8 `[size, size, channels]`.
    """
    # The cell that each line of pixels belongs to is a constant, so that a picture
    # is one comparison per pixel; repeating and padding cells took ten times longer.
    row_of, column_of = (_cell_of(count, size) for count in board)
    picture = jnp.zeros((size, size, channels), jnp.uint8)
    for (row, column), color in zip(cells, colors, strict=True):
        value = jnp.asarray(color if channels == 3 else (255,), jnp.uint8)
        lit = (row_of == row)[:, None] & (column_of == column)[None]
        picture = jnp.where(lit[..., None], value, picture)
    return picture


def _cell_of(count: int, size: int) -> np.ndarray:
    """Index of the cell at each of `size` pixels; −1 in the border."""
    block = size // count
    border = (size - count * block) // 2
    cell = (np.arange(size) - border) // block
    return np.where((cell >= 0) & (cell < count), cell, -1).astype(np.int32)


def make_catch(
    rows: int = 6, columns: int = 5, size: int = 16, channels: int = 1
) -> Catch:
    """Catch drawn as a picture.

    Args:
      rows: height of the board; an episode has `rows` records.
      columns: its width.
      size: side of the picture in pixels.
      channels: 1 (white on black) or 3.

    Raises:
      ValueError: a board that does not fit the picture.
    """
    if min(rows, columns) < 2 or max(rows, columns) > size:
        raise ValueError(
            f"rows and columns must be in 2…size, got {rows} and {columns} at {size}"
        )
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    return Catch(rows=rows, columns=columns, size=size, channels=channels)


def make_vector_catch(rows: int = 6, columns: int = 5) -> Catch:
    """Catch as a vector with ones where the ball and the paddle are.

    Args:
      rows: height of the board.
      columns: its width.
    """
    return Catch(rows=rows, columns=columns, size=None, name="probe/catch")
