"""Board games of pgx: two players who move in turn, and 2048 for one.

`TimeStep.reward` is what the player who just moved got; `discount` is -1 where the
other one moves next, 0 at the end. Observations are from the eyes of the player to
move. An illegal action loses at once. Who of pgx's two players begins is drawn by pgx
and shows nowhere here: the one who moves is "I", the other is not.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from wm.envs import pgx_2048
from wm.envs.timesteps import like, strong
from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep, Tree

LONGEST: dict[str, int | None] = {
    "tic_tac_toe": 9,
    "connect_four": 42,
    "othello": 122,
    "gardner_chess": 256,
    "go_9x9": 162,
    "2048": None,
}
"""Actions of the longest game: full boards; 60 discs in Othello with a pass before each
and two at the end; pgx's own limits in chess and Go, where the game is then over (a
draw, or counted). 2048 has no bound."""
CHANCE = ("2048",)
"""Games with chance: their states hold a key."""


class PgxState(Node):
    """pgx's own state, and a key where the game has chance."""

    inner: Tree
    """Without its observation, which no rule reads."""
    key: Key | None


class After(Node):
    """Between a move and its chance."""

    state: PgxState
    """Before the move."""
    board: jax.Array
    """i32 `[16]`, after it."""
    reward: jax.Array
    """f32, what it made."""


class Pgx(Node):
    """One game; built by `make`."""

    task: str = static()

    @property
    def spec(self) -> EnvSpec:
        """Planes `[H, W, C]` in pgx's own type, one action index, legal ones marked."""
        return _spec(self.task)

    def reset(self, key: Key) -> tuple[PgxState, TimeStep]:
        """The first position."""
        key_game, key = jax.random.split(key)
        inner = strong(_load(self.task).init(key_game))
        timestep = TimeStep(
            observation=inner.observation,
            reward=jnp.zeros((), jnp.float32),
            discount=jnp.ones((), jnp.float32),
            is_first=jnp.ones((), bool),
            is_last=jnp.zeros((), bool),
            legal=inner.legal_action_mask,
        )
        return PgxState(_blind(inner), self._kept(key)), timestep

    def step(self, state: PgxState, action: jax.Array) -> tuple[PgxState, TimeStep]:
        """One move."""
        key, key_step = state.key, None
        if key is not None:
            key, key_step = jax.random.split(key)
        mover = state.inner.current_player
        inner = _load(self.task).step(state.inner, action, key_step)
        other = jnp.where(inner.current_player == mover, 1.0, -1.0)
        timestep = TimeStep(
            observation=inner.observation,
            # The mover's: `current_player` has changed by now.
            reward=inner.rewards[mover].astype(jnp.float32),
            discount=jnp.where(inner.terminated, 0.0, other).astype(jnp.float32),
            is_first=jnp.zeros((), bool),
            is_last=inner.terminated | inner.truncated,
            legal=inner.legal_action_mask | inner.terminated,
        )
        return PgxState(like(_blind(inner), state.inner), key), timestep

    @property
    def chances(self) -> int:
        """Outcomes of the chance that follows a move; 0 where there is none."""
        return pgx_2048.OUTCOMES if self.task in CHANCE else 0

    def afterstate(self, state: PgxState, action: jax.Array) -> tuple[After, jax.Array]:
        """What a legal move does, and the logits `[C]` of what may follow."""
        board, reward = pgx_2048.moved(state.inner._board, action)
        return After(state, board, reward), pgx_2048.logits(board)

    def chance(self, after: After, outcome: jax.Array) -> tuple[PgxState, TimeStep]:
        """One step whose chance is known: `outcome` i32, below `chances`."""
        board = pgx_2048.appeared(after.board, outcome)
        free = pgx_2048.legal(board)
        over, inner = ~free.any(), after.state.inner
        inner = inner.replace(
            _board=board,
            rewards=after.reward[None],
            legal_action_mask=free | over,
            terminated=over,
            _step_count=inner._step_count + 1,
        )
        timestep = TimeStep(
            observation=jax.nn.one_hot(board.reshape(4, 4), 31, dtype=bool),
            reward=after.reward,
            discount=jnp.where(over, 0.0, 1.0),
            is_first=jnp.zeros((), bool),
            is_last=over,
            legal=free | over,
        )
        return after.state.replace(inner=like(inner, after.state.inner)), timestep

    def _kept(self, key: Key) -> Key | None:
        return key if self.task in CHANCE else None


def make(name: str) -> Pgx:
    """A game of `LONGEST`."""
    _load(name)
    return Pgx(task=name)


def _blind(inner: Any) -> Any:
    """Half the bytes of a search tree would be observations of states."""
    return inner.replace(observation=jnp.zeros((), bool))


@functools.cache
def _spec(task: str) -> EnvSpec:
    game = _load(task)
    inner = jax.eval_shape(game.init, jax.random.key(0))
    seen, players = inner.observation, game.num_players
    return EnvSpec(
        observation=ArraySpec(seen.shape, seen.dtype.name),
        action=ArraySpec((), "int32", classes=inner.legal_action_mask.shape[0]),
        name=f"pgx/{task}",
        players=players,
        time_limit=LONGEST[task],
        legal=True,
    )


@functools.cache
def _load(task: str) -> Any:
    """pgx's game; never holds traced values."""
    # pgx makes arrays when it is imported.
    with jax.ensure_compile_time_eval():
        import pgx

        return pgx.make(task)  # pyright: ignore[reportArgumentType]
