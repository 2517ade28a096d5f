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
            if "actions" in extras:
                drawn = self.search.played(drawn, extras["actions"])
            action = jnp.where(_like(cold, action), action, drawn)
        if self.random_actions:
            share = self.random_actions
            drawn = self._any(params, key_random, x, action)
            free = jax.random.bernoulli(key_whether, share, action.shape[:1])
            action = jnp.where(_like(free, action), drawn, action)
        return carry, action, extras

    def _any(self, params: Params, key: Key, x: Tree, action: jax.Array) -> jax.Array:
        """Legal actions, or numbers, drawn uniformly; as `action`."""
        spec = self.search.model.spec.action
        if not spec.discrete:
            drawn = jax.random.uniform(key, action.shape, minval=-1.0)
        else:
            logits = jnp.zeros((action.shape[0], spec.classes))
            legal = legal_now(self.search.model, params, x)
            if legal is not None:
                logits = jnp.where(legal, logits, MASKED)
            drawn = jax.random.categorical(key, logits)
        return drawn.astype(action.dtype)


def _like(mask: jax.Array | bool, action: jax.Array) -> jax.Array:
    """A mask of rows that fits actions `[B, …]`."""
    rows = jnp.broadcast_to(jnp.asarray(mask), action.shape[:1])
    return rows.reshape(-1, *(1,) * (action.ndim - 1))


def unguided(params: Params, key: Key, state: Tree):
    """Heads that know nothing."""
    rows = jax.tree.leaves(state)[0].shape[0]
    return None, jnp.zeros(rows), None
