"""Who moves in AlphaGo's games of self-play."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.agents.alphago_config import REINFORCE
from wm.nets.net import Net
from wm.nodes import Node
from wm.types import Key, Params, TimeStep, Tree


class Carry(Node):
    """Acting memory."""

    search: Tree
    """Of the teacher or the search."""
    ply: jax.Array
    """i32 `[B]`, moves made in the game."""
    mine: jax.Array
    """bool `[B]`: the learner is to move, else an earlier self."""
    odd: jax.Array
    """i32 `[B]`: the move that is drawn at random, in games for the value net."""


def begun(key: Key, carry: Carry, timestep: TimeStep, moves: int) -> Carry:
    """Counted on; where a game begins, the learner's side and the odd move are drawn.

    Args:
      key: consumed.
      carry: of the move before.
      timestep: `[B, …]`.
      moves: of the longest game.
    """
    key_side, key_odd = jax.random.split(key)
    first, shape = timestep.is_first, timestep.is_first.shape
    passed = carry.mine ^ (timestep.discount < 0)
    side = jax.random.bernoulli(key_side, 0.5, shape)
    odd = jax.random.randint(key_odd, shape, 0, moves)
    return carry.replace(
        ply=jnp.where(first, 0, carry.ply + 1),
        mine=jnp.where(first, side, passed),
        odd=jnp.where(first, odd, carry.odd),
    )


def logits(net: Net, actor: Params, carry: Carry, timestep: TimeStep) -> jax.Array:
    """Of who moves in this stage, f32 `[B, A]`.

    Against itself: the learner, or an earlier self where that is to move. For the value
    net: the first policy, then none for one move, then the second.
    """
    nets = actor["policy"]
    said = lambda name: net.apply(nets[name], timestep.observation)[0]

    def against_itself():
        return jnp.where(carry.mine[:, None], said("reinforced"), said("opponent"))

    def for_the_value():
        ply, odd = carry.ply[:, None], carry.odd[:, None]
        late = jnp.where(ply > odd, said("reinforced"), 0.0)
        return jnp.where(ply < odd, said("supervised"), late)

    # A stage is the same in all rows: only one of the two is computed.
    return jax.lax.cond(actor["stage"] == REINFORCE, against_itself, for_the_value)


def stored(
    carry: Carry, stage: jax.Array | int, expert: jax.Array
) -> dict[str, jax.Array]:
    """`extras` of a step: the move to imitate, the stage, whether the learner moved,
    whether the move before was the odd one, and room for labels."""
    rows = carry.ply.shape
    return {
        "expert": expert,
        "stage": jnp.broadcast_to(jnp.asarray(stage, jnp.int32), rows),
        "mine": carry.mine,
        "chosen": carry.ply == carry.odd + 1,
        "outcome": jnp.zeros(rows),
        "finished": jnp.zeros(rows, bool),
    }
