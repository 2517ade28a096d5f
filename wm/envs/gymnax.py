"""gymnax tasks: classic control, MinAtar, bsuite and small ones.

Uses `step_env`, which neither resets nor knows of the time limit; the limit
(`max_steps_in_episode`) is a truncation here, so its records keep discount 1.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.envs.timesteps import first, following, like, strong
from wm.errors import UserError
from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep, Tree

RETURNS: dict[str, tuple[float | None, float | None]] = {
    "CartPole-v1": (22.0, 500.0),
    "Pendulum-v1": (-1236.0, None),
    "Acrobot-v1": (-498.7, None),
    "MountainCar-v0": (-200.0, None),
    "MountainCarContinuous-v0": (-33.1, None),
    "Asterix-MinAtar": (0.48, None),
    "Breakout-MinAtar": (0.41, None),
    "Freeway-MinAtar": (0.39, None),
    "Seaquest-MinAtar": (0.10, None),
    "SpaceInvaders-MinAtar": (4.2, None),
    "Catch-bsuite": (-0.6, 1.0),
    "DeepSea-bsuite": (0.0, 0.99),
    "MemoryChain-bsuite": (0.0, 1.0),
    "FourRooms-misc": (0.45, None),
    "MetaMaze-misc": (8.2, None),
    "PointRobot-misc": (0.21, None),
    "Reacher-misc": (16.2, None),
    "Swimmer-misc": (86.8, None),
    "Pong-misc": (87.2, None),
    "FrozenLake-misc": (0.018, None),
}
"""Expected return of random and of best play, where known. Random: 1,000 episodes of
each, measured by `tests/envs/play.py` (standard errors below 4 %, or 0.03)."""


class GymnaxState(Node):
    """gymnax's own state, the key of the episode, and steps since the reset.

    A step's key is the episode's folded with the time: where a task draws nothing,
    the compiler drops it.
    """

    inner: Tree
    key: Key
    time: jax.Array


class Gymnax(Node):
    """One gymnax task; built by `make`."""

    task: str = static()
    time_limit: int = static()

    @property
    def spec(self) -> EnvSpec:
        """Observations as gymnax has them, float32 unless they are class indices."""
        env, params = _load(self.task)
        random_return, optimal_return = RETURNS.get(self.task, (None, None))
        if self.time_limit != _time_limit(self.task):
            random_return = optimal_return = None
        return EnvSpec(
            observation=_observation_spec(env.observation_space(params)),
            action=_action_spec(env.action_space(params)),
            name=f"gymnax/{self.task}",
            time_limit=self.time_limit,
            random_return=random_return,
            optimal_return=optimal_return,
        )

    def reset(self, key: Key) -> tuple[GymnaxState, TimeStep]:
        """gymnax's own reset."""
        env, params = _load(self.task)
        observation, inner = env.reset_env(jax.random.fold_in(key, 0), params)
        state = GymnaxState(strong(inner), key, jnp.zeros((), jnp.int32))
        return state, first(self._observe(observation))

    def step(
        self, state: GymnaxState, action: jax.Array
    ) -> tuple[GymnaxState, TimeStep]:
        """gymnax's own step; continuous actions are clipped and rescaled."""
        env, params = _load(self.task)
        time = state.time + 1
        key_step = jax.random.fold_in(state.key, time)
        space = env.action_space(params)
        if not hasattr(space, "n"):
            action = rescale(action, space.low, space.high)
        observation, inner, reward, terminal, _ = env.step_env(
            key_step, state.inner, action, params
        )
        truncated = time >= self.time_limit
        timestep = following(self._observe(observation), reward, terminal, truncated)
        return GymnaxState(like(inner, state.inner), state.key, time), timestep

    def _observe(self, observation: Tree) -> Tree:
        return jax.tree.map(
            lambda array, spec: jnp.asarray(array, spec.dtype),
            observation,
            self.spec.observation,
        )


def make(name: str, time_limit: int | None = None) -> Gymnax:
    """A gymnax task.

    Args:
      name: as gymnax registers it.
      time_limit: steps until truncation; None takes the task's own.

    Raises:
      UserError: the task needs a download that failed.
    """
    try:
        _load(name)
    except OSError as error:
        raise UserError(f"gymnax/{name} downloads its data: {error}") from error
    limit = _time_limit(name) if time_limit is None else time_limit
    if limit < 1:
        raise UserError(f"time_limit must be at least 1, got {limit}")
    return Gymnax(task=name, time_limit=limit)


def rescale(action: jax.Array, low: Any, high: Any) -> jax.Array:
    """Map [-1, 1] to [low, high]; what lies outside is clipped."""
    return low + (jnp.clip(action, -1.0, 1.0) + 1.0) * 0.5 * (high - low)


@functools.cache
def _load(task: str) -> tuple[Any, Any]:
    """gymnax's environment and its parameters; never holds traced values."""
    import gymnax

    make: Any = gymnax.make
    with jax.ensure_compile_time_eval():
        return make(task)


def _time_limit(task: str) -> int:
    return int(_load(task)[1].max_steps_in_episode)


def _action_spec(space: Any) -> ArraySpec:
    if hasattr(space, "n"):
        return ArraySpec((), "int32", classes=int(space.n))
    return ArraySpec(space.shape)


def _observation_spec(space: Any) -> Any:
    if hasattr(space, "spaces"):
        return {name: _observation_spec(part) for name, part in space.spaces.items()}
    if hasattr(space, "n"):
        return ArraySpec((), "int32", classes=int(space.n))
    if np.dtype(space.dtype) == np.uint8 and len(space.shape) == 3:
        return ArraySpec(space.shape, "uint8")
    return ArraySpec(space.shape)
