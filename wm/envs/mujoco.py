"""gym's MuJoCo tasks on the host, through envpool."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from wm.envs.bodies import describe, require_velocity
from wm.envs.host import PoolEnv, action_spec, make_pool
from wm.errors import UserError
from wm.types import ArraySpec, EnvSpec


def make(
    name: str,
    body: str,
    num_envs: int = 16,
    seed: int = 0,
    velocity: bool = False,
    version: int = 4,
    time_limit: int | None = None,
) -> PoolEnv:
    """A task of gym's MuJoCo benchmark.

    Args:
      name: gym's, without the version (`HalfCheetah`).
      body: its name in `wm.envs.bodies`.
      num_envs: instances.
      seed: instance i gets `seed + i`.
      velocity: observe the forward velocity over the step first, from which the
        reward follows.
      version: 3, 4 or 5; published results mostly use 4, returns of others differ.
        What is known of rewards and ends is version 4's.
      time_limit: steps until truncation; None takes the task's own (1000; Reacher 50,
        Pusher 100).

    Raises:
      UserError: impossible value.
    """
    if version not in (3, 4, 5):
        raise UserError(f"version must be 3, 4 or 5, got {version}")
    if time_limit is not None and time_limit < 1:
        raise UserError(f"time_limit must be at least 1, got {time_limit}")
    if velocity and version != 4:
        raise UserError(f"velocity needs version 4, got {version}")
    if velocity:
        require_velocity(f"mujoco/{name}", body)
    options = {} if time_limit is None else {"max_episode_steps": time_limit}
    make_seed = functools.partial(make_pool, f"{name}-v{version}", num_envs, **options)
    pool: Any = make_seed(seed)
    spec = EnvSpec(
        observation=ArraySpec(pool.observation_space.shape),
        action=action_spec(pool.action_space),
        name=f"mujoco/{name}",
        time_limit=pool.spec.config.max_episode_steps,
    )
    if version == 4:
        spec = describe(spec, body, velocity, "mujoco")
    return PoolEnv(make_seed, pool, spec, faster if velocity else plain)


def plain(observation: np.ndarray, info: dict) -> np.ndarray:
    """As float32 `[B, D]`."""
    return np.asarray(observation, np.float32)


def faster(observation: np.ndarray, info: dict) -> np.ndarray:
    """The forward velocity, then the observation, float32 `[B, 1 + D]`."""
    # A first record still carries the velocity of the step before it.
    speed = np.where(info["elapsed_step"] == 0, 0.0, info["x_velocity"])
    return np.concatenate([speed[:, None], observation], 1, dtype=np.float32)
