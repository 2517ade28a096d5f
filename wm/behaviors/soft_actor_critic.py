"""Losses of soft actor-critic, per step `[…]`; the caller averages.

Source: Haarnoja et al. 2018 ("Soft Actor-Critic Algorithms and Applications").
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

stop = jax.lax.stop_gradient

Through = Literal["alpha", "log_alpha"]


def target(
    reward: jax.Array,
    discount: jax.Array,
    q: tuple[jax.Array, jax.Array],
    log_prob: jax.Array,
    alpha: jax.Array,
) -> jax.Array:
    """r + γd·(min(q₁, q₂) − α·log π), all of the next observation and a fresh action.

    Eq. 5 and 6, with the smaller of two target critics (Fujimoto et al. 2018).
    """
    soft = jnp.minimum(*q) - alpha * log_prob
    return stop(reward + discount * soft)


def critic_loss(q: tuple[jax.Array, jax.Array], target: jax.Array) -> jax.Array:
    """½·(q₁ − y)² + ½·(q₂ − y)². Eq. 5."""
    return 0.5 * (jnp.square(q[0] - stop(target)) + jnp.square(q[1] - stop(target)))


def actor_loss(
    q: tuple[jax.Array, jax.Array], log_prob: jax.Array, alpha: jax.Array
) -> jax.Array:
    """α·log π − min(q₁, q₂); the gradient flows through the action. Eq. 7 and 9."""
    return stop(alpha) * log_prob - jnp.minimum(*q)


def temperature_loss(
    log_alpha: jax.Array, log_prob: jax.Array, target_entropy: float, through: Through
) -> jax.Array:
    """−α·(log π + H̄), or with log α in place of the factor α.

    Where entropy −log π lies below H̄ the gradient raises α. `alpha` is Eq. 18 (brax,
    cleanrl, rejax); `log_alpha` is what the authors' code, sb3 and MBPO do, whose steps
    do not shrink with α.
    """
    factor = jnp.exp(log_alpha) if through == "alpha" else log_alpha
    return -factor * stop(log_prob + target_entropy)
