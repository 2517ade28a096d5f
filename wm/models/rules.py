"""The rules themselves as a world model: planning on an environment, not on a guess.

`rules(env)` steps the environment; its state comes with `TimeStep.private`, which
`wm.envs.wrappers.with_rules` fills in. What an end leaves behind is absorbing; a time
limit does not end anything in the model. Chance is drawn from the key of `step`, never
from the environment's own: a search must not foresee it.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from wm.envs.registry import is_host
from wm.envs.table import ENVS
from wm.errors import UserError
from wm.nodes import Node
from wm.ops.trees import where_rows
from wm.types import EnvSpec, Key, Params, Prediction, TimeStep, Tree


class RulesState(Node):
    """Model state: that of the environment; rows lead."""

    env: Tree
    """The environment's, with None in place of keys."""
    observation: Tree
    alive: jax.Array
    """f32 `[B]`, 0 after an end."""
    legal: jax.Array | None
    """bool `[B, A]`; None unless `EnvSpec.legal`."""


class RulesAfter(Node):
    """Between an action and its chance; rows lead."""

    before: RulesState
    env: Tree
    """The environment's own, with None in place of keys."""


class Rules:
    """A `WorldModel` without parameters; built by `rules`."""

    def __init__(self, env: Any):
        """For any `Env`."""
        self.env = env

    @property
    def spec(self) -> EnvSpec:
        """The environment's."""
        return self.env.spec

    def init(self, key: Key) -> Params:
        """Nothing to learn."""
        return {"model": {}}

    def start(self, params: Params, batch: int) -> RulesState:
        """Zeros, to be replaced by what is observed; everything legal."""
        state, timestep = self._shapes
        blank = lambda x: jnp.zeros((batch, *x.shape), x.dtype)
        legal = timestep.legal
        return RulesState(
            env=jax.tree.map(blank, without_keys(state)),
            observation=jax.tree.map(blank, timestep.observation),
            alive=jnp.ones(batch),
            legal=None if legal is None else jnp.ones((batch, *legal.shape), bool),
        )

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """Unchanged."""
        return timestep

    def observe(
        self, params: Params, key: Key, state: RulesState, action, evidence: TimeStep
    ) -> RulesState:
        """What the environment says its state is.

        Raises:
          ValueError: it does not say so.
        """
        if evidence.private is None:
            raise ValueError(
                "TimeStep.private is missing: planning on the rules needs the state of "
                "the environment; wrap it in wm.envs.wrappers.with_rules"
            )
        return RulesState(
            env=without_keys(evidence.private),
            observation=evidence.observation,
            alive=(evidence.discount != 0).astype(jnp.float32),
            legal=evidence.legal,
        )

    def step(
        self, params: Params, key: Key, state: RulesState, action: Tree
    ) -> tuple[RulesState, Prediction]:
        """One step of the environment; nothing happens after an end."""
        full = self._with_keys(key, state.env, state.alive.shape[0])
        env_state, timestep = jax.vmap(self.env.step)(full, action)
        return self._after(state, env_state, timestep)

    @property
    def chances(self) -> int:
        """Outcomes of the chance that follows an action; 0: the environment keeps the
        two in one."""
        return getattr(self.env, "chances", 0)

    def afterstate(
        self, params: Params, state: RulesState, action: Tree
    ) -> tuple[RulesAfter, jax.Array]:
        """What legal actions do, and the logits `[B, C]` of the chance that follows."""
        # No key is read before the chance, and none of it is drawn.
        full = self._with_keys(jax.random.key(0), state.env, state.alive.shape[0])
        after, logits = jax.vmap(self.env.afterstate)(full, action)
        return RulesAfter(state, without_keys(after)), logits

    def chance(
        self, params: Params, after: RulesAfter, outcome: jax.Array
    ) -> tuple[RulesState, Prediction]:
        """What an outcome i32 `[B]` leads to; nothing happens after an end."""
        env_state, timestep = jax.vmap(self.env.chance)(after.env, outcome)
        return self._after(after.before, env_state, timestep)

    def _after(self, state: RulesState, env_state: Tree, timestep: TimeStep):
        """Model state and prediction; what has ended stays."""
        ended = state.alive == 0
        reward = jnp.where(ended, 0.0, timestep.reward)
        discount = jnp.where(ended, 0.0, timestep.discount)
        new = RulesState(
            env=without_keys(env_state),
            observation=timestep.observation,
            alive=(discount != 0).astype(jnp.float32),
            legal=timestep.legal,
        )
        return where_rows(ended, state, new), Prediction(reward, discount)

    def decode(self, params: Params, state: RulesState) -> Tree:
        """What is seen."""
        return state.observation

    def legal(self, params: Params, state: RulesState) -> jax.Array:
        """bool `[B, A]`; all true where the environment says nothing."""
        if state.legal is None:
            return jnp.ones((state.alive.shape[0], self.spec.action.classes), bool)
        return state.legal

    @functools.cached_property
    def _shapes(self) -> tuple[Tree, TimeStep]:
        return jax.eval_shape(self.env.reset, jax.random.key(0))

    def _with_keys(self, key: Key, stripped: Tree, batch: int) -> Tree:
        """The environment's state `[batch, …]` with fresh keys where it has some."""
        shapes, structure = jax.tree.flatten(self._shapes[0])
        values, leaves = iter(jax.tree.leaves(stripped)), []
        for index, shape in enumerate(shapes):
            if is_key(shape):
                fresh = jax.random.fold_in(key, index)
                leaves.append(jax.random.split(fresh, (batch, *shape.shape)))
            else:
                leaves.append(next(values))
        return jax.tree.unflatten(structure, leaves)


def rules(env: Any) -> Rules:
    """An environment as a world model; see the module."""
    return Rules(env)


def rules_of(spec: EnvSpec) -> Rules:
    """The rules that an environment opened.

    Raises:
      UserError: it did not, or cannot.
    """
    if spec.rules is None:
        if spec.name in ENVS and is_host(spec.name):
            raise UserError(
                f"{spec.name} runs on the host and has no rules to plan on: choose an "
                "environment on the device (`wm list envs`)"
            )
        raise UserError(
            f"{spec.name}: its rules are closed; open them with --env.rules true "
            f'(in Python wm.env("{spec.name}", rules=True), or '
            "wm.envs.wrappers.with_rules)"
        )
    return Rules(spec.rules)


def without_keys(tree: Tree) -> Tree:
    """`tree` with None in place of typed keys."""
    return jax.tree.map(lambda x: None if is_key(x) else x, tree)


def is_key(x: Any) -> bool:
    """Whether an array, or its shape, is of typed keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
