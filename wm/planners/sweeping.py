"""Prioritized sweeping: value backups in the order in which they matter.

`sweep` moves values of pairs by what followed last, `sweep_states` computes values of
states from all that was counted.

Sources: Peng & Williams 1993; Sutton & Barto 2018, section 8.4; Moore & Atkeson 1993.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.models.counted import Counted, expected
from wm.models.table import Table
from wm.types import Key


def sweep(
    table: Table,
    q: jax.Array,
    priority: jax.Array,
    n: int,
    rate: float,
    gamma: float,
    threshold: float,
    at_random: Key | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Up to `n` backups, the entry of largest priority first.

    After an entry is backed up, every known entry that leads to its state is queued
    by its own error; of two priorities the larger stays.

    Args:
      table: what followed what.
      q: f32 `[S, A]`.
      priority: f32 `[S, A]`; 0 where an entry is not queued.
      n: backups at most.
      rate: step size; 1 is a full backup.
      gamma: discount per step.
      threshold: priorities up to it are not queued.
      at_random: back up known entries drawn with this key, queued or not; for ablation.

    Returns:
      q, priority, and how many backups were made (i32).
    """
    actions = q.shape[1]

    def body(turn, loop):
        q, priority, made = loop
        rank = priority
        if at_random is not None:
            noise = jax.random.uniform(jax.random.fold_in(at_random, turn), q.shape)
            rank = jnp.where(table.tried, 1 + noise, 0.0)
        best = largest(rank)
        due = rank.ravel()[best] > threshold
        at = (best // actions, best % actions)
        error = errors(table, q, gamma)[at]
        q = q.at[at].add(jnp.where(due, rate * error, 0.0))
        priority = priority.at[at].set(jnp.where(due, 0.0, priority[at]))
        leads_here = table.tried & (table.following == at[0])
        priority = jnp.where(
            due & leads_here, queued(table, q, priority, gamma, threshold), priority
        )
        return q, priority, made + due

    return jax.lax.fori_loop(0, n, body, (q, priority, jnp.zeros((), jnp.int32)))


def largest(rank: jax.Array) -> jax.Array:
    """i32, the first index of the largest entry, counted along all axes.

    As `argmax` says it, by two plain reductions: XLA's own takes ten times as long on a
    CPU (0.28 ms against 0.03 for 24,000 entries).
    """
    flat = rank.ravel()
    index = jnp.arange(flat.size, dtype=jnp.int32)
    return jnp.where(flat == flat.max(), index, flat.size - 1).min()


def errors(table: Table, q: jax.Array, gamma: float) -> jax.Array:
    """r + gamma d max q(s') - q of every entry, f32 `[S, A]`."""
    value = q.max(-1)[table.following]
    return table.reward + gamma * table.discount * value - q


def queued(
    table: Table, q: jax.Array, priority: jax.Array, gamma: float, threshold: float
) -> jax.Array:
    """Priorities if every entry were queued by its error now."""
    size = jnp.abs(errors(table, q, gamma))
    return jnp.maximum(priority, jnp.where(size > threshold, size, 0.0))


def sweep_states(
    known: Counted,
    q: jax.Array,
    priority: jax.Array,
    n: int,
    gamma: float,
    threshold: float,
    unknown: float = 0.0,
    bored: int = 1,
    at_random: Key | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Up to `n` full backups V(s) = max_a E[r + gamma V(s')], largest priority first.

    A state whose value changed by delta queues every state that may lead to it, by the
    chance with which it does times delta; of two priorities the larger stays.

    Args:
      known: what followed what, and how often.
      q: f32 `[S, A]`; a state's value is its largest entry.
      priority: f32 `[S]`; 0 where a state is not queued.
      n: backups at most.
      gamma: discount per step.
      threshold: priorities up to it are not queued.
      unknown: what an action is worth that was tried less often than `bored`.
      bored: see there (T_bored).
      at_random: back up states met so far drawn with this key; for ablation.

    Returns:
      q, priority, and how many backups were made (i32).
    """

    counted = known.tried

    def body(turn, loop):
        q, priority, made = loop
        rank = priority
        if at_random is not None:
            noise = jax.random.uniform(jax.random.fold_in(at_random, turn), rank.shape)
            rank = jnp.where(counted.sum(-1) > 0, 1 + noise, 0.0)
        state = largest(rank)
        due = rank[state] > threshold
        worth, tried = expected(known, state, q.max(-1), gamma)
        worth = jnp.where(tried >= bored, worth, unknown)
        change = jnp.where(due, jnp.abs(worth.max() - q[state].max()), 0.0)
        q = q.at[state].set(jnp.where(due, worth, q[state]))
        priority = priority.at[state].set(jnp.where(due, 0.0, priority[state]))
        leads = known.lived[:, :, state] / jnp.maximum(counted, 1.0)
        size = leads.max(-1) * change
        priority = jnp.maximum(priority, jnp.where(size > threshold, size, 0.0))
        return q, priority, made + due

    return jax.lax.fori_loop(0, n, body, (q, priority, jnp.zeros((), jnp.int32)))
