"""Brax tasks: articulated bodies in JAX."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp

from wm.envs import wrappers
from wm.envs.bodies import describe, require_velocity
from wm.envs.timesteps import first, following, like, strong, unshared
from wm.errors import UserError
from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep, Tree

BACKENDS = ("spring", "positional", "generalized", "mjx")
EPISODE_LENGTH = 1000


class Brax(Node):
    """One Brax task without a time limit; `make` adds it."""

    task: str = static()
    backend: str = static()
    velocity: bool = static(default=False)
    """Whether the observation begins with the forward velocity over the step."""

    autoreset = "pooled"

    @property
    def spec(self) -> EnvSpec:
        """Vectors, and what is known of rewards and ends (`wm.envs.bodies`)."""
        env = _load(self.task, self.backend)
        spec = EnvSpec(
            observation=ArraySpec((env.observation_size,)),
            action=ArraySpec((env.action_size,)),
            name=f"brax/{self.task}",
        )
        return describe(spec, self.task, self.velocity, "brax")

    def reset(self, key: Key) -> tuple[Tree, TimeStep]:
        """Brax's own reset, which takes raw key data."""
        state = _load(self.task, self.backend).reset(jax.random.key_data(key))
        state = strong(state)
        return state, first(self._seen(state))

    def step(self, state: Tree, action: jax.Array) -> tuple[Tree, TimeStep]:
        """Brax's own step; its `done` is a terminal."""
        env = _load(self.task, self.backend)
        new_state = env.step(unshared(state), jnp.clip(action, -1.0, 1.0))
        state = like(new_state, state)
        return state, following(
            self._seen(state), state.reward, terminal=state.done > 0
        )

    def _seen(self, state: Any) -> jax.Array:
        observation = jnp.asarray(state.obs, jnp.float32)
        if not self.velocity:
            return observation
        speed = jnp.asarray(state.metrics["x_velocity"], jnp.float32)
        return jnp.concatenate([speed[None], observation])


def make(
    name: str,
    backend: str = "spring",
    time_limit: int = EPISODE_LENGTH,
    action_repeat: int = 1,
    velocity: bool = False,
) -> Any:
    """A Brax task.

    Args:
      name: as Brax registers it.
      backend: spring, positional, generalized or mjx. Spring is the fastest on a CPU by
        2.5 to 7 times; published results mostly use generalized or mjx, and returns
        of different backends cannot be compared.
      time_limit: simulator steps until truncation.
      action_repeat: simulator steps per action.
      velocity: observe the forward velocity over the step first, from which the reward
        follows.

    Raises:
      UserError: unknown backend, impossible limit or repeat, a velocity that the task
        does not reward.
    """
    if backend not in BACKENDS:
        allowed = ", ".join(BACKENDS)
        raise UserError(f"backend must be one of {allowed}, got {backend}")
    if velocity:
        require_velocity(f"brax/{name}", name)
    try:
        _load(name, backend)
        inner = Brax(task=name, backend=backend, velocity=velocity)
        env = wrappers.time_limit(inner, time_limit)
        return wrappers.action_repeat(env, action_repeat)
    except ValueError as error:
        raise UserError(f"brax/{name}: {error}") from error


@functools.cache
def _load(task: str, backend: str) -> Any:
    """Brax's environment; never holds traced values."""
    with jax.ensure_compile_time_eval(), warnings.catch_warnings():
        # Brax and a library under it say that they are no longer developed.
        warnings.simplefilter("ignore")
        from brax import envs  # pyright: ignore[reportAttributeAccessIssue]

        return envs.get_environment(task, backend=backend)
