"""Learning curves of the baselines, several seeds, without a run directory."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import wm
from wm.envs import batch
from wm.train import evaluate
from wm.train.loop import loop_of
from wm.train.schedule import Schedule


class Curves(NamedTuple):
    """Of every seed, numpy."""

    returns: np.ndarray
    """`[seeds, 20]`: last finished episode of every environment, their mean, averaged
    over each twentieth of the run."""
    scores: np.ndarray
    """`[seeds]`: mean return of 100 evaluation episodes at the end."""

    def at(self, percent: int) -> float:
        """Mean over seeds around that point of the run."""
        return float(self.returns[:, percent // 5 - 1].mean())

    @property
    def best(self) -> float:
        """The best twentieth, of the mean over seeds."""
        return float(self.returns.mean(0).max())


def train(
    system: str,
    task: str,
    seeds: int = 5,
    preset: str = "",
    schedule: dict[str, Any] | None = None,
    **settings: Any,
) -> Curves:
    """Curves of `seeds` learners with the preset's schedule, one after another."""
    env = wm.env(task)
    agent = wm.agent(system, env.spec, preset=preset, **settings)
    loop = loop_of(agent, Schedule(**{**agent.schedule, **(schedule or {})}))
    batched = batch(env)
    chunks = (loop.schedule.total // loop.chunk_steps - loop.prefill_chunks) // 20 * 20
    assert chunks > 0, "fewer than 20 chunks"

    def body(state, _):
        state = loop.one_chunk(batched, state)
        return state, jnp.nanmean(state.stats.last_return)

    @jax.jit
    def one(key):
        state = loop.init(batched, key)
        state = loop.prefill(batched, state, loop.prefill_chunks)
        state, returns = jax.lax.scan(body, state, None, chunks)
        return state.agent, jnp.nanmean(returns.reshape(20, -1), 1)

    score = evaluate.evaluator(agent, env, 100)
    returns, scores = [], []
    for seed in range(seeds):
        key = jax.random.key(seed)
        state, curve = one(key)
        returns.append(np.asarray(curve))
        scores.append(float(np.mean(score(state, key).returns)))
    return Curves(np.stack(returns), np.array(scores))
