"""Rollouts inside a model, acting through one, and a model as an environment.

A world model and an environment are the same thing, a step function over a state:
`imagine` rolls any policy in any model, `act_in` turns a policy over model states into
one over time steps, `as_env` turns a model into an environment. No learning here.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wm.nodes import Node, static
from wm.ops.trees import where_rows
from wm.types import (
    ArraySpec,
    Env,
    EnvSpec,
    Key,
    Params,
    Policy,
    Prediction,
    TimeStep,
    Trajectory,
    Tree,
    WorldModel,
)


class Draws(NamedTuple):
    """Noise of a whole rollout, drawn before it: leaves lead with `[H, …]`.

    Either entry may be typed keys `[H]`; `imagine` takes it in place of a key.
    """

    policy: Tree
    model: Tree


def imagine(
    model: WorldModel,
    policy: Policy,
    params: Params,
    key: Key | Draws,
    state: Tree,
    carry: Tree,
    horizon: int,
) -> tuple[Tree, Tree, Trajectory]:
    """Roll `policy` for `horizon` steps inside `model`.

    Differentiable throughout unless the caller stops it. `state[t]` precedes
    `action[t]`; the returned state completes `horizon + 1` states.

    Args:
      model: steps the state.
      policy: acts on model states.
      params: whole tree; each reads its own branch.
      key: consumed; or `Draws` with leaves `[horizon, …]`.
      state: where to start, every leaf `[B, …]`.
      carry: the policy's memory, every leaf `[B, …]`.
      horizon: steps to imagine.

    Returns:
      The last state, the last carry, and the `Trajectory` `[horizon, B, …]`.
    """
    if not isinstance(key, Draws):
        key_policy, key_model = jax.random.split(key)
        key = Draws(
            jax.random.split(key_policy, horizon), jax.random.split(key_model, horizon)
        )

    def body(loop, draws):
        state, carry = loop
        next_carry, action, extras = policy.act(params, draws.policy, carry, state)
        next_state, prediction = model.step(params, draws.model, state, action)
        record = Trajectory(
            state, action, prediction.reward, prediction.discount, extras
        )
        return (next_state, next_carry), record

    (state, carry), trajectory = jax.lax.scan(body, (state, carry), key, horizon)
    return state, carry, trajectory


class OpenLoop(NamedTuple):
    """A policy that plays a given action sequence; built by `open_loop`."""

    actions: Tree

    def start(self, params: Params, batch: int) -> jax.Array:
        """Position in the sequence, i32 `[B]`."""
        return jnp.zeros(batch, jnp.int32)

    def act(
        self, params: Params, key: Key, carry: jax.Array, x: Tree
    ) -> tuple[jax.Array, Tree, dict[str, Tree]]:
        """The next action of each row; the last one is repeated past the end."""
        rows = jnp.arange(carry.shape[0])
        action = jax.tree.map(
            lambda a: a[jnp.minimum(carry, a.shape[0] - 1), rows], self.actions
        )
        return carry + 1, action, {}


def open_loop(actions: Tree) -> OpenLoop:
    """Turn actions `[H, B, …]` into a policy that plays them in order."""
    return OpenLoop(actions)


class ActIn(NamedTuple):
    """A policy over time steps that keeps a model state; built by `act_in`."""

    model: Any
    policy: Any

    def start(self, params: Params, batch: int) -> tuple[Tree, Tree, Tree]:
        """Fresh (model state, previous action, policy carry) of `batch` rows."""
        action = self.model.spec.action
        previous_action = jnp.zeros((batch, *action.shape), action.dtype)
        return (
            self.model.start(params, batch),
            previous_action,
            self.policy.start(params, batch),
        )

    def act(
        self, params: Params, key: Key, carry: Tree, x: TimeStep
    ) -> tuple[Tree, Tree, dict[str, Tree]]:
        """Observe, then act on the model state. Rows with `is_first` start afresh."""
        key_model, key_policy = jax.random.split(key)
        fresh = self.start(params, x.is_first.shape[0])
        state, previous_action, memory = where_rows(x.is_first, fresh, carry)
        evidence = self.model.encode(params, x)
        state = self.model.observe(params, key_model, state, previous_action, evidence)
        memory, action, extras = self.policy.act(params, key_policy, memory, state)
        return (state, action, memory), action, extras


def act_in(model: WorldModel, policy: Policy) -> ActIn:
    """A policy over `TimeStep` from one over model states.

    The carry is (model state, previous action, policy carry); all of it returns to
    `start` where `is_first`.
    """
    return ActIn(model, policy)


@dataclasses.dataclass(frozen=True)
class Around:
    """A model around another: does as that one, but for what a subclass defines."""

    model: Any

    @property
    def spec(self) -> EnvSpec:
        """The model's own."""
        return self.model.spec

    def init(self, key: Key) -> Params:
        """The model's own."""
        return self.model.init(key)

    def start(self, params: Params, batch: int) -> Tree:
        """The model's own."""
        return self.model.start(params, batch)

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """The model's own."""
        return self.model.encode(params, timestep)

    def observe(
        self, params: Params, key: Key, state: Tree, action: Tree, evidence: TimeStep
    ) -> Tree:
        """The model's own."""
        return self.model.observe(params, key, state, action, evidence)

    def step(
        self, params: Params, key: Any, state: Tree, action: Tree
    ) -> tuple[Tree, Prediction]:
        """The model's own."""
        return self.model.step(params, key, state, action)


