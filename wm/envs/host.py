"""Environments that run outside the device: gymnasium's, and those of a pool.

All keep the stream of `wm.types.HostEnv`: the step after `is_last` ignores the action
and returns the first record of a new episode with reward 0, so that the terminal
observation is an ordinary record. Optional packages are imported inside functions.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import jax
import numpy as np

from wm.errors import UserError
from wm.table import missing_extra
from wm.types import ArraySpec, EnvSpec, TimeStep, Tree


class Row(Protocol):
    """One instance of a task with effects; never resets itself."""

    def reset(self, seed: int | None) -> Tree:
        """First observation of a new episode; a seed restarts the random stream."""
        ...

    def step(self, action: np.ndarray) -> tuple[Tree, float, bool, bool]:
        """(observation, reward, terminal, truncated)."""
        ...

    def close(self) -> None: ...


class RowsEnv:
    """Rows stepped one after another in this process; implements `HostEnv`."""

    def __init__(self, rows: Sequence[Row], spec: EnvSpec, seed: int = 0):
        """Take over `rows`, all of one task; row i starts with seed `seed + i`."""
        self.num_envs = len(rows)
        self._rows = list(rows)
        self._spec = spec
        self._seeds: list[int | None] = []
        self.reseed(seed)
        self._ended = np.ones(len(rows), bool)

    @property
    def spec(self) -> EnvSpec:
        """What is known of the task."""
        return self._spec

    def reseed(self, seed: int) -> None:
        """Begin other random streams at the next reset: row i gets `seed + i`."""
        self._seeds = [seed + i for i in range(self.num_envs)]

    def reset(self) -> TimeStep:
        """New episodes everywhere; the random streams go on after the first time."""
        self._ended[:] = True
        return self.step(np.zeros((self.num_envs, *self._spec.action.shape)))

    def step(self, action: np.ndarray) -> TimeStep:
        """One step of every row; rows that had ended begin anew."""
        observations, rest = [], []
        for i, row in enumerate(self._rows):
            if self._ended[i]:
                seed, self._seeds[i] = self._seeds[i], None
                observations.append(row.reset(seed))
                rest.append((0.0, False, False))
            else:
                observation, *outcome = row.step(action[i])
                observations.append(observation)
                rest.append(outcome)
        reward, terminal, truncated = (
            np.array(column) for column in zip(*rest, strict=True)
        )
        is_first, self._ended = self._ended, terminal | truncated
        return TimeStep(
            observation=jax.tree.map(lambda *x: np.stack(x), *observations),
            reward=cast(Any, reward.astype(np.float32)),
            discount=cast(Any, np.where(terminal, 0, 1).astype(np.float32)),
            is_first=is_first,  # type: ignore[arg-type]
            is_last=self._ended.copy(),  # type: ignore[arg-type]
        )

    def close(self) -> None:
        """Close every row."""
        for row in self._rows:
            row.close()


class GymnasiumRow:
    """A gymnasium environment as a `Row`."""

    def __init__(self, env: Any):
        """Take over `env`."""
        self.env = env
        self._act = action_from(env.action_space)
        self._observe = observation_from(env.observation_space)

    def reset(self, seed: int | None) -> Tree:
        """First observation of a new episode."""
        return self._observe(self.env.reset(seed=seed)[0])

    def step(self, action: np.ndarray) -> tuple[Tree, float, bool, bool]:
        """One step."""
        observation, reward, terminal, truncated, _ = self.env.step(self._act(action))
        return self._observe(observation), float(reward), bool(terminal), truncated

    def close(self) -> None:
        """Close it."""
        self.env.close()


def host(
    make_fn: str | Callable[[], Any],
    num_envs: int = 16,
    seed: int = 0,
    name: str | None = None,
) -> RowsEnv:
    """Any gymnasium environment as a host environment.

    Observations: uint8 `[H, W, C]` boxes are images, other boxes float32 vectors,
    Discrete an int32 index, Dict a dict of them. Actions: Discrete, or a Box that
    [-1, 1] is rescaled to (an unbounded side is left as it is); both are clipped.

    Args:
      make_fn: a gymnasium id, or a function without arguments that makes one instance.
      num_envs: instances, stepped one after another.
      seed: instance i starts with `seed + i`.
      name: for the spec; by default the id.

    Raises:
      UserError: gymnasium is missing, or a space is none of the above.
    """
    check_num_envs(num_envs)
    if isinstance(make_fn, str):
        gym_id = make_fn
        try:
            import gymnasium
        except ImportError as error:
            raise missing_extra(gym_id, "host", error) from error
        make_fn = lambda: gymnasium.make(gym_id)
    envs = [make_fn() for _ in range(num_envs)]
    env = envs[0]
    if not hasattr(env, "observation_space"):
        raise UserError(
            f"make_fn must return a gymnasium environment, got {type(env).__name__}"
        )
    published = getattr(env, "spec", None)
    spec = EnvSpec(
        observation=observation_spec(env.observation_space),
        action=action_spec(env.action_space),
        name=name or getattr(published, "id", None) or type(env).__name__,
        time_limit=getattr(published, "max_episode_steps", None),
    )
    return RowsEnv([GymnasiumRow(env) for env in envs], spec, seed)


class PoolEnv:
    """An envpool pool (gymnasium interface, synchronous) as a `HostEnv`.

    A pool resets on the next step by itself; `elapsed_step == 0` marks it.
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        pool: Any,
        spec: EnvSpec,
        observe: Callable[[Tree, dict], Tree],
        repeat: int = 1,
    ):
        """Take over `pool`.

        Args:
          make: another pool like `pool`, with a seed.
          pool: `envpool.make(…, env_type="gymnasium")`.
          spec: what to say of the task.
          observe: turns the pool's observations `[B, …]` into the spec's; it also
            gets what else the pool says, of the first of several repeats.
          repeat: times each action is repeated, rewards summed; an episode's end cuts
            it short.
        """
        self.num_envs = len(pool.all_env_ids)
        self._make, self._pool = make, pool
        self._spec = spec
        self._observe = observe
        self._repeat = repeat
        self._act = action_from(pool.action_space)

    @property
    def spec(self) -> EnvSpec:
        """What is known of the task."""
        return self._spec

    def reseed(self, seed: int) -> None:
        """Begin other random streams, in a new pool: a pool's seed is for life."""
        self._pool.close()
        self._pool = self._make(seed)

    def reset(self) -> TimeStep:
        """New episodes everywhere; the random streams go on after the first time."""
        observation, info = self._pool.reset()
        none = np.zeros(self.num_envs, bool)
        return self._timestep(observation, none, none, none, info)

    def step(self, action: np.ndarray) -> TimeStep:
        """One step of every row; rows that had ended begin anew."""
        action = np.stack([self._act(row) for row in np.asarray(action)])
        action = action.astype(self._pool.action_space.dtype)
        observation, reward, terminal, truncated, info = self._pool.step(action)
        is_first = info["elapsed_step"] == 0
        if self._repeat == 1:
            return self._timestep(observation, reward, terminal, truncated, info)
        observation, reward, terminal, truncated = jax.tree.map(
            np.array, (observation, reward, terminal, truncated)
        )
        for _ in range(self._repeat - 1):
            rows = np.flatnonzero(~(is_first | terminal | truncated))
            if not rows.size:
                break
            now, earned, *ends, _ = self._pool.step(action[rows], rows)
            jax.tree.map(lambda x, y, r=rows: x.__setitem__(r, y), observation, now)
            reward[rows] += earned
            terminal[rows], truncated[rows] = ends
        return self._timestep(observation, reward, terminal, truncated, info)

    def close(self) -> None:
        """Stop the pool's threads."""
        self._pool.close()

    def _timestep(self, observation, reward, terminal, truncated, info) -> TimeStep:
        is_first = info["elapsed_step"] == 0
        return TimeStep(
            observation=self._observe(observation, info),
            # The control suite reports a reward with the first observation.
            reward=np.where(is_first, 0, reward).astype(np.float32),  # type: ignore[arg-type]
            discount=np.where(terminal, 0, 1).astype(np.float32),  # type: ignore[arg-type]
            is_first=is_first,
            is_last=terminal | truncated,
        )


