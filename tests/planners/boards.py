"""Games small enough to be solved: every position with its value."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import wm
from wm.models.rules import Rules, rules

WIDE = 2048
"""Positions of a level, at most."""
TIC_TAC_TOE = 4520
"""Positions of tic-tac-toe that can be reached and are not the end."""


class Solved(NamedTuple):
    """Every position that is not the end, in order of moves made."""

    model: Rules
    states: object
    """Of the rules, leaves `[P, …]`."""
    value: np.ndarray
    """f32 `[P]`, of the player to move, under perfect play."""
    best: np.ndarray
    """bool `[P, A]`, the moves that reach it."""
    index: dict
    """Position by its observation's bytes."""

    def lookup(self, table):
        """Heads: no prior, values from `table` `[P]`; positions by board."""
        code = lambda seen: jnp.tensordot(
            seen.reshape(seen.shape[0], -1).astype(jnp.int32),
            jnp.asarray(weights(self.states.observation)),
            1,
        )
        codes = np.asarray(code(self.states.observation))
        values = np.zeros(codes.max() + 1, np.float32)
        values[codes] = table
        values = jnp.asarray(values)

        def heads(params, key, state):
            at = jnp.minimum(code(state.observation), values.shape[0] - 1)
            return None, values[at], None

        return heads


def weights(observation):
    """Base three, so that every board has a number of its own."""
    H, W, C = observation.shape[1:]
    cell = 3 ** np.arange(H * W)
    return np.stack([cell, 2 * cell], -1).reshape(H * W * C).astype(np.int32)


def solved(name: str = "pgx/tic_tac_toe") -> Solved:
    """Solve a game by looking at all of it."""
    env = wm.env(name)
    model = rules(env)
    opened = wm.batch(wm.env(name, rules=True), "off")
    _, timestep = opened.reset(jax.random.key(0), 1)
    state = model.observe({}, None, None, None, timestep)
    A = env.spec.action.classes

    @jax.jit
    def step(state):
        """All actions of all rows."""
        each = take(state, jnp.repeat(jnp.arange(WIDE), A))
        actions = jnp.tile(jnp.arange(A, dtype=jnp.int32), WIDE)
        return model.step({}, jax.random.key(0), each, actions)

    levels, moves, index = [state], [], {key_of(state.observation)[0]: 0}
    total = 1
    while True:
        state = levels[-1]
        rows = state.alive.shape[0]
        after, earned = jax.device_get(step(padded(state, rows)))
        cut = lambda x, rows=rows: np.asarray(x)[: rows * A]
        legal = np.asarray(state.legal)
        reward, discount = (cut(x).reshape(rows, A) for x in earned)
        child = np.full((rows, A), -1)
        fresh = []
        keys = key_of(cut(after.observation))
        for at in np.flatnonzero((legal & (discount != 0)).reshape(-1)):
            key = keys[at]
            if key not in index:
                index[key] = total + len(fresh)
                fresh.append(at)
            child.reshape(-1)[at] = index[key]
        moves.append((legal, reward, discount, child))
        if not fresh:
            break
        levels.append(take(after, np.array(fresh)))
        total += len(fresh)
    value, best = np.zeros(total, np.float32), np.zeros((total, A), bool)
    end = total
    for legal, reward, discount, child in reversed(moves):
        begin = end - len(legal)
        q = reward + discount * np.where(child >= 0, value[child], 0)
        q = np.where(legal, q, -np.inf)
        value[begin:end] = q.max(1)
        best[begin:end] = q == q.max(1, keepdims=True)
        end = begin
    states = jax.tree.map(lambda *x: jnp.asarray(np.concatenate(x)), *levels)
    return Solved(model, states, value, best, index)


def padded(state, rows):
    """`WIDE` rows, so that one program serves all levels."""
    return take(jax.device_get(state), np.minimum(np.arange(WIDE), rows - 1))


def key_of(observation) -> list[bytes]:
    """Every row's bytes."""
    return [row.tobytes() for row in np.asarray(observation)]


def take(tree, rows):
    """Rows of every leaf."""
    return jax.tree.map(lambda x: x[rows], tree)
