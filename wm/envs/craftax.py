"""Craftax and Craftax-Classic, the rebuilding of Crafter in JAX.

Generating a world costs as much as several steps, so `batch` draws resets from a
pool. The game's own limit of 10,000 steps is a truncation here.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from wm.envs import wrappers
from wm.envs.timesteps import first, following, like, strong
from wm.errors import UserError
from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep, Tree

NAMES = {
    "symbolic": "Craftax-Symbolic-v1",
    "pixels": "Craftax-Pixels-v1",
    "classic-symbolic": "Craftax-Classic-Symbolic-v1",
    "classic-pixels": "Craftax-Classic-Pixels-v1",
}
TIME_LIMIT = 10_000
MOST = {"classic": 22.0, "full": 226.0}
"""Return for all achievements, what published percentages divide by."""
NEVER = 1 << 30


class CraftaxState(Node):
    """Craftax's own state and the key that its steps draw from."""

    inner: Tree
    key: Key


class Craftax(Node):
    """One of the four games without a time limit; `make` adds it."""

    task: str = static()

    autoreset = "pooled"

    @property
    def spec(self) -> EnvSpec:
        """Image uint8 or vector f32; 17 actions in the classic game, 43 in the full."""
        env, params = _load(self.task)
        shape = env.observation_space(params).shape
        pixels = self.task.endswith("pixels")
        return EnvSpec(
            observation=ArraySpec(shape, "uint8" if pixels else "float32"),
            action=ArraySpec((), "int32", classes=env.num_actions),
            name=f"craftax/{self.task}",
            optimal_return=MOST["classic" if "classic" in self.task else "full"],
        )

    def reset(self, key: Key) -> tuple[CraftaxState, TimeStep]:
        """Generate a world."""
        env, params = _load(self.task)
        key_reset, key = jax.random.split(key)
        observation, inner = env.reset_env(key_reset, params)
        return CraftaxState(strong(inner), key), first(self._observe(observation))

    def step(
        self, state: CraftaxState, action: jax.Array
    ) -> tuple[CraftaxState, TimeStep]:
        """Play one action; death is a terminal."""
        env, params = _load(self.task)
        key, key_step = jax.random.split(state.key)
        observation, inner, reward, terminal, _ = env.step_env(
            key_step, state.inner, action, params
        )
        state = CraftaxState(like(inner, state.inner), key)
        return state, following(self._observe(observation), reward, terminal)

    def _observe(self, observation: jax.Array) -> jax.Array:
        if self.task.endswith("pixels"):
            return jnp.round(observation * 255.0).astype(jnp.uint8)
        return jnp.asarray(observation, jnp.float32)


def make(name: str, size: int | None = 64, time_limit: int = TIME_LIMIT) -> Any:
    """A Craftax game.

    Args:
      name: symbolic, pixels, classic-symbolic or classic-pixels.
      size: side of the image: 63×63 (classic) is padded, 130×110 (full) resized,
        larger ones too. None keeps the game's own size. Ignored for symbols.
      time_limit: steps until truncation.

    Raises:
      UserError: impossible size or limit.
    """
    _load(name)
    try:
        env = wrappers.time_limit(Craftax(task=name), time_limit)
        if size is None or name.endswith("symbolic"):
            return env
        shape = _load(name)[0].observation_space(None).shape
        fits = max(shape[:2]) <= size < 2 * min(shape[:2])
        return wrappers.pad(env, size) if fits else wrappers.resize(env, size)
    except ValueError as error:
        raise UserError(f"craftax/{name}: {error}") from error


@functools.cache
def _load(task: str) -> tuple[Any, Any]:
    """Craftax's environment and parameters; never holds traced values."""
    from craftax.craftax_env import make_craftax_env_from_name

    with jax.ensure_compile_time_eval():
        env = make_craftax_env_from_name(NAMES[task], auto_reset=False)
        params: Any = env.default_params
        return env, params.replace(max_timesteps=NEVER)
