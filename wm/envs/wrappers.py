"""Wrappers of single environments: an `Env` in, an `Env` out.

Each is a PyTreeNode without leaves of its own. Construct them by their functions;
`autoreset` of the inner environment is passed on.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep, Tree


def autoreset_of(env: Any) -> str:
    """The mode that `batch` takes for `env` when none is asked for."""
    return getattr(env, "autoreset", "exact")


class TimedState(Node):
    """Inner state and steps since the reset."""

    inner: Tree
    time: jax.Array


class TimeLimit(Node):
    """Truncates episodes; built by `time_limit`."""

    env: Any
    steps: int = static()

    @property
    def autoreset(self) -> str:
        """The inner one's."""
        return autoreset_of(self.env)

    @property
    def spec(self) -> EnvSpec:
        """The inner one with the time limit."""
        return dataclasses.replace(self.env.spec, time_limit=self.steps)

    def reset(self, key: Key) -> tuple[TimedState, TimeStep]:
        """The inner reset."""
        inner, timestep = self.env.reset(key)
        return TimedState(inner, jnp.zeros((), jnp.int32)), timestep

    def step(self, state: TimedState, action: jax.Array) -> tuple[TimedState, TimeStep]:
        """The inner step; at the limit `is_last` with the discount as it is."""
        inner, timestep = self.env.step(state.inner, action)
        time = state.time + 1
        is_last = timestep.is_last | (time >= self.steps)
        return TimedState(inner, time), timestep._replace(is_last=is_last)


def time_limit(env: Any, steps: int) -> TimeLimit:
    """Truncate episodes after `steps` steps: `is_last`, discount kept.

    Raises:
      ValueError: `steps` below 1.
    """
    if steps < 1:
        raise ValueError(f"time_limit must be at least 1, got {steps}")
    return TimeLimit(env=env, steps=int(steps))


class ActionRepeat(Node):
    """Plays each action several times; built by `action_repeat`."""

    env: Any
    repeat: int = static()

    @property
    def autoreset(self) -> str:
        """The inner one's."""
        return autoreset_of(self.env)

    @property
    def spec(self) -> EnvSpec:
        """The inner one; the time limit counts steps of this one."""
        spec = self.env.spec
        limit = spec.time_limit
        return dataclasses.replace(
            spec,
            rules=None,
            reward_fn=None,  # of one step; an end is an end after several too
            time_limit=None if limit is None else math.ceil(limit / self.repeat),
            action_repeat=spec.action_repeat * self.repeat,
        )

    def reset(self, key: Key) -> tuple[Tree, TimeStep]:
        """The inner reset."""
        return self.env.reset(key)

    def step(self, state: Tree, action: jax.Array) -> tuple[Tree, TimeStep]:
        """Rewards summed, discounts multiplied, until the episode ends."""

        def again(loop, _):
            state, timestep = loop
            new = self.env.step(state, action)
            total = timestep.reward + new[1].reward
            discount = timestep.discount * new[1].discount
            new = (new[0], new[1]._replace(reward=total, discount=discount))
            ended = timestep.is_last
            return jax.tree.map(lambda a, b: jnp.where(ended, a, b), loop, new), None

        once = self.env.step(state, action)
        return jax.lax.scan(again, once, None, self.repeat - 1)[0]


def action_repeat(env: Any, repeat: int) -> Any:
    """Play each action `repeat` times and sum the rewards; 1 returns `env` itself.

    Raises:
      ValueError: `repeat` below 1.
    """
    if repeat < 1:
        raise ValueError(f"action_repeat must be at least 1, got {repeat}")
    return env if repeat == 1 else ActionRepeat(env=env, repeat=int(repeat))


class StickyState(Node):
    """Inner state, the action last played, and a key."""

    inner: Tree
    action: jax.Array
    key: Key


class StickyActions(Node):
    """Sometimes repeats the previous action; built by `sticky_actions`."""

    env: Any
    probability: float = static()

    @property
    def autoreset(self) -> str:
        """The inner one's."""
        return autoreset_of(self.env)

    @property
    def spec(self) -> EnvSpec:
        """The inner one without known returns, which were those of exact control."""
        return dataclasses.replace(
            self.env.spec,
            random_return=None,
            optimal_return=None,
            rules=None,
            reward_fn=None,  # of the action played, which nobody is told
        )

    def reset(self, key: Key) -> tuple[StickyState, TimeStep]:
        """The inner reset; the action before the first is zero."""
        key_env, key = jax.random.split(key)
        inner, timestep = self.env.reset(key_env)
        spec = self.env.spec.action
        return StickyState(inner, jnp.zeros(spec.shape, spec.dtype), key), timestep

    def step(
        self, state: StickyState, action: jax.Array
    ) -> tuple[StickyState, TimeStep]:
        """Play `action`, or with the probability the one played before it."""
        key, key_stick = jax.random.split(state.key)
        stick = jax.random.bernoulli(key_stick, self.probability)
        played = jnp.where(stick, state.action, jnp.asarray(action, state.action.dtype))
        inner, timestep = self.env.step(state.inner, played)
        return StickyState(inner, played, key), timestep


def sticky_actions(env: Any, probability: float = 0.25) -> StickyActions:
    """Repeat the action last played with `probability`.

    Raises:
      ValueError: `probability` outside [0, 1).

    Source: Machado et al. 2018, §5 (0.25 per frame; here per step of `env`).
    """
    if not 0.0 <= probability < 1.0:
        raise ValueError(f"probability must be in [0, 1), got {probability}")
    return StickyActions(env=env, probability=float(probability))


