"""Scores: every row plays exactly one episode, from its start to its end.

Counting the first N episodes to finish would favour short ones; one per row does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.envs.batched import Batched, batch
from wm.train.host_env import timestep_of
from wm.types import Key, Tree

ROWS = 128
"""Episodes played at once; more are played in waves of equal size, so that one
program serves them all."""

NO_LIMIT = 100_000
"""Steps after which an episode without a time limit of its own is cut."""


class Scores(NamedTuple):
    """Undiscounted returns and lengths (transitions) of whole episodes."""

    returns: Any
    """f32 `[..., episodes]`."""
    lengths: Any
    """i32 `[..., episodes]`."""


def waves(episodes: int, rows: int = ROWS) -> tuple[int, int]:
    """Waves and rows of each; the last wave's surplus rows are dropped."""
    count = -(-episodes // rows)
    return count, -(-episodes // count)


def frozen(env: Any) -> Batched:
    """`env` as a batch whose rows stay at their last record."""
    return batch(env.env if isinstance(env, Batched) else env, autoreset="off")


def evaluation_key(key: Key, step: Any, wave: int) -> Key:
    """A key of the run, the step and the wave: independent of what was trained."""
    key = jax.random.fold_in(key, 0xE7A1)
    return jax.random.fold_in(jax.random.fold_in(key, step), wave)


def episodes(agent: Any, env: Batched, actor: Tree, key: Key, rows: int) -> Scores:
    """Play one episode per row in mode `eval`, until all have ended.

    Args:
      agent: acts.
      env: from `frozen`.
      actor: what `agent.actor` returned.
      key: consumed.
      rows: episodes.

    Returns:
      `Scores` `[rows]`. Rows still playing at the time limit (or after `NO_LIMIT`
      steps) count with what they have.
    """
    key_env, key_act = jax.random.split(key)
    env_state, timestep = env.reset(key_env, rows)
    limit = env.spec.time_limit or NO_LIMIT
    zero = Scores(jnp.zeros(rows, jnp.float32), jnp.zeros(rows, jnp.int32))

    def going(loop):
        time, _, timestep, _, _ = loop
        return (time < limit) & ~jnp.all(timestep.is_last)

    def body(loop):
        time, env_state, timestep, carry, scores = loop
        alive = ~timestep.is_last
        key = jax.random.fold_in(key_act, time)
        carry, action, _ = agent.act(actor, key, carry, timestep, "eval")
        env_state, timestep = env.step(env_state, action)
        returns = scores.returns + jnp.where(alive, timestep.reward, 0.0)
        scores = Scores(returns, scores.lengths + alive)
        return time + 1, env_state, timestep, carry, scores

    carry = agent.start(actor, rows)
    loop = (jnp.zeros((), jnp.int32), env_state, timestep, carry, zero)
    return jax.lax.while_loop(going, body, loop)[-1]


def evaluator(agent: Any, env: Any, num_episodes: int, rows: int = ROWS) -> Callable:
    """A function `(state, key) -> Scores` of one agent state, numpy `[num_episodes]`.

    It is compiled once, for any number of states. On the device it takes another
    environment as third argument, of the same kind but with other arrays.

    Args:
      agent: any agent.
      env: an `Env`, its batch, or a `HostEnv`.
      num_episodes: whole episodes to play.
      rows: at once.
    """
    if hasattr(env, "num_envs"):
        act = host_act(agent)
        return lambda state, key: evaluate_host(
            agent, env, act, state, key, num_episodes
        )
    count, rows = waves(num_episodes, rows)
    usual = frozen(env)

    @jax.jit
    def wave(env, state, key):
        return episodes(agent, env, agent.actor(state), key, rows)

    def play(state: Tree, key: Key, other: Any = None) -> Scores:
        env = usual if other is None else frozen(other)
        keys = [jax.random.fold_in(key, n) for n in range(count)]
        return concatenate([wave(env, state, key) for key in keys], num_episodes)

    return play


def seed_of(key: Key) -> int:
    """A seed for a host environment."""
    return int(jax.random.randint(key, (), 0, 2**30))


def concatenate(parts: list[Scores], num_episodes: int) -> Scores:
    """Waves joined along the last axis, as numpy, surplus dropped."""
    parts = jax.device_get(parts)
    join = lambda *x: np.concatenate(x, axis=-1)[..., :num_episodes]
    return Scores(*map(join, *parts))


def host_act(agent: Any) -> Callable:
    """`(actor, carry, key, timestep) -> (carry, action)` for `evaluate_host`."""

    @jax.jit
    def act(actor, carry, key, timestep):
        return agent.act(actor, key, carry, timestep, "eval")[:2]

    return act


def evaluate_host(
    agent: Any, env: Any, act: Callable, state: Tree, key: Key, num_episodes: int
) -> Scores:
    """Scores on a `HostEnv`: per row the same number of whole episodes, in order.

    Rows are not stopped early and none is favoured: each contributes its first
    `num_episodes / num_envs` episodes (rounded up, surplus dropped by row number).
    The first record of each row must be `is_first`, as after `reset`. `act` is
    `host_act(agent)`, made once, since every new one is compiled anew. Which episodes
    are played depends on the key where the environment has `reseed`. A row that
    plays on when every time limit is over counts with what it has, for all it owes.
    """
    key_env, key_act = jax.random.split(key)
    if hasattr(env, "reseed"):
        env.reseed(seed_of(key_env))
    rows = env.num_envs
    each = -(-num_episodes // rows)
    actor = agent.actor(state)
    carry = agent.start(actor, rows)
    timestep = timestep_of(env.reset())
    finished: list[list[tuple[float, int]]] = [[] for _ in range(rows)]
    total, length = np.zeros(rows, np.float32), np.zeros(rows, np.int32)
    limit = (env.spec.time_limit or NO_LIMIT) * each + each
    for time in range(limit):
        carry, action = act(actor, carry, jax.random.fold_in(key_act, time), timestep)
        timestep = timestep_of(env.step(np.asarray(action)))
        first = np.asarray(timestep.is_first)
        total = np.where(first, 0.0, total + np.asarray(timestep.reward))
        length = np.where(first, 0, length + 1)
        for row in np.flatnonzero(timestep.is_last):
            finished[row].append((float(total[row]), int(length[row])))
        if all(len(row) >= each for row in finished):
            break
    for row, scores in enumerate(finished):
        if len(scores) < each:  # still playing at the limit: counts with what it has
            scores.append((float(total[row]), int(length[row])))
            scores.extend(scores[-1:] * (each - len(scores)))
    played = [row[n] for n in range(each) for row in finished]
    played = played[:num_episodes]
    returns = np.array([score for score, _ in played], np.float32)
    return Scores(returns, np.array([steps for _, steps in played], np.int32))


def score_rows(scores: Any, numbers: list[int], steps: list[int]) -> list[dict]:
    """Rows of scores.jsonl."""
    return [
        {"step": step, "seed": number, "return": float(value), "length": int(length)}
        for number, step, returns, lengths in zip(
            numbers, steps, scores.returns, scores.lengths, strict=True
        )
        for value, length in zip(returns, lengths, strict=True)
    ]
