"""Random numbers that may be drawn beforehand, and sampling from one uniform.

Wherever a key is wanted, noise of the shape it would give may stand instead: a scan
can then draw all its noise at once, and a test can force an outcome.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from wm.types import Key

_SLICED_CLASSES = 128
"""Up to here sampling unrolls over classes; beyond, programs would grow long."""


def uniform(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Uniform noise in [0, 1), f32 `shape`; `key` itself if it is such an array."""
    return key if _is_noise(key, shape) else jax.random.uniform(key, shape)


def normal(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal noise, f32 `shape`; `key` itself if it is such an array."""
    return key if _is_noise(key, shape) else jax.random.normal(key, shape)


def inverse_cdf(key: Key, logits: jax.Array, unimix: float) -> jax.Array:
    """Sample classes i32 `[…]` from logits `[…, K]` by one uniform each.

    Counts the edges of the CDF that lie below the uniform, scaled by the last edge.
    A running sum over class slices fuses into one loop (CPU, 32768 × 16: 0.6 ms;
    softmax and cumsum 2.6), and never picks a class of probability 0: adding 0 does
    not move an edge.
    """
    logits = jax.lax.stop_gradient(logits.astype(jnp.float32))
    classes = logits.shape[-1]
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    if unimix:
        share = weights.sum(-1, keepdims=True) * (unimix / classes)
        weights = (1 - unimix) * weights + share
    noise = uniform(key, logits.shape[:-1])
    if classes > _SLICED_CLASSES:
        edges = jnp.cumsum(weights, -1)
        point = (noise * edges[..., -1])[..., None]
        index = jnp.sum(edges[..., :-1] <= point, -1, dtype=jnp.int32)
        # The sums round differently from class to class: an edge can move back.
        picked = jnp.take_along_axis(weights, index[..., None], -1)[..., 0]
        return jnp.where(picked > 0, index, jnp.argmax(logits, -1))
    edges = [weights[..., 0]]
    for i in range(1, classes):
        edges.append(edges[-1] + weights[..., i])
    index = jnp.zeros(noise.shape, jnp.int32)
    for edge in edges[:-1]:
        index = index + (edge <= noise * edges[-1])
    return index


def _is_noise(key: Key, shape: tuple[int, ...]) -> bool:
    if not jnp.issubdtype(key.dtype, jnp.floating):
        return False
    chex.assert_shape(key, shape)
    return True
