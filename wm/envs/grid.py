"""Mazes of Sutton & Barto: walls, a start, a goal, four moves.

Rows are counted from the top. A move into a wall or the edge leaves everything as it
is. Entering the goal earns 1 and ends the episode; nothing else earns anything.

Source: Sutton & Barto 2018, Figures 8.2, 8.4 and 8.5; layouts as in ShangtongZhang's
code of the book at 96bc203, chapter08/maze.py.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from wm.envs.timesteps import first, following
from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep

ROWS, COLUMNS = 6, 9
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)], np.int32)
"""Up, down, left, right."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """One maze, and what becomes of its walls."""

    start: tuple[int, int]
    goal: tuple[int, int]
    walls: tuple[tuple[int, int], ...]
    later: tuple[tuple[int, int], ...] = ()
    """Walls after `change` steps."""
    change: int | None = None
    """Steps over all episodes after which the walls move; None: never."""


def _row(row: int, columns: range) -> tuple[tuple[int, int], ...]:
    return tuple((row, column) for column in columns)


LAYOUTS = {
    "dyna_maze": Layout(
        start=(2, 0),
        goal=(0, 8),
        walls=((1, 2), (2, 2), (3, 2), (0, 7), (1, 7), (2, 7), (4, 5)),
    ),
    "blocking": Layout(
        start=(5, 3),
        goal=(0, 8),
        walls=_row(3, range(8)),
        later=_row(3, range(1, 9)),
        change=1000,
    ),
    "shortcut": Layout(
        start=(5, 3),
        goal=(0, 8),
        walls=_row(3, range(1, 9)),
        later=_row(3, range(1, 8)),
        change=3000,
    ),
}
"""Shortest paths: 14; 10, then 16; 16, then 10."""


class MazeState(Node):
    """Where the agent is."""

    cell: jax.Array
    """i32, row * columns + column."""
    time: jax.Array
    """i32, steps of this episode."""
    clock: jax.Array
    """i32, steps over all episodes; beginning a new one does not set it back."""
    ended: jax.Array
    """bool: the newest record was the last of an episode."""
    key: Key
    """Of slips."""


class Maze(Node):
    """A maze; see the module. Its step after `is_last` begins the next episode, so
    that the clock of walls that move goes on (autoreset mode `own`)."""

    name: str = static(default="dyna_maze")
    scale: int = static(default=1)
    time_limit: int = static(default=10_000)
    slip: float = static(default=0.0)

    autoreset = "own"

    @property
    def spec(self) -> EnvSpec:
        """Observation: the number of the cell. Actions: up, down, left, right."""
        cells = ROWS * COLUMNS * self.scale**2
        return EnvSpec(
            observation=ArraySpec((), "int32", classes=cells),
            action=ArraySpec((), "int32", classes=len(MOVES)),
            name=f"grid/{self.name}",
            time_limit=self.time_limit,
        )

    def reset(self, key: Key) -> tuple[MazeState, TimeStep]:
        """At the start, with the clock at 0."""
        state = self._begin(jnp.zeros((), jnp.int32), key)
        return state, first(state.cell)

    def step(self, state: MazeState, action: jax.Array) -> tuple[MazeState, TimeStep]:
        """Move; after the end of an episode, begin the next one."""
        key, key_slip = jax.random.split(state.key)
        if self.slip:
            key_coin, key_move = jax.random.split(key_slip)
            other = jax.random.randint(key_move, (), 0, len(MOVES))
            action = jnp.where(jax.random.bernoulli(key_coin, self.slip), other, action)
        walls = jnp.where(state.clock < self._change, *self._walls)
        width = COLUMNS * self.scale
        here = jnp.stack([state.cell // width, state.cell % width])
        edge = jnp.array([ROWS * self.scale - 1, width - 1])
        there = jnp.clip(here + jnp.asarray(MOVES)[action], 0, edge)
        target = there[0] * width + there[1]
        cell = jnp.where(walls[target], state.cell, target).astype(jnp.int32)
        time = state.time + 1
        won = self._goal[cell]
        ended = won | (time >= self.time_limit)
        moved = MazeState(cell, time, state.clock + 1, ended, key)
        arrived = following(cell, won, terminal=won, truncated=time >= self.time_limit)
        anew = self._begin(state.clock, key)
        choose = lambda a, b: jnp.where(state.ended, a, b)
        return (
            jax.tree.map(choose, anew, moved),
            jax.tree.map(choose, first(anew.cell), arrived),
        )

    def _begin(self, clock: jax.Array, key: Key) -> MazeState:
        row, column = (x * self.scale for x in LAYOUTS[self.name].start)
        cell = jnp.asarray(row * COLUMNS * self.scale + column, jnp.int32)
        none = jnp.zeros((), jnp.int32)
        return MazeState(cell, none, clock, jnp.zeros((), bool), key)

    @property
    def _change(self) -> int:
        change = LAYOUTS[self.name].change
        return 2**31 - 1 if change is None else change

    @property
    def _walls(self) -> tuple[jax.Array, jax.Array]:
        layout = LAYOUTS[self.name]
        return self._cells(layout.walls), self._cells(layout.later)

    @property
    def _goal(self) -> jax.Array:
        return self._cells((LAYOUTS[self.name].goal,))

    def _cells(self, places: tuple[tuple[int, int], ...]) -> jax.Array:
        """bool, one per cell: true in all parts of these."""
        grid = np.zeros((ROWS, COLUMNS), bool)
        for place in places:
            grid[place] = True
        return jnp.asarray(grid.repeat(self.scale, 0).repeat(self.scale, 1).ravel())


def make(
    name: str, scale: int = 1, time_limit: int = 10_000, slip: float = 0.0
) -> Maze:
    """A maze of Sutton & Barto.

    Args:
      name: `dyna_maze`; `blocking`, whose way to the goal is closed after 1000 steps
        while a longer one opens; `shortcut`, where a shorter one opens after 3000.
      scale: every cell becomes scale × scale cells (the start is one of them, the
        goal all).
      time_limit: steps after which an episode is truncated.
      slip: chance that a move drawn uniformly replaces the chosen one (the book: 0).

    Raises:
      ValueError: impossible value.
    """
    if not 0 <= slip <= 1:
        raise ValueError(f"slip must be in [0, 1], got {slip}")
    for option, value in {"scale": scale, "time_limit": time_limit}.items():
        if value < 1:
            raise ValueError(f"{option} must be at least 1, got {value}")
    return Maze(name=name, scale=scale, time_limit=time_limit, slip=slip)
