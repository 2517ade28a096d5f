"""Divergences between latent distributions and the rules that keep some nats free.

Nothing here averages over batch or time; the agent does, once, with its scales.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from wm.ops.distributions import Normal, OneHot

FreeRule = Literal["element", "mean", "step"]
Latent = TypeVar("Latent", OneHot, Normal)


class BalancedKL(NamedTuple):
    """Both sides of a balanced KL; equal in value, different in gradient."""

    dynamics: jax.Array
    """f32, shape of the KL: trains the prior only."""
    representation: jax.Array
    """f32, shape of the KL: trains the posterior only."""
    raw: jax.Array
    """f32: the KL itself in nats, without gradient."""


def categorical_kl(
    post_logits: jax.Array, prior_logits: jax.Array, unimix: float = 0.0
) -> jax.Array:
    """KL(post ‖ prior) in nats, f32 `[…]`, of logits `[…, G, K]`, summed over groups.

    The uniform share is mixed into both sides (DreamerV3: 0.01).
    """
    return OneHot(post_logits, unimix).kl(OneHot(prior_logits, unimix))


def gaussian_kl(
    mean: jax.Array, std: jax.Array, prior_mean: jax.Array, prior_std: jax.Array
) -> jax.Array:
    """KL of diagonal normals in nats, f32 `[…]`, of arrays `[…, D]`, summed over D."""
    return Normal(mean, std).kl(Normal(prior_mean, prior_std))


def free_nats(kl: jax.Array, free: float, rule: FreeRule = "step") -> jax.Array:
    """Take the pressure off a KL that is already small; same shape as `kl`.

    Args:
      kl: f32, batch and time axes only.
      free: nats.
      rule: `"element"`: max(kl − free, 0) (PlaNet); `"mean"`: max(mean of all, free)
        everywhere (Dreamer v1 and v2); `"step"`: max(kl, free) (DreamerV3).

    Raises:
      ValueError: another rule.
    """
    if rule == "element":
        return jnp.maximum(kl - free, 0.0)
    if rule == "mean":
        return jnp.broadcast_to(jnp.maximum(kl.mean(), free), kl.shape)
    if rule == "step":
        return jnp.maximum(kl, free)
    raise ValueError(f"rule must be 'element', 'mean' or 'step', got {rule!r}")


def balanced_kl(
    post: Latent,
    prior: Latent,
    free: float = 1.0,
    rule: FreeRule = "step",
) -> BalancedKL:
    """KL(sg(post) ‖ prior) and KL(post ‖ sg(prior)), each after the free-nats rule.

    Scale and add them: DreamerV3 1·dynamics + 0.1·representation; DreamerV2
    0.8·dynamics + 0.2·representation, the larger weight on what trains the **prior**.

    Args:
      post: posterior, parameters `[…, G, K]` or `[…, D]`.
      prior: prior, the same.
      free: nats.
      rule: see `free_nats`.

    Source: Hafner et al. 2021, Eq. 6 and Alg. 2; Hafner et al. 2025 (DreamerV3), Eq. 3.
    """
    post_constant = jax.lax.stop_gradient(post)
    prior_constant = jax.lax.stop_gradient(prior)
    dynamics = post_constant.kl(prior)
    representation = post.kl(prior_constant)
    return BalancedKL(
        dynamics=free_nats(dynamics, free, rule),
        representation=free_nats(representation, free, rule),
        raw=jax.lax.stop_gradient(dynamics),
    )


def soft_bound(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """`x` pressed smoothly into (low, high); both pass gradients to the bounds.

    Is high - softplus(high - x), then low + softplus(that - low), with one exponential
    and one logarithm instead of two of each. `high - low` must stay below 80.

    Source: Chua et al. 2018, appendix A.1 (log-variances).
    """
    # Far below `low` the value is `low` to the last digit; e^(low - x) stays finite.
    x = jnp.maximum(x, jax.lax.stop_gradient(low) - 40.0)
    return low + jnp.log1p(1 / (jnp.exp(low - high) + jnp.exp(low - x)))


def gaussian_nll(mean: jax.Array, logvar: jax.Array, target: jax.Array) -> jax.Array:
    """(target − mean)² e^−v + v, the shape of its arguments.

    Without ½ and log 2π: PETS' weight of the bounds is relative to this scale.
    """
    return jnp.square(target - mean) * jnp.exp(-logvar) + logvar


def cosine(x: jax.Array, y: jax.Array) -> jax.Array:
    """Cosine of the angle between `[…, D]` and `[…, D]`, f32 `[…]`; of zeros 0."""
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    # Inside the root, where a gradient of 0 vectors stays finite.
    unit = lambda v: (
        v * jax.lax.rsqrt(jnp.sum(jnp.square(v), -1, keepdims=True) + 1e-10)
    )
    return jnp.sum(unit(x) * unit(y), -1)