class Grounded(Around):
    """A model whose state is given by `TimeStep.private`; built by `grounded`."""

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """Unchanged: the state needs no reading."""
        return timestep

    def observe(
        self, params: Params, key: Key, state: Tree, action: Tree, evidence: TimeStep
    ) -> Tree:
        """The environment's own state, whatever was believed before."""
        return evidence.private


def grounded(model: WorldModel) -> Grounded:
    """`model` reading its state from `TimeStep.private`: plan in a dream on it."""
    return Grounded(model)


class DreamState(Node):
    """State of `as_env(…)`: one model state (leaves `[1, …]`) and a key."""

    model: Tree
    key: Key


class Dream(Node):
    """A learned model as an environment; built by `as_env`."""

    params: Params
    starts: Tree
    model: Any = static()

    @property
    def spec(self) -> EnvSpec:
        """The model's own, without a time limit: wrap it in one. Without `decode` the
        observation is described as it is, a model state."""
        spec = dataclasses.replace(self.model.spec, time_limit=None)
        if hasattr(self.model, "decode"):
            return spec
        array = lambda x: ArraySpec(x.shape[1:], x.dtype.name)
        return dataclasses.replace(spec, observation=jax.tree.map(array, self.starts))

    def reset(self, key: Key) -> tuple[DreamState, TimeStep]:
        """Begin in a start drawn uniformly."""
        key, key_start = jax.random.split(key)
        rows = jax.tree.leaves(self.starts)[0].shape[0]
        row = jax.random.randint(key_start, (), 0, rows)
        state = jax.tree.map(lambda x: x[row][None], self.starts)
        return DreamState(state, key), self._timestep(state, 0.0, 1.0, True)

    def step(self, state: DreamState, action: Tree) -> tuple[DreamState, TimeStep]:
        """One step of the model; its discount is the chance that life goes on."""
        key, key_model, key_end = jax.random.split(state.key, 3)
        batched = jax.tree.map(lambda x: jnp.asarray(x)[None], action)
        latent, prediction = self.model.step(
            self.params, key_model, state.model, batched
        )
        expected = prediction.discount[0]
        alive = jax.random.bernoulli(key_end, jnp.abs(expected))
        discount = jnp.sign(expected) * alive
        timestep = self._timestep(latent, prediction.reward[0], discount, False)
        return DreamState(latent, key), timestep

    def _timestep(self, state, reward, discount, is_first) -> TimeStep:
        one = lambda tree: jax.tree.map(lambda x: x[0], tree)
        decode = getattr(self.model, "decode", None)
        observation = decode(self.params, state) if decode else state
        discount = jnp.asarray(discount, jnp.float32)
        legal = None
        if self.spec.legal:
            # All true at the end, so that no mask ever leaves nothing.
            legal = self.model.legal(self.params, state)[0] | (discount == 0)
        return TimeStep(
            observation=one(observation),
            reward=jnp.asarray(reward, jnp.float32),
            discount=discount,
            is_first=jnp.asarray(is_first),
            is_last=discount == 0,
            legal=legal,
            private=one(state),
        )


def as_env(model: WorldModel, params: Params, starts: Tree) -> Env:
    """A learned model as an environment that any agent, evaluator or viewer runs in.

    Discounts become Bernoulli ends (the sign of -1 is kept). Without `decode` the
    observation is the model state; `private` always is, so that a planner inside
    plans on it through `grounded(model)`.

    Args:
      model: any world model.
      params: its parameters, whole tree.
      starts: model states to begin in, every leaf `[N, …]`, drawn uniformly.
    """
    return Dream(params=params, starts=starts, model=model)