def make_pool(task: str, num_envs: int, seed: int, **options: Any) -> Any:
    """An envpool pool of `num_envs` synchronous instances; instance i has seed + i."""
    load_opengl()
    import envpool

    check_num_envs(num_envs)
    return envpool.make(
        task,
        env_type="gymnasium",
        num_envs=num_envs,
        num_threads=min(num_envs, os.cpu_count() or 1),
        seed=seed,
        **options,
    )


OPENGL = ("libEGL.so.1", "libGL.so.1", "libOSMesa.so.8", "libOSMesa.so")
"""Libraries of which the renderer inside envpool needs one; macOS brings its own."""


@functools.cache
def load_opengl() -> bool:
    """Load the first OpenGL library there is; whether that was in time.

    envpool looks for it in the process when it is imported itself, and ends the process
    at the first image if there was none.
    """
    in_time = "envpool" not in sys.modules
    for library in OPENGL:
        try:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
            break
        except OSError:
            continue
    return in_time


def check_num_envs(num_envs: int) -> None:
    """Refuse impossible numbers of instances.

    Raises:
      UserError: less than one.
    """
    if num_envs < 1:
        raise UserError(f"num_envs must be at least 1, got {num_envs}")


def observation_spec(space: Any) -> Any:
    """What `observation_from(space)` gives.

    Raises:
      UserError: a space that is neither Box, Discrete, MultiBinary nor Dict.
    """
    kind = type(space).__name__
    if kind == "Dict":
        return {name: observation_spec(part) for name, part in space.spaces.items()}
    if kind == "Discrete":
        return ArraySpec((), "int32", classes=int(space.n))
    if kind == "Box" and space.dtype == np.uint8 and len(space.shape) == 3:
        return ArraySpec(space.shape, "uint8")
    if kind in ("Box", "MultiBinary"):
        return ArraySpec(space.shape, "float32")
    raise UserError(
        f"observations of type {kind} are not supported; "
        "flatten them to Box, Discrete or Dict with a wrapper"
    )


