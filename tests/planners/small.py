"""Models small enough to plan in by hand."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.learning.mazes import moves_of
from wm.models.table import At, TableModel, empty
from wm.types import ArraySpec, EnvSpec, Prediction

POINT = EnvSpec(ArraySpec((1,)), ArraySpec((2,)), name="point")
COIN = EnvSpec(ArraySpec((1,)), ArraySpec((), "int32", classes=3), name="coin")
KEY = jax.random.key(0)


class Target(NamedTuple):
    """Every step pays −|action − target|²; the target is the state, `[B, 2]`."""

    spec: EnvSpec = POINT
    noise: float = 0.0
    broken: float = 2.0
    """Rewards are NaN where the first number of an action is above this."""

    def init(self, key):
        return {"model": {}}

    def start(self, params, batch):
        return jnp.zeros((batch, 2))

    def encode(self, params, timestep):
        return timestep

    def observe(self, params, key, state, action, evidence):
        return state

    def step(self, params, key, state, action):
        reward = -jnp.square(action - state).sum(-1)
        reward = reward + self.noise * jax.random.normal(key, reward.shape)
        reward = jnp.where(action[:, 0] > self.broken, jnp.nan, reward)
        return state, Prediction(reward, jnp.ones_like(reward))


class Match(NamedTuple):
    """Pays 1 where the class is the state, i32 `[B]`; then the next class is right."""

    spec: EnvSpec = COIN

    def init(self, key):
        return {"model": {}}

    def start(self, params, batch):
        return jnp.zeros(batch, jnp.int32)

    def encode(self, params, timestep):
        return timestep

    def observe(self, params, key, state, action, evidence):
        return state

    def step(self, params, key, state, action):
        reward = (action == state).astype(jnp.float32)
        return (state + 1) % 3, Prediction(reward, jnp.ones_like(reward))


def known_maze(env):
    """A table that has seen everything of a maze, and its transitions."""
    moves = moves_of(env)
    model = TableModel(env.spec)
    table = empty(model.states, model.actions).replace(
        following=jnp.asarray(moves.cell),
        reward=jnp.asarray(moves.won, jnp.float32),
        discount=1.0 - jnp.asarray(moves.won, jnp.float32),
        tried=jnp.ones(moves.won.shape, bool),
    )
    return model, {"model": table}, moves


def values(moves, gamma):
    """Best discounted return from every cell, by value iteration."""
    found = np.zeros(len(moves.cell))
    for _ in range(60):
        found = np.where(moves.won, 1.0, gamma * found[moves.cell]).max(1)
    return jnp.asarray(found, jnp.float32)


def steps_to_goal(policy, params, moves, limit=40, seed=0):
    """Steps of a planner from the start of a known maze to its goal."""
    act = jax.jit(policy.act)
    carry, cell = policy.start(params, 1), moves.start
    for count in range(limit):
        state = At(jnp.array([cell], jnp.int32), jnp.ones(1))
        key = jax.random.fold_in(jax.random.key(seed), count)
        carry, action, _ = act(params, key, carry, state)
        at = (cell, int(np.asarray(action)[0]))
        if moves.won[at]:
            return count + 1
        cell = moves.cell[at]
    return limit
