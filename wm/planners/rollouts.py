"""Heads that play to the end: a leaf is worth what play from it earns.

Random play needs a model and nothing else: `mcts` is then the search of before networks
(UCT with a uniform prior). `mixed` weighs playouts against what other heads say, as
AlphaGo does.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from wm.planners.mcts import MASKED, Heads
from wm.planners.sequences import legal_now
from wm.types import Key, Params, Tree, WorldModel


def random_rollouts(
    model: WorldModel,
    length: int,
    gamma: float = 1.0,
    policy: Callable[[Params, Tree], jax.Array] | None = None,
) -> Heads:
    """Heads with a uniform prior and the return of one random playout as value.

    Args:
      model: with actions of one index.
      length: steps until a playout is cut; it stops earlier once all rows have ended.
      gamma: discount per step; the model's own, with its sign, counts besides.
      policy: `(params, M) -> logits [B, A]` that actions are drawn from; all legal ones
        alike if None.

    Raises:
      ValueError: other actions.
    """
    spec = model.spec.action
    if not spec.discrete or spec.shape:
        raise ValueError(
            f"random_rollouts needs actions of one index, {model.spec.name} has others"
        )

    def heads(params: Params, key: Key, state: Tree):
        rows = jax.tree.leaves(state)[0].shape[0]

        def going(loop):
            time, _, weight, _ = loop
            return (time < length) & jnp.any(weight != 0)

        def body(loop):
            time, state, weight, total = loop
            key_act, key_step = jax.random.split(jax.random.fold_in(key, time))
            shape = (rows, spec.classes or 1)
            if policy is None:
                chance = jax.random.uniform(key_act, shape)
            else:
                chance = policy(params, state) + jax.random.gumbel(key_act, shape)
            legal = legal_now(model, params, state)
            if legal is not None:
                chance = jnp.where(legal, chance, MASKED)
            action = jnp.argmax(chance, -1).astype(spec.dtype)
            state, prediction = model.step(params, key_step, state, action)
            total = total + weight * prediction.reward
            weight = weight * gamma * prediction.discount
            return time + 1, state, weight, total

        loop = (jnp.zeros((), jnp.int32), state, jnp.ones(rows), jnp.zeros(rows))
        return None, jax.lax.while_loop(going, body, loop)[-1], None

    return heads


def mixed(heads: Heads, playouts: Heads, share: float) -> Heads:
    """The prior of `heads`, and (1 - share) of their value plus `share` of a playout's.

    A share of 0 is `heads` itself, without playouts, and of 1 needs no value.

    Source: Silver et al. 2016, Eq. 6.

    Raises:
      ValueError: a share that is none.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")
    if share == 0:
        return heads

    def both(params: Params, key: Key, state: Tree):
        key_heads, key_playout = jax.random.split(key)
        logits, value, actions = heads(params, key_heads, state)
        _, played, _ = playouts(params, key_playout, state)
        # Not a product with 0: a value that is not a number stays out.
        value = played if share == 1 else (1 - share) * value + share * played
        return logits, value, actions

    return both
