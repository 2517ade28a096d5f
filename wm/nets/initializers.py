"""How parameters start."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from wm.types import Key

Initializer = Callable[[Key, tuple[int, ...]], jax.Array]
"""`(key, shape) -> float32 array`."""

_UNIT_VARIANCE = 1.1368
"""1 / standard deviation of a normal truncated at two standard deviations."""


def truncated_normal(
    scale: float = 1.0, fan: Literal["in", "average"] = "in"
) -> Initializer:
    """Normal truncated at two deviations, then scaled to std `scale / sqrt(fan)`.

    Fan-in is the product of all dimensions but the last, so a block-diagonal kernel
    `[blocks, in, out]` counts the inputs of all its blocks and starts sqrt(blocks)
    smaller than a rule per block would have it. `average` takes the mean of fan-in and
    fan-out. `scale` 0 gives zeros.

    Source: Hafner et al. 2025 (DreamerV3), code of the authors; `average` is the rule
    of their first version of 2023.
    """

    def init(key: Key, shape: tuple[int, ...]) -> jax.Array:
        fan_in, fan_out = fans(shape)
        size = fan_in if fan == "in" else (fan_in + fan_out) / 2
        if scale == 0:
            return jnp.zeros(shape, jnp.float32)
        draw = jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)
        return draw * (scale * _UNIT_VARIANCE / math.sqrt(size))

    return init


def orthogonal(scale: float = 1.0) -> Initializer:
    """`scale` times a random matrix with orthonormal rows or columns; a convolution's
    kernel counts as the matrix of its last axis against all others.

    Source: Saxe et al. 2014.
    """
    draw = jax.nn.initializers.orthogonal(scale)
    return lambda key, shape: draw(key, shape, jnp.float32)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out of a kernel whose last two dimensions are in and out."""
    outside = math.prod(shape[:-2])
    return math.prod(shape[:-1]), shape[-1] * outside


def zeros(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Zeros; biases and shifts."""
    return jnp.zeros(shape, jnp.float32)


def ones(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Ones; scales of norms."""
    return jnp.ones(shape, jnp.float32)
