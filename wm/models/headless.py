"""A world model whose steps predict nothing, for rollouts that ask afterwards."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from wm.types import EnvSpec, Key, Params, Prediction, TimeStep, Tree


class Headless(NamedTuple):
    """`model` stepping by `model.advance(params, key, state, action) -> state`.

    One batch of predictions over all states of a rollout is cheaper than a small one
    in each of its steps. Rewards are 0 and discounts 1 meanwhile.
    """

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
        self, params: Params, key: Key, state: Tree, action: Tree
    ) -> tuple[Tree, Prediction]:
        """The next state, and a prediction that says nothing."""
        state = self.model.advance(params, key, state, action)
        rows = action.shape[0]
        return state, Prediction(jnp.zeros(rows), jnp.ones(rows))