class WithRules(Node):
    """Shows its state to those who plan; built by `with_rules`."""

    env: Any

    @property
    def autoreset(self) -> str:
        """The inner one's."""
        return autoreset_of(self.env)

    @property
    def spec(self) -> EnvSpec:
        """The inner one with itself as `rules`."""
        return dataclasses.replace(self.env.spec, rules=self.env)

    def reset(self, key: Key) -> tuple[Tree, TimeStep]:
        """The inner reset, its state in `private`."""
        state, timestep = self.env.reset(key)
        return state, timestep._replace(private=state)

    def step(self, state: Tree, action: jax.Array) -> tuple[Tree, TimeStep]:
        """The inner step, its state in `private`."""
        state, timestep = self.env.step(state, action)
        return state, timestep._replace(private=state)


def with_rules(env: Any) -> WithRules:
    """Open the rules of `env`: `TimeStep.private` is its state, `EnvSpec.rules` itself.

    Agents that plan on the rules need it; others learn as before, since `private` is
    not stored. Wrappers that change the dynamics go inside.
    """
    return WithRules(env=env)


class Observed(Node):
    """Common part of wrappers that only change observations; see the functions."""

    env: Any
    kind: str = static()
    """`flatten`, `scale`, `resize` or `pad`."""
    values: tuple[float, ...] = static(default=())
    """Arguments of that function."""

    @property
    def autoreset(self) -> str:
        """The inner one's."""
        return autoreset_of(self.env)

    @property
    def spec(self) -> EnvSpec:
        """The inner one with the observation after the change."""
        spec = self.env.spec
        change = SPECS[self.kind]
        observation = change(spec.observation, *self.values)
        # They are functions of the observations before the change.
        return dataclasses.replace(
            spec, observation=observation, reward_fn=None, terminal_fn=None
        )

    def reset(self, key: Key) -> tuple[Tree, TimeStep]:
        """The inner reset."""
        state, timestep = self.env.reset(key)
        return state, self._change(timestep)

    def step(self, state: Tree, action: jax.Array) -> tuple[Tree, TimeStep]:
        """The inner step."""
        state, timestep = self.env.step(state, action)
        return state, self._change(timestep)

    def _change(self, timestep: TimeStep) -> TimeStep:
        observation, spec = timestep.observation, self.env.spec.observation
        change = CHANGES[self.kind]
        return timestep._replace(observation=change(observation, spec, *self.values))


def flatten(env: Any) -> Observed:
    """One vector of all observation arrays, in sorted order; class indices one-hot.

    Raises:
      ValueError: there are images among them.
    """
    if any(spec.image for spec in jax.tree.leaves(env.spec.observation)):
        raise ValueError("flatten is for vectors; the observation holds an image")
    return Observed(env=env, kind="flatten")


def scale(env: Any, factor: float = 1.0, shift: float = 0.0) -> Observed:
    """Observations that are vectors become `factor · x + shift`."""
    return Observed(env=env, kind="scale", values=(float(factor), float(shift)))


def resize(env: Any, size: int) -> Observed:
    """Images become `size` × `size`, interpolated linearly with antialiasing."""
    return Observed(env=env, kind="resize", values=(_size(size),))


def pad(env: Any, size: int) -> Observed:
    """Images become `size` × `size` with black borders; nothing is interpolated.

    Raises:
      ValueError: an image is larger than that.
    """
    for spec in jax.tree.leaves(env.spec.observation):
        if spec.image and max(spec.shape[:2]) > size:
            raise ValueError(f"images {spec.shape} do not fit into size {size}")
    return Observed(env=env, kind="pad", values=(_size(size),))


def _size(size: int) -> int:
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    return int(size)


def _width(spec: ArraySpec) -> int:
    return math.prod(spec.shape) * (spec.classes or 1)


def _flat_spec(observation):
    return ArraySpec((sum(_width(spec) for spec in jax.tree.leaves(observation)),))


def _flat(observation, spec):
    def vector(array, part):
        if part.discrete:
            array = jax.nn.one_hot(array, part.classes)
        return jnp.asarray(array, jnp.float32).reshape(-1)

    return jnp.concatenate(jax.tree.leaves(jax.tree.map(vector, observation, spec)))


def _scaled(observation, spec, factor, shift):
    def change(array, part):
        return array if part.image or part.discrete else factor * array + shift

    return jax.tree.map(change, observation, spec)


def _square_spec(observation, size):
    def change(spec):
        if not spec.image:
            return spec
        return dataclasses.replace(spec, shape=(size, size, spec.shape[-1]))

    return jax.tree.map(change, observation)


def _resized(observation, spec, size):
    def change(image, part):
        if not part.image:
            return image
        shape = (size, size, part.shape[-1])
        image = jax.image.resize(image.astype(jnp.float32), shape, "linear")
        return jnp.clip(jnp.round(image), 0, 255).astype(jnp.uint8)

    return jax.tree.map(change, observation, spec)


def _padded(observation, spec, size):
    def change(image, part):
        if not part.image:
            return image
        before = [(size - side) // 2 for side in part.shape[:2]]
        after = np.subtract(size, part.shape[:2]) - before
        border = ((before[0], after[0]), (before[1], after[1]), (0, 0))
        return jnp.pad(image, border)

    return jax.tree.map(change, observation, spec)


SPECS = {
    "flatten": _flat_spec,
    "scale": lambda observation, factor, shift: observation,
    "resize": _square_spec,
    "pad": _square_spec,
}
CHANGES = {"flatten": _flat, "scale": _scaled, "resize": _resized, "pad": _padded}
