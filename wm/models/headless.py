"""A world model whose steps predict nothing, for rollouts that ask afterwards."""

from __future__ import annotations

import jax.numpy as jnp

from wm.imagine import Around
from wm.types import Key, Params, Prediction, Tree


class Headless(Around):
    """`model` stepping by `model.advance(params, key, state, action) -> state`.

    One batch of predictions over all states of a rollout is cheaper than a small one
    in each of its steps. Rewards are 0 and discounts 1 meanwhile.
    """

    def step(
        self, params: Params, key: Key, state: Tree, action: Tree
    ) -> tuple[Tree, Prediction]:
        """The next state, and a prediction that says nothing."""
        state = self.model.advance(params, key, state, action)
        rows = action.shape[0]
        return state, Prediction(jnp.zeros(rows), jnp.ones(rows))
