"""What AlphaGo's nets are fitted to: moves of a teacher, outcomes, and who won."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wm.agents.alphago_config import REINFORCE
from wm.behaviors.policy_gradient import masked_mean, score_loss
from wm.behaviors.symmetry import shuffled as turned
from wm.nets.net import Net
from wm.ops.passes import Passes, passes, shuffled
from wm.ops.trees import flatten_batch
from wm.planners.mcts import MASKED
from wm.types import Batch, Dataset, Key, Metrics, Tree

SHOWN = 1_024
"""Positions, at most, that the share of the teacher's moves is counted over."""


class Rows(NamedTuple):
    """Positions of a batch."""

    observation: jax.Array
    """`[N, …]`."""
    expert: jax.Array
    """f32 `[N, A]`, 1 for the teacher's move."""
    legal: jax.Array
    """bool `[N, A]`."""
    outcome: jax.Array
    """f32 `[N]`."""
    weight: jax.Array
    """f32 `[N]`, 0 for rows that fill up a batch."""


def masked(logits: jax.Array, legal: jax.Array | None) -> jax.Array:
    """Logits with illegal moves as good as impossible."""
    return logits if legal is None else jnp.where(legal, logits, MASKED)


def fitted(
    loss: Callable[[Tree, Rows], jax.Array],
    rule: Any,
    params: Tree,
    optimizer: Tree,
    key: Key,
    dataset: Dataset,
    mask: jax.Array,
    size: int,
    epochs: int,
    group: Any,
    actions: int,
) -> Passes:
    """Descend `loss` in passes over the positions in `mask`.

    Args:
      loss: of a batch.
      rule: the optimizer.
      params: what is descended in.
      optimizer: state of `rule`.
      key: consumed.
      dataset: with extras `expert` and `outcome`.
      mask: bool `[rows, slots]`; without any nothing is learned.
      size: positions per step.
      epochs: passes.
      group: symmetries under which positions are drawn, or None.
      actions: A.
    """
    data = flatten_batch(positions(dataset, actions))
    kept = mask.reshape(-1)
    order = jnp.argsort(~kept, stable=True)
    N, count = kept.shape[0], kept.sum(dtype=jnp.int32)

    def begin(key):
        key_order, key_turn = jax.random.split(key)
        shuffle = jnp.pad(shuffled(key_order, N, count), (0, size))

        def batch(i):
            at = order[jax.lax.dynamic_slice_in_dim(shuffle, i * size, size)]
            weight = (i * size + jnp.arange(size) < count).astype(jnp.float32)
            rows = taken(data, at, actions)._replace(weight=weight)
            if group is None:
                return rows
            key = jax.random.fold_in(key_turn, i)
            return rows._replace(
                **dict(zip(Rows._fields, turned(group, key, *rows[:3]), strict=False))
            )

        return batch

    epochs_or_none = jnp.where(count > 0, epochs, 0)
    per_pass = -(-count // size)
    return passes(loss, rule, params, optimizer, key, begin, per_pass, epochs_or_none)


def positions(dataset: Dataset, actions: int) -> Rows:
    """All of a dataset, `[rows, slots, …]`; `expert` still an index."""
    timestep, extras = dataset.steps.timestep, dataset.steps.extras
    legal = timestep.legal
    if legal is None:
        legal = jnp.ones((*timestep.reward.shape, actions), bool)
    return Rows(
        timestep.observation,
        extras["expert"],
        legal,
        extras["outcome"],
        jnp.ones(timestep.reward.shape),
    )


def taken(data: Rows, at: jax.Array, actions: int) -> Rows:
    """Rows `at` i32 `[N]`."""
    rows = jax.tree.map(lambda x: x[at], data)
    return rows._replace(expert=jax.nn.one_hot(rows.expert, actions))


def imitation_loss(nets: dict[str, Net], params: Tree, rows: Rows) -> jax.Array:
    """Cross-entropy of every net against the teacher's moves, summed over nets."""
    total = jnp.zeros(())
    for name, net in nets.items():
        logits = masked(net.apply(params[name], rows.observation)[0], rows.legal)
        cross = -jnp.sum(rows.expert * jax.nn.log_softmax(logits), -1)
        total += masked_mean(cross, rows.weight)
    return total


def agreement(net: Net, params: Tree, dataset: Dataset, mask: jax.Array, actions: int):
    """Share of positions in which the likeliest move is the teacher's, f32."""
    data, kept = flatten_batch(positions(dataset, actions)), mask.reshape(-1)
    at = jnp.argsort(~kept, stable=True)[:SHOWN]
    rows = taken(data, at, actions)
    best = jnp.argmax(masked(net.apply(params, rows.observation)[0], rows.legal), -1)
    hit = jnp.take_along_axis(rows.expert, best[:, None], -1)[:, 0]
    return masked_mean(hit, kept[at].astype(jnp.float32))


def value_loss(net: Net, params: Tree, rows: Rows) -> jax.Array:
    """(v - z)²."""
    error = jnp.square(net.apply(params, rows.observation)[1] - rows.outcome)
    return masked_mean(error, rows.weight)


def reinforce(
    net: Net, params: Tree, batch: Batch, learned: jax.Array
) -> tuple[jax.Array, Metrics]:
    """-z log p(a) of the learner's moves in games that ended since, and metrics.

    Args:
      net: of the policy.
      params: its parameters.
      batch: the window `[B, W]`, labelled.
      learned: i32; games that ended by then have been learned from.
    """
    timestep, extras = batch.timestep, batch.extras
    end = jnp.where(timestep.is_last, batch.index.time, jnp.iinfo(jnp.int32).max)
    end = jax.lax.cummin(end, axis=1, reverse=True)
    kept = extras["mine"] & extras["finished"] & (extras["stage"] == REINFORCE)
    kept &= (end > learned) & (batch.index.time >= 0)
    weight = kept.astype(jnp.float32)
    logits = net.apply(params, timestep.observation)[0]
    logp = jax.nn.log_softmax(masked(logits, timestep.legal))
    chosen = jnp.take_along_axis(logp, batch.action[..., None], -1)[..., 0]
    loss = masked_mean(score_loss(chosen, extras["outcome"]), weight)
    return loss, {
        "loss/reinforce": loss,
        "behavior/outcome": masked_mean(extras["outcome"], weight),
        "behavior/moves": weight.sum(),
    }
