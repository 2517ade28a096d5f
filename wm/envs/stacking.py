"""The newest observations as one, for agents that remember nothing.

Every array is joined with those before it along its last axis, oldest first; before an
episode began stands its first observation. Replay then holds every frame several times:
agents with a memory of their own (`model.stack` of MuZero, any recurrent model) do
better without.

Source: Mnih et al. 2015 (four frames).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.envs.wrappers import autoreset_of
from wm.nodes import Node, static
from wm.types import EnvSpec, Key, TimeStep, Tree


def stacked(env: Any, count: int) -> Any:
    """`env`, an `Env` or a `HostEnv`, whose observations are the newest `count`.

    Raises:
      ValueError: a count below 1, or observations that are class indices or have no
        axis.
    """
    if count < 1:
        raise ValueError(f"stack must be at least 1, got {count}")
    if count == 1:
        return env
    parts = jax.tree.leaves(env.spec.observation)
    if any(part.discrete or not part.shape for part in parts):
        why = f"{env.spec.name} shows single numbers, which do not stack"
        raise ValueError(f"stack must be 1, got {count}: {why}")
    if hasattr(env, "num_envs"):
        return HostStack(env, count)
    return Stack(env=env, count=int(count))


def _spec(spec: EnvSpec, count: int) -> EnvSpec:
    wide = lambda part: dataclasses.replace(
        part, shape=(*part.shape[:-1], count * part.shape[-1])
    )
    # Rewards, ends and rules are functions of what was seen before.
    return dataclasses.replace(
        spec,
        observation=jax.tree.map(wide, spec.observation),
        reward_fn=None,
        terminal_fn=None,
        rules=None,
    )


class StackState(Node):
    """Inner state and what is seen."""

    inner: Tree
    seen: Tree
    """Leaves `[…, count · F]`."""


class Stack(Node):
    """Observations of an `Env` as a stack; built by `stacked`."""

    env: Any
    count: int = static()

    @property
    def autoreset(self) -> str:
        """The inner one's."""
        return autoreset_of(self.env)

    @property
    def spec(self) -> EnvSpec:
        """The inner one with wider observations."""
        return _spec(self.env.spec, self.count)

    def reset(self, key: Key) -> tuple[StackState, TimeStep]:
        """The first observation, `count` times."""
        inner, timestep = self.env.reset(key)
        repeated = lambda x: jnp.concatenate([x] * self.count, -1)
        seen = jax.tree.map(repeated, timestep.observation)
        return StackState(inner, seen), timestep._replace(observation=seen)

    def step(self, state: StackState, action: jax.Array) -> tuple[StackState, TimeStep]:
        """The oldest goes, the new one comes."""
        inner, timestep = self.env.step(state.inner, action)
        push = lambda old, new: jnp.concatenate([old[..., new.shape[-1] :], new], -1)
        seen = jax.tree.map(push, state.seen, timestep.observation)
        return StackState(inner, seen), timestep._replace(observation=seen)


class HostStack:
    """Observations of a `HostEnv` as a stack; built by `stacked`."""

    def __init__(self, env: Any, count: int):
        """Wrap `env`, which keeps its random streams."""
        self.env, self.count = env, count
        self.num_envs = env.num_envs
        self._seen: Any = None

    def __getattr__(self, name: str) -> Any:
        """`reseed`, where the inner one has it."""
        if name == "reseed":
            return self.env.reseed
        raise AttributeError(name)

    @property
    def spec(self) -> EnvSpec:
        """The inner one with wider observations."""
        return _spec(self.env.spec, self.count)

    def reset(self) -> TimeStep:
        """New episodes everywhere."""
        return self._stack(self.env.reset())

    def step(self, action: np.ndarray) -> TimeStep:
        """One step of every row; rows that had ended begin anew."""
        return self._stack(self.env.step(action))

    def close(self) -> None:
        """The inner one's."""
        self.env.close()

    def _stack(self, timestep: TimeStep) -> TimeStep:
        def push(old, new):
            seen = np.concatenate([old[..., new.shape[-1] :], new], -1)
            begun = new[timestep.is_first]
            seen[timestep.is_first] = np.concatenate([begun] * self.count, -1)
            return seen

        seen = timestep.observation
        if self._seen is None:
            self._seen = jax.tree.map(lambda x: np.repeat(x, self.count, -1), seen)
        self._seen = jax.tree.map(push, self._seen, seen)
        return timestep._replace(observation=self._seen)
