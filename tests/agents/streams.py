"""Records of environments for tests of single updates."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from wm.envs import batch
from wm.envs.timesteps import first, following
from wm.nodes import Node, static
from wm.train.loop import loop_of
from wm.train.schedule import Schedule
from wm.types import ArraySpec, EnvSpec


class OneState(Node):
    """One state, reward 1 for whatever is done, cut after 10 steps.

    With gamma 0.9 its value is 10. Were the limit an end, it would be 5.26 by one-step
    backups, 4.28 with lambda 0.95 and 4.14 by whole returns.
    """

    continuous: bool = static(default=False)

    @property
    def spec(self) -> EnvSpec:
        """Observation `[1]`, 2 actions or one number."""
        action = ArraySpec((1,)) if self.continuous else ArraySpec((), "int32", 2)
        return EnvSpec(ArraySpec((1,)), action, name="one_state", time_limit=10)

    def reset(self, key):
        return jnp.zeros((), jnp.int32), first(jnp.ones(1))

    def step(self, state, action):
        time = state + 1
        return time, following(jnp.ones(1), 1.0, truncated=time >= 10)


def newest(agent: Any, env: Any, envs: int = 3, T: int = 25, key: int = 0):
    """A state of the agent, and the batch that its first update would get."""
    cadence = {"envs": envs, "chunk": T, "updates": 1, "prefill": 0}
    made = loop_of(agent, Schedule(**cadence, batch_size=64, total=1_000))
    batched = batch(env)
    ((name, (N, L)),) = agent.batches(made.schedule).items()

    @jax.jit
    def collected(key):
        state = made.init(batched, key)
        state = made.collect(batched, state, key, "train")
        _, drawn = made.buffer.sample(state.buffer, jax.random.key(1), N, L)
        return state.agent, {name: drawn}

    return collected(jax.random.key(key))
