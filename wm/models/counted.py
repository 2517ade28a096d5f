"""A stochastic model of finitely many states: how often what followed, as dense arrays.

Where the newest transition alone says what follows (`wm.models.table`), chance is taken
for a change of the world; here it is counted. Memory: S x A x S numbers.

Source: Moore & Atkeson 1993.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.models.table import At, TableModel
from wm.nodes import Node
from wm.types import Key, Params, Prediction


class Counted(Node):
    """What the actions of every state led to. S states, A actions."""

    count: jax.Array
    """f32 `[S, A, S]`, transitions."""
    lived: jax.Array
    """f32 `[S, A, S]`, their summed discounts: those that did not end the episode."""
    reward: jax.Array
    """f32 `[S, A]`, summed."""

    @property
    def tried(self) -> jax.Array:
        """Transitions from every pair, f32 `[S, A]`."""
        return self.count.sum(-1)

    @property
    def seen(self) -> jax.Array:
        """States met so far, i32."""
        return (self.tried.sum(-1) > 0).sum(dtype=jnp.int32)


def empty(states: int, actions: int) -> Counted:
    """Nothing counted."""
    none = jnp.zeros((states, actions, states))
    return Counted(none, none, none[..., 0])


def record(
    known: Counted,
    state: jax.Array,
    action: jax.Array,
    reward: jax.Array,
    discount: jax.Array,
    following: jax.Array,
) -> Counted:
    """With one real transition more; scalars, as in `wm.models.table.record`."""
    at = (state, action, following)
    return Counted(
        known.count.at[at].add(1.0),
        known.lived.at[at].add(discount),
        known.reward.at[at[:2]].add(reward),
    )


def expected(
    known: Counted, state: jax.Array, value: jax.Array, gamma: float
) -> tuple[jax.Array, jax.Array]:
    """r + gamma sum_s' T d V(s') of a state's actions, and how often each was tried.

    Args:
      known: the counts.
      state: i32.
      value: f32 `[S]`.
      gamma: discount per step.

    Returns:
      f32 `[A]` each; 0 for actions never tried.
    """
    tried = known.count[state].sum(-1)
    total = known.reward[state] + gamma * known.lived[state] @ value
    return total / jnp.maximum(tried, 1.0), tried


class CountedModel(TableModel):
    """`Counted` as a `WorldModel`; params `{"model": Counted}`."""

    def init(self, key: Key) -> Params:
        """Nothing known."""
        return {"model": empty(self.states, self.actions)}

    def step(
        self, params: Params, key: Key, state: At, action: jax.Array
    ) -> tuple[At, Prediction]:
        """What followed, drawn by its count; unknown actions stay and earn nothing.

        The reward is the mean over all that followed.
        """
        known: Counted = params["model"]
        rows = (state.state, action)
        count = known.count[rows]
        tried = count.sum(-1)
        logits = jnp.log(jnp.maximum(count, 1e-30))
        drawn = jax.random.categorical(key, logits).astype(jnp.int32)
        moves = (state.alive > 0) & (tried > 0)
        following = jnp.where(moves, drawn, state.state)
        at = (*rows, following)
        lived = known.lived[at] / jnp.maximum(known.count[at], 1.0)
        reward = known.reward[rows] / jnp.maximum(tried, 1.0)
        discount = state.alive * jnp.where(tried > 0, lived, 1.0)
        prediction = Prediction(state.alive * reward, discount)
        return At(following, (discount != 0).astype(jnp.float32)), prediction
