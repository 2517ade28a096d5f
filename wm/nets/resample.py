"""Convolution with pooling or upsampling, as fewer and fatter multiplications.

Two exact rewrites. A convolution followed by a 2x2 maximum becomes one convolution on
2x2 blocks of pixels as channels, followed by a maximum over four groups of channels. A
convolution of a doubled image becomes one convolution of the small image to four times
the channels (one group per output pixel of a 2x2 block), with the kernel rows that fall
on the same small pixel added up: 25 -> 9 multiplications for a 5x5 kernel. Parameters
stay `[k, k, I, O]`; the small kernels are made from them by 0/1 matrices, whose
gradient is automatic.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from wm.nets.conv import conv2d

_FEW_CHANNELS = 16
"""Input channels up to which blocks pay: they cost 36/25 of the multiplications of a
5x5 kernel, but four times the channels at once (one core: 1.8 times as fast with 3 and
8 channels, equal with 16, 0.67 with 32)."""


def conv_pool(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """2x2 maximum of the "same" convolution.

    Args:
      x: `[…, H, W, I]`, even sizes.
      kernel: `[k, k, I, O]`.

    Returns:
      `[…, H/2, W/2, O]`.
    """
    if kernel.shape[2] > _FEW_CHANNELS:
        y = conv2d(x, kernel)
        columns = jnp.maximum(y[..., ::2, :], y[..., 1::2, :])
        return jnp.maximum(columns[..., ::2, :, :], columns[..., 1::2, :, :])
    y = conv2d(blocks_to_channels(x), pooled_kernel(kernel))
    pixels = jnp.split(y, 4, -1)
    return jnp.maximum(jnp.maximum(*pixels[:2]), jnp.maximum(*pixels[2:]))


def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """ "Same" convolution of `x` doubled by repeating pixels.

    Args:
      x: `[…, H, W, I]`.
      kernel: `[k, k, I, O]`.

    Returns:
      `[…, 2H, 2W, O]`.
    """
    return channels_to_blocks(conv2d(x, upsampled_kernel(kernel)))


def blocks_to_channels(x: jax.Array) -> jax.Array:
    """`[…, H, W, C]` to `[…, H/2, W/2, 4C]`, channels (row, column, C) of the block."""
    *lead, H, W, C = x.shape
    x = x.reshape(*lead, H // 2, 2, W // 2, 2, C)
    return jnp.swapaxes(x, -4, -3).reshape(*lead, H // 2, W // 2, 4 * C)


def channels_to_blocks(x: jax.Array) -> jax.Array:
    """Inverse of `blocks_to_channels`."""
    *lead, H, W, C = x.shape
    x = x.reshape(*lead, H, W, 2, 2, C // 4)
    return jnp.swapaxes(x, -4, -3).reshape(*lead, 2 * H, 2 * W, C // 4)


def pooled_kernel(kernel: jax.Array) -> jax.Array:
    """Kernel on 2x2 blocks: `[k, k, I, O]` to `[K, K, 4I, 4O]`."""
    select = _select(kernel.shape[0])
    size, _, inputs, outputs = kernel.shape
    small = jnp.einsum(
        "aypt,bxqs,tsio->yxpqiabo", select, select, kernel.astype(jnp.float32)
    )
    size = select.shape[1]
    return small.reshape(size, size, 4 * inputs, 4 * outputs).astype(kernel.dtype)


def upsampled_kernel(kernel: jax.Array) -> jax.Array:
    """Kernel on the image before doubling: `[k, k, I, O]` to `[K, K, I, 4O]`."""
    select = _select(kernel.shape[0]).sum(2)
    _, _, inputs, outputs = kernel.shape
    small = jnp.einsum(
        "ayt,bxs,tsio->yxiabo", select, select, kernel.astype(jnp.float32)
    )
    size = select.shape[1]
    return small.reshape(size, size, inputs, 4 * outputs).astype(kernel.dtype)


def _select(size: int) -> np.ndarray:
    """[output pixel of the block, block, input pixel of it, tap]: 1 where tap reads it.

    Output pixel 2i + a reads input pixels 2i + a + tap - (size - 1) // 2. The number of
    blocks is odd, so that "same" padding keeps block i in the middle.
    """
    offset = np.arange(2)[:, None] + np.arange(size) - (size - 1) // 2
    reach = max(-(offset // 2).min(), (offset // 2).max())
    select = np.zeros((2, 2 * reach + 1, 2, size), np.float32)
    for pixel in range(2):
        for tap in range(size):
            block, inside = divmod(offset[pixel, tap], 2)
            select[pixel, block + reach, inside, tap] = 1
    return select
