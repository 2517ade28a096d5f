"""Normalisation, always computed in float32: over the last axis, or over a batch.

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
AnyNorm = Literal["rms", "layer", "batch", "none"]
"""With that of nets which only a loss sees: their outputs depend on the other rows."""


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
    return _standard(x, (-1,), scale, shift, epsilon)


def batch_norm(
    x: jax.Array, scale: jax.Array, shift: jax.Array, epsilon: float = 1e-5
) -> jax.Array:
    """As `layer_norm`, for every feature over all rows `[…, D]` of this very batch.

    Args:
      x: `[…, D]`.
      scale: `[D]`.
      shift: `[D]`.
      epsilon: 1e-5 (PyTorch).

    Source: Ioffe & Szegedy 2015, Algorithm 1; no moving statistics are kept.
    """
    return _standard(x, tuple(range(x.ndim - 1)), scale, shift, epsilon)


def _standard(
    x: jax.Array,
    axes: tuple[int, ...],
    scale: jax.Array,
    shift: jax.Array,
    epsilon: float,
) -> jax.Array:
    wide = x.astype(jnp.float32)
    centered = wide - jnp.mean(wide, axes, keepdims=True)
    variance = jnp.mean(jnp.square(centered), axes, keepdims=True)
    y = centered * (jax.lax.rsqrt(variance + epsilon) * scale) + shift
    return y.astype(x.dtype)


def check_norm(name: str) -> None:
    """Raise where `name` is not one of `NORMS`."""
    if name not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {name!r}")


class Norm(nn.Module):
    """Leaf: `{"scale" [D]}` for "rms", `{"scale", "shift"}` for "layer" and "batch"."""

    kind: AnyNorm = "rms"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return owned_norm(self, self.kind, x)


def owned_norm(module: nn.Module, kind: AnyNorm, x: jax.Array) -> jax.Array:
    """Norm of `kind` whose parameters are leaves of `module`."""
    if kind == "none":
        return x
    scale = module.param("scale", initializers.ones, (x.shape[-1],))
    if kind == "rms":
        return rms_norm(x, scale)
    shift = module.param("shift", initializers.zeros, (x.shape[-1],))
    return (batch_norm if kind == "batch" else layer_norm)(x, scale, shift)
