"""A deterministic player against every reply of a solved game: exact, no sampling."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.planners.boards import Solved, key_of, take
from wm.types import TimeStep

WIDE = 256
"""Positions searched at once; more go in turns, so that one program serves all."""


class Duel(NamedTuple):
    """Chances of the player, both sides alike."""

    win: float
    draw: float
    loss: float
    """0 only if no reply whatever leads to a loss."""
    positions: int
    """In which the player moved."""


def player(agent, actor):
    """`(states of the rules) -> actions`, as the agent plays in `eval`."""

    @jax.jit
    def act(states):
        rows = states.alive.shape[0]
        timestep = TimeStep(
            observation=states.observation,
            reward=jnp.zeros(rows),
            discount=jnp.ones(rows),
            is_first=jnp.ones(rows, bool),
            is_last=jnp.zeros(rows, bool),
            legal=states.legal,
            private=states.env,
        )
        carry = agent.start(actor, rows)
        return agent.act(actor, jax.random.key(0), carry, timestep, "eval")[1]

    def play(states):
        rows = states.alive.shape[0]
        found = []
        for begin in range(0, rows, WIDE):
            at = np.minimum(np.arange(begin, begin + WIDE), rows - 1)
            found.append(np.asarray(act(take(states, at))))
        return np.concatenate(found)[:rows]

    return play


def duel(play, game: Solved, perfect: bool) -> Duel:
    """`play` against an opponent that draws among all replies, or the best ones.

    Args:
      play: see `player`.
      game: solved.
      perfect: whether replies are the best ones only.
    """
    step = jax.jit(lambda s, a: game.model.step({}, jax.random.key(0), s, a))
    total, positions = np.zeros(3), 0
    for mine in (True, False):
        frontier = {0: 0.5}
        while frontier:
            at = np.array(list(frontier))
            weight = np.array(list(frontier.values()))
            states = take(game.states, at)
            if mine:
                positions += len(at)
                moves = play(states)[:, None]
            else:
                allowed = game.best[at] if perfect else np.asarray(states.legal)
                moves = [np.flatnonzero(row) for row in allowed]
            rows = np.concatenate([[i] * len(m) for i, m in enumerate(moves)])
            chosen = np.concatenate(list(moves)).astype(np.int32)
            share = weight[rows] / np.array([len(m) for m in moves])[rows]
            wide = 1 << (len(rows) - 1).bit_length()
            pad = np.minimum(np.arange(wide), len(rows) - 1)
            after, earned = step(take(states, rows[pad]), jnp.asarray(chosen[pad]))
            reward = np.asarray(earned.reward)[: len(rows)] * (1 if mine else -1)
            over = np.asarray(earned.discount)[: len(rows)] == 0
            for i, result in enumerate((1, 0, -1)):
                total[i] += share[over & (reward == result)].sum()
            keys = key_of(after.observation)
            frontier = {}
            for i in np.flatnonzero(~over):
                index = game.index[keys[i]]
                frontier[index] = frontier.get(index, 0.0) + share[i]
            mine = not mine
    return Duel(*map(float, total), positions)
