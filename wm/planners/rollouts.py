"""Heads without a net: a leaf is worth what random play from it earns.

With them `mcts` is the search of before networks (UCT with a uniform prior), which
needs a model and nothing else.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.planners.mcts import Heads
from wm.planners.sequences import legal_now
from wm.types import Key, Params, Tree, WorldModel


def random_rollouts(model: WorldModel, length: int, gamma: float = 1.0) -> Heads:
    """Heads with a uniform prior and the return of one random playout as value.

    Args:
      model: with actions of one index.
      length: steps until a playout is cut; it stops earlier once all rows have ended.
      gamma: discount per step; the model's own, with its sign, counts besides.

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
            chance = jax.random.uniform(key_act, (rows, spec.classes or 1))
            legal = legal_now(model, params, state)
            if legal is not None:
                chance = jnp.where(legal, chance, -1.0)
            action = jnp.argmax(chance, -1).astype(spec.dtype)
            state, prediction = model.step(params, key_step, state, action)
            total = total + weight * prediction.reward
            weight = weight * gamma * prediction.discount
            return time + 1, state, weight, total

        loop = (jnp.zeros((), jnp.int32), state, jnp.ones(rows), jnp.zeros(rows))
        return None, jax.lax.while_loop(going, body, loop)[-1], None

    return heads