def observation_from(space: Any) -> Callable[[Any], Tree]:
    """A function from the space's own observations to the house's."""
    spec = observation_spec(space)
    if isinstance(spec, dict):
        parts = {name: observation_from(space.spaces[name]) for name in spec}
        return lambda x: {name: part(x[name]) for name, part in parts.items()}
    if spec.discrete:
        return lambda x: np.int32(x - space.start)
    return lambda x: np.asarray(x, spec.dtype)


def action_spec(space: Any) -> ArraySpec:
    """What `action_from(space)` takes.

    Raises:
      UserError: a space that is neither Box nor Discrete.
    """
    kind = type(space).__name__
    if kind == "Discrete":
        return ArraySpec((), "int32", classes=int(space.n))
    if kind == "Box" and np.issubdtype(space.dtype, np.floating):
        return ArraySpec(space.shape, "float32")
    raise UserError(f"actions of type {kind} are not supported; use Discrete or Box")


def action_from(space: Any) -> Callable[[np.ndarray], Any]:
    """A function from the house's actions to the space's own."""
    if action_spec(space).discrete:
        start = int(getattr(space, "start", 0))
        return lambda action: start + int(action)
    low = np.where(np.isfinite(space.low), space.low, -1.0)
    high = np.where(np.isfinite(space.high), space.high, 1.0)
    return lambda action: rescale(action, low, high).astype(space.dtype)


def rescale(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Actions clipped to [-1, 1], then mapped linearly to [low, high]."""
    unit = (np.clip(np.asarray(action, np.float64), -1, 1) + 1) / 2
    return low + unit * (high - low)
