"""The two rewrites equal the convolution, pooling and doubling they replace."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets import resample
from wm.nets.conv import conv2d

close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5)


def draws(x, kernel):
    key_x, key_kernel = jax.random.split(jax.random.key(0))
    return jax.random.normal(key_x, x), jax.random.normal(key_kernel, kernel)


def pooled(x, kernel):
    y = conv2d(x, kernel)
    N, H, W, C = y.shape
    return y.reshape(N, H // 2, 2, W // 2, 2, C).max((2, 4))


def doubled(x, kernel):
    return conv2d(x.repeat(2, 1).repeat(2, 2), kernel)


def outputs(f, x, kernel):
    y, pull = jax.vjp(f, x, kernel)
    return y, *pull(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("channels", [2, resample._FEW_CHANNELS + 1])
def test_pooling_by_blocks_is_exact(size, channels):
    inputs = draws((2, 6, 8, channels), (size, size, channels, 3))
    ours, theirs = outputs(resample.conv_pool, *inputs), outputs(pooled, *inputs)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_doubling_by_phases_is_exact(size):
    inputs = draws((2, 3, 4, 2), (size, size, 2, 3))
    ours, theirs = outputs(resample.upsample_conv, *inputs), outputs(doubled, *inputs)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


def test_blocks_to_channels_order_and_inverse():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    y = resample.blocks_to_channels(x)
    np.testing.assert_array_equal(y[0, 0, 1], [2, 3, 6, 7])
    np.testing.assert_array_equal(resample.channels_to_blocks(y), x)
