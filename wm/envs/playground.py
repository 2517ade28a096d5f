"""MuJoCo Playground's control suite: the dm_control tasks in MJX.

The physics is `impl="jax"` unless asked otherwise: the library's own default, warp,
needs an NVIDIA GPU and is hundreds of times slower on a CPU.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from wm.envs import wrappers
from wm.envs.suite import PLAYGROUND as REWARDS
from wm.envs.timesteps import first, following, like, strong, unshared
from wm.errors import UserError
from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep, Tree


class Playground(Node):
    """One task without a time limit; `make` adds it."""

    task: str = static()
    impl: str = static()

    autoreset = "lazy"
    """Some resets settle the body for 200 simulator steps, and all episodes are equally
    long: a pool made 560 steps/s of CheetahRun on one core, laziness 12,700."""

    @property
    def spec(self) -> EnvSpec:
        """A vector, or a dict of vectors, as the task has it."""
        env, _ = _load(self.task, self.impl)
        return EnvSpec(
            observation=_observation(self.task, self.impl),
            action=ArraySpec((env.action_size,)),
            name=f"playground/{self.task}",
            reward_fn=REWARDS.get(self.task),
        )

    def reset(self, key: Key) -> tuple[Tree, TimeStep]:
        """The task's own reset, which takes raw key data."""
        env, _ = _load(self.task, self.impl)
        state = strong(env.reset(jax.random.key_data(key)))
        return state, first(_float(state.obs))

    def step(self, state: Tree, action: jax.Array) -> tuple[Tree, TimeStep]:
        """The task's own step.

        Only a simulation that diverged is `done`; it ends the episode as a terminal,
        with its NaNs replaced by zeros.
        """
        env, _ = _load(self.task, self.impl)
        new_state = env.step(unshared(state), jnp.clip(action, -1.0, 1.0))
        state = like(new_state, state)
        diverged = state.done > 0
        observation = jax.tree.map(jnp.nan_to_num, _float(state.obs))
        reward = jnp.nan_to_num(state.reward)
        return state, following(observation, reward, terminal=diverged)


def make(name: str, impl: str = "jax", action_repeat: int = 1) -> Any:
    """A control task of MuJoCo Playground.

    Args:
      name: as the library registers it (`CheetahRun`).
      impl: physics: jax, or warp on an NVIDIA GPU.
      action_repeat: simulator steps per action; published results use 1 or 2. The
        episode stays 1000 simulator steps.

    Raises:
      UserError: unknown physics, impossible repeat.
    """
    if impl not in ("jax", "warp"):
        raise UserError(f"impl must be jax or warp, got {impl}")
    _, length = _load(name, impl)
    try:
        env = wrappers.time_limit(Playground(task=name, impl=impl), length)
        return wrappers.action_repeat(env, action_repeat)
    except ValueError as error:
        raise UserError(f"playground/{name}: {error}") from error


@functools.cache
def _load(task: str, impl: str) -> tuple[Any, int]:
    """The library's environment and episode length; never holds traced values."""
    from mujoco_playground import registry

    with jax.ensure_compile_time_eval():
        config: Any = registry.get_default_config(task)
        config.impl = impl
        return registry.load(task, config=config), int(config.episode_length)


@functools.cache
def _observation(task: str, impl: str) -> Any:
    env, _ = _load(task, impl)
    shapes = jax.eval_shape(env.reset, jax.random.PRNGKey(0)).obs
    return jax.tree.map(lambda leaf: ArraySpec(leaf.shape), shapes)


def _float(observation: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), observation)
