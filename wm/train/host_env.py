"""What `train_host` takes for an environment: adapters and casts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from wm.errors import UserError
from wm.train.leaves import is_key, plain
from wm.train.loop import batched
from wm.types import EnvSpec, Key, TimeStep


class AsHost:
    """A device environment as a `HostEnv`: for replay in host memory."""

    def __init__(self, env: Any, num_envs: int, key: Key):
        """Batch `env` with its default autoreset; `key` starts its stream."""
        self.num_envs = num_envs
        self._env, self._key = batched(env), key
        self._reset = jax.jit(lambda env, key: env.reset(key, num_envs))
        self._step = jax.jit(lambda env, state, action: env.step(state, action))

    @property
    def spec(self) -> EnvSpec:
        """That of the environment."""
        return self._env.spec

    def reset(self) -> TimeStep:
        """New episodes everywhere."""
        self._state, timestep = self._reset(self._env, self._key)
        # The first reset is that of the device; no split is as long as this number.
        self._key = jax.random.fold_in(self._key, 2**32 - 1)
        return timestep

    def step(self, action: np.ndarray) -> TimeStep:
        """One step of every row."""
        self._state, timestep = self._step(self._env, self._state, action)
        return timestep

    def reseed(self, seed: int) -> None:
        """Begin another random stream at the next reset."""
        self._key = jax.random.key(seed)

    def state(self) -> bytes:
        """Where every episode stands; after `reset`."""
        file = io.BytesIO()
        np.savez(file, *map(plain, jax.tree.leaves((self._state, self._key))))
        return file.getvalue()

    def restore(self, saved: bytes) -> None:
        """Continue from what `state` gave; after `reset`."""
        leaves, structure = jax.tree.flatten((self._state, self._key))
        with np.load(io.BytesIO(saved)) as arrays:
            old = [
                like(leaf, x) for leaf, x in zip(leaves, arrays.values(), strict=True)
            ]
        self._state, self._key = jax.tree.unflatten(structure, old)

    def close(self) -> None:
        """Nothing to close."""


def host_envs(env: Any, numbers: Sequence[int]) -> list[Any]:
    """A `HostEnv` per seed.

    Args:
      env: one, a list, or a function of the seed.
      numbers: the seeds.

    Raises:
      UserError: fewer environments than seeds.
    """
    if callable(env) and not hasattr(env, "num_envs"):
        return [env(number) for number in numbers]
    envs = list(env) if isinstance(env, list | tuple) else [env]
    if len(envs) != len(numbers):
        raise UserError(
            f"{len(numbers)} seeds need as many host environments, got {len(envs)}: "
            "pass a list, or a function of the seed"
        )
    return envs


def is_host(env: Any) -> bool:
    """Whether `env` is a HostEnv, several of them, or a function that makes them."""
    if isinstance(env, list | tuple):
        return True
    return hasattr(env, "num_envs") or not hasattr(env, "spec")


def like(leaf: jax.Array, values: np.ndarray) -> jax.Array:
    """Values that `plain` gave, as an array of the kind of `leaf`."""
    if is_key(leaf):
        return jax.random.wrap_key_data(values, impl=str(jax.random.key_impl(leaf)))
    return jax.numpy.array(values)


def timestep_of(timestep: TimeStep) -> TimeStep:
    """What an environment returned, in the contract's dtypes, without `private`."""
    # Copies: an environment may write into the same memory at its next step.
    as_is = lambda x: x if isinstance(x, jax.Array) else np.array(x)
    cast = lambda x, dtype: x if x.dtype == dtype else x.astype(dtype)
    timestep = jax.tree.map(as_is, timestep._replace(private=None))
    return timestep._replace(
        reward=cast(timestep.reward, np.float32),
        discount=cast(timestep.discount, np.float32),
        is_first=cast(timestep.is_first, np.bool_),
        is_last=cast(timestep.is_last, np.bool_),
    )
