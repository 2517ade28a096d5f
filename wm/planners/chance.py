"""Tree search with nodes of chance between those of decision: Stochastic MuZero's.

A decision leads to an afterstate, and its chance to the next state, so that a tree
holds every outcome in its share. A search without them draws the chance of an edge
once, when it is first walked, and plans on that.

Source: Antonoglou et al. 2022; google-deepmind/mctx 0.0.71, `stochastic_muzero_policy`.
Differs: where a model has no `afterstate_value` (theirs: a head of the net), what is
new is worth what one outcome, drawn, earns and leads to.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mctx

from wm.types import Key, Params, Tree


def search(policy: Any, given: dict[str, Any]) -> mctx.PolicyOutput:
    """The tree of `mctx.stochastic_muzero_policy`; nodes hold (M, None), afterstates
    left out.

    Args:
      policy: the `MCTS`, whose model has `afterstate` and `chance`.
      given: arguments of `mctx.muzero_policy`.

    Raises:
      ValueError: actions that were drawn.
    """
    if given["root"].embedding[1] is not None:
        raise ValueError(
            "method must be gumbel or puct where heads draw actions, got stochastic"
        )
    given = {name: x for name, x in given.items() if name != "recurrent_fn"}

    def decision(params: Params, key: Key, action: jax.Array, embedding: Tree):
        key_chance, key_outcome = jax.random.split(key)
        played = policy.played(action, None)
        after, logits = policy.model.afterstate(params, embedding[0], played)
        if hasattr(policy.model, "afterstate_value"):
            value = policy.model.afterstate_value(params, after)
        else:
            outcome = jax.random.categorical(key_chance, logits)
            _, leaf, reward, discount = _followed(
                policy, params, key_outcome, after, outcome
            )
            value = reward + discount * leaf.value
        output = mctx.DecisionRecurrentFnOutput(  # pyright: ignore[reportCallIssue]
            chance_logits=logits, afterstate_value=value
        )
        return output, after

    def chance(params: Params, key: Key, outcome: jax.Array, after: Tree):
        state, leaf, reward, discount = _followed(policy, params, key, after, outcome)
        output = mctx.ChanceRecurrentFnOutput(  # pyright: ignore[reportCallIssue]
            action_logits=leaf.logits,
            # mctx walks on through what has ended: it must be worth nothing there too.
            value=jnp.where(discount == 0, 0.0, leaf.value),
            reward=reward,
            discount=discount,
        )
        return output, (state, None)

    found = mctx.stochastic_muzero_policy(
        **given, decision_recurrent_fn=decision, chance_recurrent_fn=chance
    )
    tree: Any = found.search_tree
    tree = tree.replace(embeddings=tree.embeddings.state_embedding)
    return found.replace(search_tree=tree)  # pyright: ignore


def _followed(policy: Any, params: Params, key: Key, after: Tree, outcome: jax.Array):
    """(M, what heads say of it, reward, discount with gamma) after an outcome."""
    state, prediction = policy.model.chance(params, after, outcome)
    leaf = policy.look(params, key, state)
    return state, leaf, prediction.reward, policy.config.gamma * prediction.discount
