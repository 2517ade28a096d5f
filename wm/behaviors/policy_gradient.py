"""Losses of policy-gradient methods, per step `[…]`; the caller averages."""

from __future__ import annotations

import jax
import jax.numpy as jnp

stop = jax.lax.stop_gradient


def score_loss(log_prob: jax.Array, advantage: jax.Array) -> jax.Array:
    """−log π(a)·A, the advantage a constant.

    Source: Williams 1992; Sutton & Barto 2018, Eq. 13.11.
    """
    return -log_prob * stop(advantage)


def clipped_surrogate(
    log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, clip: float
) -> jax.Array:
    """−min(ρ·A, clip(ρ, 1 ± ε)·A), ρ = exp(log π − log π_old).

    Source: Schulman et al. 2017 (PPO), Eq. 7.
    """
    ratio, advantage = jnp.exp(log_prob - stop(old_log_prob)), stop(advantage)
    bounded = jnp.clip(ratio, 1 - clip, 1 + clip)
    return -jnp.minimum(ratio * advantage, bounded * advantage)


def value_loss(value: jax.Array, target: jax.Array) -> jax.Array:
    """½·(v − G)²."""
    return 0.5 * jnp.square(value - stop(target))


def clipped_value_loss(
    value: jax.Array, old_value: jax.Array, target: jax.Array, clip: float
) -> jax.Array:
    """½·max((v − G)², (v_old + clip(v − v_old, ±ε) − G)²).

    Source: openai/baselines (ppo2), as in cleanrl; not in the paper.
    """
    old_value = stop(old_value)
    near = old_value + jnp.clip(value - old_value, -clip, clip)
    return jnp.maximum(value_loss(value, target), value_loss(near, target))


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of `x` where `mask` is 1; 0 where that is nowhere."""
    return jnp.sum(x * mask) / jnp.maximum(mask.sum(), 1)


def standardized(x: jax.Array, mask: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """(x − mean) / (deviation + ε) over all where `mask` is 1.

    The deviation is that of the population (cleanrl divides by n − 1).
    """
    centered = x - masked_mean(x, mask)
    return centered / (jnp.sqrt(masked_mean(jnp.square(centered), mask)) + epsilon)


def explained_variance(value: jax.Array, target: jax.Array, mask) -> jax.Array:
    """1 − var(G − v) / var(G): 1 perfect, 0 no better than a constant."""
    variance = lambda x: masked_mean(jnp.square(x - masked_mean(x, mask)), mask)
    return 1 - variance(target - value) / jnp.maximum(variance(target), 1e-8)
