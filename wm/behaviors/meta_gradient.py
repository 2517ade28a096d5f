"""The policy gradient of a policy that first adapts by a policy gradient.

Each task first gets one step of the vanilla policy gradient from the shared parameters;
the clipped surrogate of what comes out is then improved through that step.

Sources: Clavera, Rothfuss et al. 2018 (MB-MPO), section 4; Finn et al. 2017; the
authors' code (jonasrothfuss/model_ensemble_meta_learning 8b1351d, `maml_ppo.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.behaviors import policy_gradient as losses
from wm.behaviors.linear_baseline import baseline
from wm.behaviors.stochastic import Actor, Distribution
from wm.nets.tower import Inputs
from wm.ops.meta import adapted
from wm.ops.returns import lambda_return
from wm.types import Key, Params, Tree


class Samples(NamedTuple):
    """Rollouts of one task; with several, leaves lead with the task."""

    observation: jax.Array
    """f32 `[T, B, D]`."""
    action: jax.Array
    """f32 `[T, B, F]`."""
    log_prob: jax.Array
    """f32 `[T, B]`, when they were drawn."""
    advantage: jax.Array
    """f32 `[T, B]`."""
    mask: jax.Array
    """f32 `[T, B]`: 0 where the rollout is over."""


def policy(actor: Actor, params: Tree, observation: jax.Array) -> Distribution:
    """Over actions at observations `[…, D]`."""
    return actor.distribution(params, Inputs(observation, None))


class Playing(NamedTuple):
    """The actor as a policy over model states of one particle, with log densities."""

    actor: Actor

    def act(self, params: Params, key: Key, carry: tuple, x: Tree):
        """A sample at `x.observation` `[B, 1, D]`."""
        drawn = policy(self.actor, params["policy"], x.observation[:, 0])
        action, extras = self.actor.act(drawn, key, "train")
        return carry, action, extras


def advantages(
    observation: jax.Array,
    reward: jax.Array,
    discount: jax.Array,
    mask: jax.Array,
    gamma: float,
) -> jax.Array:
    """Returns to the end of the rollout less their linear baseline, standardised.

    Args:
      observation: `[T, B, D]`.
      reward: f32 `[T, B]`.
      discount: f32 `[T, B]`, the environment's.
      mask: f32 `[T, B]`.
      gamma: discount per step.
    """
    reward = reward * mask
    returns = lambda_return(reward, gamma * discount, jnp.zeros_like(reward), 1.0)
    centered = returns - baseline(observation, returns, mask)
    return jax.lax.stop_gradient(losses.standardized(centered, mask))


def adapt(
    actor: Actor, params: Tree, samples: Samples, rate: jax.Array | float
) -> Tree:
    """One step of the vanilla policy gradient.

    The loss weighs ratios that are 1, not log densities: the gradient is the same, and
    only so is its derivative an estimate of the second derivative of the return.
    """

    def loss(params):
        drawn = policy(actor, params, samples.observation).log_prob(samples.action)
        ratio = jnp.exp(drawn - samples.log_prob)
        return -losses.masked_mean(ratio * samples.advantage, samples.mask)

    return adapted(loss, params, rate)


def meta_loss(
    actor: Actor,
    params: Tree,
    before: Samples,
    after: Samples,
    rate: jax.Array | float,
    clip: float,
) -> jax.Array:
    """PPO's loss of the adapted policies, mean over tasks, f32 `[]`.

    Args:
      actor: the policy's form.
      params: shared by all tasks.
      before: of the shared policy, leaves `[K, …]`: what each task adapts to.
      after: of the adapted policies, leaves `[K, …]`.
      rate: of the inner step.
      clip: ratios beyond 1 ± this earn nothing more.
    """

    def one(before, after):
        found = policy(actor, adapt(actor, params, before, rate), after.observation)
        log_prob = found.log_prob(after.action)
        surrogate = losses.clipped_surrogate(
            log_prob, after.log_prob, after.advantage, clip
        )
        return losses.masked_mean(surrogate, after.mask)

    return jax.vmap(one)(before, after).mean()
