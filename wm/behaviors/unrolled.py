"""Targets and losses of a model that is unrolled along the actions that were taken.

Shared by MuZero and what descends from it. A window of records is trained on from its
`base` on: K steps of the model, each with the reward that was earned, the policy that a
search found and the return that followed. Targets are arrays without gradient; nothing
here knows a net.

Source: Schrittwieser et al. 2020, Appendices G and H, and its pseudocode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.ops.returns import bootstrapped_return
from wm.ops.trees import swap_time
from wm.types import Metrics, TimeStep, Tree


class Unrolled(NamedTuple):
    """What the model should say after k = 0 … K steps. Leaves `[N, K + 1, …]`."""

    value: jax.Array
    """f32: return of n steps and the value then; 0 where the episode is over."""
    reward: jax.Array
    """f32: earned by the k-th step, as who made it sees it; that which ends an episode
    included, 0 beyond. Means nothing at k = 0."""
    policy: jax.Array
    """f32 `[N, K + 1, A]`."""
    known: jax.Array
    """f32, 1 where value and reward are to be learned: up to the end of the episode,
    and beyond it if it was a real one. Past a time limit nobody knows."""
    acting: jax.Array
    """f32, 1 where an action was chosen, so that there is a policy."""
    over: jax.Array
    """bool: the episode had ended by then (its last record included), so that the
    action from here on is not one that was taken."""
    usable: jax.Array
    """f32 `[N]`, 1 where the window begins in an episode; at a record that ended one
    no action followed."""
    actions: jax.Array | None = None
    """`[N, K + 1, draws, F]`, what the policy is of, where actions were drawn."""


class Said(NamedTuple):
    """What the model said instead."""

    value: jax.Array
    """f32 `[N, K + 1]`."""
    reward: jax.Array
    """f32 `[N, K + 1]`."""
    code: jax.Array | None = None
    """One-hot `[N, K, M]`: by which chance was told apart, where it is."""


def unrolled(
    timestep: TimeStep,
    policy: jax.Array,
    value: jax.Array,
    K: int,
    steps: int,
    gamma: float,
    actions: jax.Array | None = None,
) -> Unrolled:
    """Targets from records `[N, K + 1 + steps, …]`, the first of which is the base.

    Args:
      timestep: records; their observations are not read.
      policy: `[N, ≥ K + 1, A]`, of a search from each record.
      value: `[N, K + 1 + steps]`, of each record, as who moves there sees it.
      K: steps of the model.
      steps: n of the returns.
      gamma: on top of the environment's discounts, whose signs are those of players.
      actions: `[N, ≥ K + 1, draws, F]`, what the policies are of, where not of all.
    """
    cut = lambda x: x[:, : K + 1]
    first, last = cut(timestep.is_first), cut(timestep.is_last)
    ended = jnp.cumsum(last, 1) > 0
    # Beyond: after a last record, or where another episode begins without one.
    begun = first.at[:, 0].set(False)
    beyond = jnp.pad(ended[:, :-1], ((0, 0), (1, 0))) | (jnp.cumsum(begun, 1) > 0)
    dead = jnp.cumsum(last & (cut(timestep.discount) == 0) & ~beyond, 1) > 0
    reward, discount, is_last, worth = swap_time(
        (timestep.reward, gamma * timestep.discount, timestep.is_last, value)
    )
    returns = bootstrapped_return(reward, discount, is_last, worth, steps)
    returns = cut(swap_time(returns))
    usable = ~last[:, 0]
    known = (~beyond | dead) & usable[:, None]
    absent = beyond | dead
    targets = Unrolled(
        value=jnp.where(absent, 0.0, returns),
        reward=jnp.where(beyond, 0.0, cut(timestep.reward).astype(jnp.float32)),
        policy=cut(policy).astype(jnp.float32),
        known=known.astype(jnp.float32),
        acting=(~ended & ~beyond).astype(jnp.float32),
        over=ended | beyond,
        usable=usable.astype(jnp.float32),
        actions=None if actions is None else cut(actions),
    )
    return jax.lax.stop_gradient(targets)


def time_first(targets: Unrolled) -> Unrolled:
    """Leaves `[K + 1, N, …]`."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1) if x.ndim > 1 else x, targets)


