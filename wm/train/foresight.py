"""How far a model sees: predictions beside what happened, from many states at once.

A model observes whole episodes. From states on the way it then follows the true actions
without seeing; from the same states it says what it believes of the next observation,
where it can (`predictive`). Needs the WorldModel contract only, `decode` included.
Statistics and pictures are the report's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.train.dream import play
from wm.train.results import observe
from wm.types import ArraySpec, Belief, EnvSpec, Key, Step, TimeStep, Tree

LIVELY = 1e-6
"""Entries of an observation that spread less are constants, and left out."""


class Windows(NamedTuple):
    """Where predictions begin: W states of N episodes `[N, L]`."""

    row: np.ndarray
    """i32 `[W]`, episode."""
    time: np.ndarray
    """i32 `[W]`, frame of it; the next one belongs to the same episode."""
    inside: np.ndarray
    """bool `[H, W]`: the episode lasts at least h + 1 steps more."""


class Foresight(NamedTuple):
    """What a model says of W states; distances in units of the data's spread."""

    distance: jax.Array
    """f32 `[H, W]`: of the prediction h + 1 steps ahead from what happened."""
    belief: Belief | None
    """Of the next observation, flat, `[W, D]`; None where the model states none."""


class RandomAgent:
    """Acts uniformly, among what is legal; for `wm.train.dream.play`."""

    def __init__(self, spec: EnvSpec):
        self.spec = spec

    def actor(self, state: Tree) -> tuple:
        """Nothing is known."""
        return ()

    def start(self, actor: tuple, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, actor: tuple, key: Key, carry: tuple, timestep: TimeStep, mode: str
    ) -> tuple[tuple, jax.Array, dict[str, Tree]]:
        """Any action, in every mode."""
        spec, rows = self.spec.action, timestep.reward.shape[0]
        shape = (rows, *spec.shape)
        if not spec.discrete:
            return carry, jax.random.uniform(key, shape, minval=-1.0, maxval=1.0), {}
        if timestep.legal is not None:
            logits = jnp.where(timestep.legal, 0.0, -jnp.inf)
            return carry, jax.random.categorical(key, logits).astype(spec.dtype), {}
        action = jax.random.randint(key, shape, 0, spec.classes or 1)
        return carry, action.astype(spec.dtype), {}


def windows(valid: np.ndarray, horizon: int, most: int, seed: int = 0) -> Windows:
    """At most `most` states, drawn without replacement from those that have a next one.

    Args:
      valid: bool `[N, L]`, true up to the end of each row's episode.
      horizon: H; cut to the most steps that any of them has left.
      most: W.
      seed: of numpy's generator.
    """
    rows, times = np.nonzero(valid[:, 1:])
    if len(rows) > most:
        drawn = np.random.default_rng(seed).choice(len(rows), most, replace=False)
        rows, times = rows[np.sort(drawn)], times[np.sort(drawn)]
    left = valid.sum(1)[rows] - 1 - times
    inside = left >= np.arange(1, min(horizon, int(left.max())) + 1)[:, None]
    return Windows(rows.astype(np.int32), times.astype(np.int32), inside)


def weights_of(spec: Tree, observations: list[tuple[Tree, np.ndarray]]) -> Tree:
    """What squared differences are multiplied with, so that 1 is the data's spread.

    A vector's entries each count by their own variance, and alike; constants do not. An
    image counts by its mean variance. Indices are right or wrong, whatever the data.

    Args:
      spec: of the observation.
      observations: `[N, L, …]` and which frames count, bool `[N, L]`; pooled.
    """

    def one(array: ArraySpec, *leaves: Any) -> np.ndarray:
        if array.discrete:
            return np.ones(array.shape, np.float32)
        seen = [
            _unit(x)[mask] for x, (_, mask) in zip(leaves, observations, strict=True)
        ]
        variance = np.concatenate(seen).astype(np.float64).var(0)
        if array.image:
            variance = np.full_like(variance, variance.mean())
        lively = np.sqrt(variance) > LIVELY
        count = max(lively.sum(), 1)
        weight = np.where(lively, 1 / np.where(lively, variance, 1.0), 0.0) / count
        return weight.astype(np.float32)

    return jax.tree.map(one, spec, *[tree for tree, _ in observations])


def foresee(model: Any, spec: Tree) -> Callable[..., Foresight]:
    """A compiled function `(params, key, steps, row, time, ahead, weights)`.

    Args of that function: whole params; consumed; `Step` `[N, L, …]`; `Windows.row` and
    `.time`; `arange(H)`; `weights_of` the observations.

    Args:
      model: with `decode`.
      spec: of the observation.
    """

    def program(params, key, steps, row, time, ahead, weights) -> Foresight:
        key_observe, key_step = jax.random.split(key)
        states = observe(model, params, key_observe, steps)
        here = jax.tree.map(lambda x: x[time, row], states)
        belief = None
        if hasattr(model, "predictive"):
            belief = model.predictive(params, here, at(steps.action, row, time))

        def body(state, inputs):
            key, h = inputs
            action = at(steps.action, row, time + h)
            state, _ = model.step(params, key, state, action)
            truth = at(steps.timestep.observation, row, time + h + 1)
            guess = model.decode(params, state)
            return state, distance(spec, weights, truth, guess)

        keys = jax.random.split(key_step, ahead.shape[0])
        return Foresight(jax.lax.scan(body, here, (keys, ahead))[1], belief)

    return jax.jit(program)


def standing(
    spec: Tree, weights: Tree, observation: Tree, begin: Windows
) -> np.ndarray:
    """Distances f32 `[H, W]` of the prediction that nothing changes."""
    here = at(observation, begin.row, begin.time)
    ahead = range(1, len(begin.inside) + 1)
    there = (at(observation, begin.row, begin.time + h) for h in ahead)
    far = [distance(spec, weights, truth, here) for truth in there]
    return np.asarray(jnp.stack(far))


def at(tree: Tree, row: Any, time: Any) -> Tree:
    """Frames of `[N, L, …]`, `[W, …]`; past the end the last one."""
    last = jax.tree.leaves(tree)[0].shape[1] - 1
    return jax.tree.map(lambda x: x[row, jnp.minimum(time, last)], tree)


def distance(spec: Tree, weights: Tree, truth: Tree, guess: Tree) -> jax.Array:
    """Root of the mean over arrays of weighted squared differences, f32 `[W]`."""

    def one(array: ArraySpec, weight, truth, guess):
        if array.discrete:
            wrong = (jnp.round(guess) != truth).astype(jnp.float32)
            return wrong.reshape(wrong.shape[0], -1).mean(-1)
        square = weight * jnp.square(_unit(guess) - _unit(truth))
        return square.reshape(square.shape[0], -1).sum(-1)

    parts = jax.tree.leaves(jax.tree.map(one, spec, weights, truth, guess))
    return jnp.sqrt(sum(parts) / len(parts))


def _unit(x: Any) -> Any:
    """Float32; bytes become [0, 1]. A decoder may give an image in either form."""
    scale = 255.0 if x.dtype == jnp.uint8 else 1.0
    return x.astype(jnp.float32) / scale


def play_random(env: Any, key: Key, rows: int, frames: int) -> tuple[Step, jax.Array]:
    """As `wm.train.dream.play`, by random actions."""
    return play(RandomAgent(env.spec), env, (), key, rows, frames)
