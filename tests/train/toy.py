"""A small recurrent agent with everything that runners handle: a carry, stored latents
written back, two kinds of metrics, a fit, and keys that matter.

It predicts rewards linearly from a decaying trace of observations, and acts by chance
or by the sign of its prediction. It is not meant to learn anything of use.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from wm.nodes import Node
from wm.types import Batch, EnvSpec, Feedback

WIDTH = 4


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings."""

    rate: float = 0.1
    """Learning rate."""
    decay: float = 0.5
    """Of the trace."""
    shape: tuple[int, ...] = (WIDTH,)
    """Of the trace; a tuple, as real settings have."""


class State(Node):
    """All that persists."""

    params: Any
    noise: jax.Array
    updates: jax.Array


class Toy:
    """The agent."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        self.spec = spec
        self.config = config or Config()

    def init(self, key):
        model = 0.1 * jax.random.normal(key, self.config.shape)
        zero = jnp.zeros((), jnp.int32)
        return State({"model": model, "policy": {}}, jnp.zeros(()), zero)

    def actor(self, state):
        return state.params["model"]

    def start(self, actor, batch):
        return jnp.zeros((batch, *self.config.shape))

    def act(self, actor, key, carry, timestep, mode):
        trace = self._trace(carry, timestep)
        score = trace @ actor
        classes = self.spec.action.classes
        noise = jax.random.uniform(key, score.shape)
        greedy = jnp.where(score > 0, 1, 0)
        chance = (noise * classes).astype(jnp.int32)
        action = chance if mode == "prefill" else jnp.where(noise < 0.5, chance, greedy)
        return trace, action, {"latent": trace.astype(jnp.bfloat16), "score": score}

    def _trace(self, carry, timestep):
        x = timestep.observation
        x = x.reshape(x.shape[0], -1)[:, :WIDTH].astype(jnp.float32)
        x = x / (1.0 + jnp.abs(x))
        x = jnp.pad(x, ((0, 0), (0, WIDTH - x.shape[1])))
        kept = jnp.where(timestep.is_first[:, None], 0.0, carry)
        return self.config.decay * kept + x

    def batches(self, schedule):
        return {"replay": (schedule.batch_size, schedule.batch_length + 1)}

    def imagined_per_update(self, schedule):
        return schedule.batch_size

    def update(self, state, key, batches):
        batch: Batch = batches["replay"]
        swap = lambda x: jnp.swapaxes(x, 0, 1)
        first = batch.extras["latent"][:, 0].astype(jnp.float32)
        steps = jax.tree.map(swap, batch.timestep)
        body = lambda carry, t: (self._trace(carry, t),) * 2
        traces = jax.lax.scan(body, first, jax.tree.map(lambda x: x[1:], steps))[1]
        noise = 0.01 * jax.random.normal(key)

        def loss(params):
            error = traces @ params["model"] + noise - steps.reward[1:]
            return jnp.mean(error**2)

        value, gradient = jax.value_and_grad(loss)(state.params)
        step = lambda p, g: p - self.config.rate * g
        state = State(
            jax.tree.map(step, state.params, gradient),
            state.noise + noise,
            state.updates + 1,
        )
        latent = jnp.concatenate([first[None], traces]).astype(jnp.bfloat16)
        mask = jnp.ones(batch.timestep.is_first.shape, bool).at[:, 0].set(False)
        feedback = Feedback(batch.index, {"latent": swap(latent)}, mask)
        metrics = {"loss/total": value, "model/noise": noise}
        return state, {"replay": feedback}, metrics


class FitOnly:
    """A toy that only fits."""

    def __init__(self, spec: EnvSpec):
        self.toy = Toy(spec)
        self.spec = spec
        self.init, self.actor = self.toy.init, self.toy.actor
        self.start, self.act = self.toy.start, self.toy.act

    def batches(self, schedule):
        return {}

    def fit(self, state, key, dataset):
        reward = jnp.sum(jnp.where(dataset.mask, dataset.steps.timestep.reward, 0.0))
        state = state.replace(noise=reward, updates=state.updates + 1)
        return state, {"fit/size": dataset.size}


class Labeller(Toy):
    """A toy that labels the newest steps and reanalyses old ones."""

    LABEL, FRESH = 7.0, 8.0

    def batches(self, schedule):
        more = {"label": (schedule.envs, 2), "reanalyse": (2, 2)}
        return {**super().batches(schedule), **more}

    def label(self, state, batch):
        return self._say(batch, self.LABEL)

    def reanalyse(self, state, key, batch):
        return self._say(batch, self.FRESH)

    def _say(self, batch, value):
        fields = {"score": jnp.full(batch.timestep.reward.shape, value)}
        return Feedback(batch.index, fields, jnp.ones_like(batch.timestep.is_first))
