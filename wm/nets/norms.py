"""Normalisation over the last axis, always computed in float32.

The mathematics are functions; `Norm` is the linen leaf that owns scale and shift.
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import initializers

NormName = Literal["rms", "layer", "none"]
NORMS = ("rms", "layer", "none")


def rms_norm(x: jax.Array, scale: jax.Array, epsilon: float = 1e-4) -> jax.Array:
    """x / sqrt(mean x^2 + epsilon) * scale over the last axis, in the type of `x`.

    Args:
      x: `[…, D]`.
      scale: `[D]`.
      epsilon: 1e-4 is DreamerV3's; the usual 1e-6 changes its numbers visibly.

    Source: Zhang & Sennrich 2019, Eq. 4.
    """
    wide = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(wide), -1, keepdims=True)
    return (wide * (jax.lax.rsqrt(mean_square + epsilon) * scale)).astype(x.dtype)


def layer_norm(
    x: jax.Array, scale: jax.Array, shift: jax.Array, epsilon: float = 1e-3
) -> jax.Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift over the last axis.

    Args:
      x: `[…, D]`.
      scale: `[D]`.
      shift: `[D]`.
      epsilon: 1e-3 as in Dreamer of 2020 to 2023 (the default of Keras).

    Source: Ba et al. 2016, Eq. 4.
    """
    wide = x.astype(jnp.float32)
    centered = wide - jnp.mean(wide, -1, keepdims=True)
    variance = jnp.mean(jnp.square(centered), -1, keepdims=True)
    y = centered * (jax.lax.rsqrt(variance + epsilon) * scale) + shift
    return y.astype(x.dtype)


def check_norm(name: str) -> None:
    """Raise where `name` is not one of `NORMS`."""
    if name not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {name!r}")


class Norm(nn.Module):
    """Leaf: `{"scale" [D]}` for "rms", `{"scale", "shift"}` for "layer", else none."""

    kind: NormName = "rms"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return owned_norm(self, self.kind, x)


def owned_norm(module: nn.Module, kind: NormName, x: jax.Array) -> jax.Array:
    """Norm of `kind` whose parameters are leaves of `module`."""
    if kind == "none":
        return x
    scale = module.param("scale", initializers.ones, (x.shape[-1],))
    if kind == "rms":
        return rms_norm(x, scale)
    shift = module.param("shift", initializers.zeros, (x.shape[-1],))
    return layer_norm(x, scale, shift)
