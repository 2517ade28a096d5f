"""Value gradients along recorded trajectories: noise of a policy inferred from what it
did, weights of steps, and the policy as `imagine` plays it.

Source: Heess et al. 2015 (SVG).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wm.behaviors.stochastic import Actor
from wm.ops.distributions import TanhNormal
from wm.ops.trees import Transition
from wm.types import Key, Params, Tree

stop = jax.lax.stop_gradient


class Reparameterised(NamedTuple):
    """A stochastic actor over model states; its noise may be given in place of a key.

    With noise that `infer` found it replays what was done, and gradients pass through
    mean and deviation at that noise.
    """

    actor: Actor
    read: Callable
    """From model states to what the actor's net reads."""

    def start(self, params: Params, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, params: Params, key: Key, carry: tuple, x: Tree
    ) -> tuple[tuple, jax.Array, dict[str, Tree]]:
        """Action `[B, F]`; `key` may be standard normals of that shape."""
        policy = self.actor.distribution(params["policy"], self.read(x))
        return carry, played(policy, key), {}


def played(policy: Any, key: Key) -> jax.Array:
    """A reparameterised action `[…, F]`; `key` may be standard normals `[…, F]`."""
    drawn = policy.sample(key)
    return drawn.action if isinstance(policy, TanhNormal) else drawn


def infer(policy: Any, action: jax.Array, raw: Any) -> jax.Array:
    """The noise η = (a − μ) / σ under which `policy` does what was done, `[…, F]`.

    Args:
      policy: `Normal` or `TanhNormal`, as it is now, which need not be as it was then.
      action: `[…, F]`.
      raw: `extras["raw"]`, the action before its tanh, where there is one.
    """
    done = action if raw is None else raw
    return stop((done - policy.mean) / policy.std)


class Weights(NamedTuple):
    """How much each step of recorded trajectories counts, f32 `[T, B]` each."""

    reward: jax.Array
    """Of its reward: 0 for resets."""
    end: jax.Array
    """Of the value of the state it led to: 0 unless the trajectory was cut there."""
    begin: jax.Array
    """1 where a trajectory begins."""


def weigh(
    step: Transition, gamma: float, log_ratio: jax.Array, limit: float
) -> Weights:
    """Weights of the discounted return of every trajectory in a window.

    A trajectory begins with the window and after every reset. With them
    sum(reward · r + end · V(s')) / sum(begin) is the mean return.

    Args:
      step: consecutive transitions, `[T, B]`.
      gamma: discount per step.
      log_ratio: f32 `[T, B]`, log π(a|s) now less then; 0 on the policy's own data.
      limit: greatest product of ratios, from the beginning on, that counts.
    """
    mask = step.mask.astype(jnp.float32)

    def body(carry, now):
        discount, total, fresh = carry
        mask, factor, log_ratio = now
        discount = jnp.where(fresh, 1.0, discount)
        total = jnp.where(fresh, 0.0, total) + log_ratio
        weight = mask * discount * truncated(total, limit)
        return (discount * factor, total, mask == 0), (weight, mask * fresh)

    ones = jnp.ones_like(mask[0])
    factor = gamma * step.discount
    begun = (ones, ones, ones > 0)
    _, (weight, begin) = jax.lax.scan(body, begun, (mask, factor, log_ratio))
    cut = step.next_is_last.at[-1].set(True)
    return Weights(weight, weight * factor * cut, begin)


def truncated(log_ratio: jax.Array, limit: float) -> jax.Array:
    """The ratio π_now / π_then, at most `limit`."""
    return jnp.exp(jnp.minimum(log_ratio, math.log(limit)))


def mean_return(weights: Weights, reward: jax.Array, value: jax.Array) -> jax.Array:
    """Mean return of the trajectories, f32 `[]`, of f32 `[T, B]` each.

    Args:
      weights: of `weigh`.
      reward: earned by each step.
      value: of the state each step led to; 0 where nothing closes a trajectory.
    """
    total = jnp.sum(weights.reward * reward + weights.end * value)
    return total / jnp.maximum(weights.begin.sum(), 1)
