"""Multiplication by a block-diagonal matrix."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def block_matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x times a block-diagonal matrix, features block-major.

    Args:
      x: `[…, blocks * I]`.
      kernel: `[blocks, I, O]`.

    Returns:
      `[…, blocks * O]`.
    """
    blocks, inputs, outputs = kernel.shape
    lead = x.shape[:-1]
    x = x.reshape(-1, blocks, inputs)
    y = jnp.einsum("nbi,bio->nbo", x, kernel)
    return y.reshape(*lead, blocks * outputs)