def taken(
    key: jax.Array, action: jax.Array, targets: Unrolled, classes: int
) -> jax.Array:
    """The actions of K steps `[N, K, …]`; drawn at random where the episode is over.

    What is absorbing stays so whatever is done. `classes` of 0: numbers in [-1, 1].
    """
    K = targets.over.shape[1] - 1
    action = action[:, :K]
    if classes:
        drawn = jax.random.randint(key, action.shape, 0, classes)
    else:
        drawn = jax.random.uniform(key, action.shape, minval=-1.0)
    over = targets.over[:, :K].reshape(*action.shape[:2], *(1,) * (action.ndim - 2))
    return jnp.where(over, drawn, action).astype(action.dtype)


def latents(advance: Callable[[Tree, Tree], Tree], latent: Tree, action: Tree) -> Tree:
    """The latents after 0 … K steps, leaves `[K + 1, N, …]`.

    The gradient is halved on its way into each step, not where heads read a latent.

    Args:
      advance: `(latent, action [N, …]) -> latent`.
      latent: leaves `[N, …]`.
      action: leaves `[N, K, …]`.
    """

    def body(latent, action):
        latent = advance(jax.tree.map(halved, latent), action)
        return latent, latent

    _, later = jax.lax.scan(body, latent, swap_time(action))
    join = lambda x, xs: jnp.concatenate([x[None], xs])
    return jax.tree.map(join, latent, later)


def halved(x: jax.Array, scale: float = 0.5) -> jax.Array:
    """`x`, whose gradient is `scale` times as large."""
    return scale * x + jax.lax.stop_gradient((1 - scale) * x)


def step_weights(K: int) -> jax.Array:
    """f32 `[K + 1]`: 1 for k = 0, 1 / K for every step of the model."""
    return jnp.concatenate([jnp.ones(1), jnp.full(K, 1 / max(K, 1))])


def importance(probability: jax.Array, exponent: jax.Array | float) -> jax.Array:
    """(1 / (M · P))^β over its greatest in the batch, f32 `[N]`; the M windows cancel.

    Source: Schaul et al. 2016, section 3.4.
    """
    least = jnp.min(probability)
    return (least / jnp.maximum(probability, 1e-30)) ** exponent


def cross_entropy(policy: jax.Array, logits: jax.Array) -> jax.Array:
    """-Σ π log p, `[…]`, of targets and logits `[…, A]`."""
    return -jnp.sum(policy * jax.nn.log_softmax(logits), -1)


def entropy(policy: jax.Array) -> jax.Array:
    """Of distributions `[…, A]`."""
    return -jnp.sum(jax.scipy.special.xlogy(policy, policy), -1)


def measured(targets: Unrolled, said: Said) -> Metrics:
    """Metrics of what the model said."""
    mean = lambda x, mask: jnp.sum(x * mask) / jnp.maximum(jnp.sum(mask), 1.0)
    error, known = jnp.abs(said.value - targets.value), targets.known
    missed = jnp.abs(said.reward - targets.reward)
    metrics = {
        "behavior/value": mean(said.value[:, 0], targets.usable),
        "behavior/value_error": mean(error[:, 0], targets.usable),
        "behavior/search_entropy": mean(entropy(targets.policy), targets.acting),
        "model/reward_error": mean(missed[:, 1:], known[:, 1:]),
        "model/last_value_error": mean(error[:, -1], known[:, -1]),
    }
    if said.code is not None:
        used = (said.code.sum((0, 1)) > 0.5).sum()
        metrics["model/codes_used"] = used.astype(jnp.float32)
    return metrics
