"""How the actions of a search are played while collecting; and unguided searches."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.planners.mcts import MASKED, MCTS, by_visits
from wm.planners.sequences import legal_now
from wm.types import Key, Params, Tree


class Playing(NamedTuple):
    """The search, played with a temperature that falls, and some actions at random."""

    search: MCTS
    scheduled: bool = False
    """Whether `params["temperature"]` is a factor on the search's own (puct)."""
    random_actions: float = 0.0
    """Share of actions drawn uniformly from those that are legal."""

    def start(self, params: Params, batch: int) -> jax.Array:
        """The search's."""
        return self.search.start(params, batch)

    def act(self, params: Params, key: Key, carry: jax.Array, x: Tree):
        """As the search, but for which action is played."""
        key, key_play, key_whether, key_random = jax.random.split(key, 4)
        late = carry
        carry, action, extras = self.search.act(params, key, carry, x)
        if self.scheduled:
            config = self.search.config
            warmth = params["temperature"] * config.temperature
            moves = config.temperature_moves
            drawn = by_visits(key_play, extras["visits"], warmth)
            cold = False if moves is None else late >= moves
            action = jnp.where(cold, action, drawn).astype(action.dtype)
        if self.random_actions:
            logits = jnp.zeros_like(extras["policy"])
            legal = legal_now(self.search.model, params, x)
            if legal is not None:
                logits = jnp.where(legal, logits, MASKED)
            drawn = jax.random.categorical(key_random, logits).astype(action.dtype)
            share = self.random_actions
            free = jax.random.bernoulli(key_whether, share, action.shape)
            action = jnp.where(free, drawn, action)
        return carry, action, extras


def unguided(params: Params, key: Key, state: Tree):
    """Heads that know nothing."""
    rows = jax.tree.leaves(state)[0].shape[0]
    return None, jnp.zeros(rows), None
