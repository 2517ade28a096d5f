"""Convolution with its own gradient and its own rule under `vmap`.

The stock convolution is not usable in a compiled training loop on a CPU: XLA brings
convolutions into its fast form only outside of loops, so that inside `scan` or
`while_loop` the weight gradient is a naive loop nest (12 to 100 times slower), and
`vmap` over kernels makes a grouped convolution (4 to 8 times slower than a loop).
Here both gradients are plain NHWC/HWIO convolutions on explicitly transposed operands,
written with the same operation again, so that gradients of gradients work too. Forward
mode (`jvp`) does not.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

Pair = tuple[int, int]
Padding = Literal["same", "valid"]


def conv2d(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = "same"
) -> jax.Array:
    """Cross-correlation, as `jax.lax.conv_general_dilated` computes it.

    Args:
      x: `[…, H, W, I]`, any number of leading axes.
      kernel: `[kh, kw, I, O]`.
      stride: of both axes.
      padding: "same" (zeros, output ceil(H / stride)) or "valid".

    Returns:
      `[…, H', W', O]`.
    """
    if padding == "same":
        pads = tuple(map(_same, x.shape[-3:-1], kernel.shape[:2], (stride, stride)))
    else:
        pads = ((0, 0), (0, 0))
    return _leading(_Window((stride, stride), pads), x, kernel)


def conv_transpose2d(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Transposed ("fractionally strided") convolution to `stride` times the size.

    Equals `jax.lax.conv_transpose(…, padding="SAME")`: zeros between the pixels, then a
    cross-correlation with the kernel as it is.

    Args:
      x: `[…, H, W, I]`.
      kernel: `[kh, kw, I, O]`.
      stride: factor of both sizes.

    Returns:
      `[…, stride * H, stride * W, O]`.
    """

    def pads(size: int) -> Pair:
        low = size - 1 if stride > size - 1 else -(-(size + stride - 2) // 2)
        return low, size + stride - 2 - low

    padding = (pads(kernel.shape[0]), pads(kernel.shape[1]))
    window = _Window((1, 1), padding, input_dilation=(stride, stride))
    return _leading(window, x, kernel)


class _Window(NamedTuple):
    """Static geometry of one convolution, (height, width) each."""

    strides: Pair
    padding: tuple[Pair, ...]
    input_dilation: Pair = (1, 1)
    kernel_dilation: Pair = (1, 1)


def _same(size: int, kernel: int, stride: int) -> Pair:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _leading(window: _Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    lead = x.shape[:-3]
    y = _conv(window, x.reshape(-1, *x.shape[-3:]), kernel)
    return y.reshape(*lead, *y.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(window: _Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _with_vmap_rule(window)(x, kernel)


def _conv_forward(window: _Window, x: jax.Array, kernel: jax.Array):
    return _conv(window, x, kernel), (x, kernel)


def _conv_backward(window: _Window, saved: tuple[jax.Array, jax.Array], dy: jax.Array):
    x, kernel = saved
    to_input, to_kernel = _gradient_windows(window, x.shape, kernel.shape, dy.shape)
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    dx = _conv(to_input, dy, flipped)
    # Channels of x act as the batch, the batch as the channels that are summed.
    dk = _conv(to_kernel, x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3))
    return dx, dk.transpose(1, 2, 0, 3)


_conv.defvjp(_conv_forward, _conv_backward)


def _gradient_windows(window: _Window, x, kernel, dy) -> tuple[_Window, _Window]:
    """Geometry of the two gradients as convolutions, from the operands' shapes.

    With n, k, m the sizes of input, kernel and output after dilation and l the low
    padding, y[o] = sum_j w[j] x[o s + j b - l], so
    dx[p] = sum_j flip(w)[j] dy[p - (k - 1 - l) + j b] with dy dilated by s, and
    dw[j] = sum_o dy[o] x[o s + j b - l] with dy as a kernel dilated by s.
    """
    to_input, to_kernel = [], []
    for axis in (0, 1):
        stride, (low, _) = window.strides[axis], window.padding[axis]
        n = (x[axis + 1] - 1) * window.input_dilation[axis] + 1
        k = (kernel[axis] - 1) * window.kernel_dilation[axis] + 1
        m = (dy[axis + 1] - 1) * stride + 1
        to_input.append((k - 1 - low, n - m + low))
        to_kernel.append((low, k - 1 + m - n - low))
    return (
        _Window(
            strides=window.input_dilation,
            padding=tuple(to_input),
            input_dilation=window.strides,
            kernel_dilation=window.kernel_dilation,
        ),
        _Window(
            strides=window.kernel_dilation,
            padding=tuple(to_kernel),
            input_dilation=window.input_dilation,
            kernel_dilation=window.strides,
        ),
    )


@functools.cache
def _with_vmap_rule(window: _Window):
    """The convolution as a function of two arrays that `vmap` treats as below."""

    @jax.custom_batching.custom_vmap
    def conv(x, kernel):
        return _stock(window, x, kernel)

    @conv.def_vmap
    def rule(axis_size: int, in_batched: list[bool], x: Any, kernel: Any):
        x_batched, kernel_batched = in_batched
        if not kernel_batched:
            y = conv(x.reshape(-1, *x.shape[2:]), kernel)
            return y.reshape(axis_size, -1, *y.shape[1:]), True
        if not x_batched:
            # One convolution to axis_size times the channels.
            y = conv(x, jnp.moveaxis(kernel, 0, 3).reshape(*kernel.shape[1:4], -1))
            y = y.reshape(*y.shape[:3], axis_size, -1)
            return jnp.moveaxis(y, 3, 0), True
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda pair: conv(*pair), (x, kernel)), True
        # Grouped convolutions; a loop has not been measured against them on a GPU.
        return jax.vmap(functools.partial(_stock, window))(x, kernel), True

    return conv


def _stock(window: _Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.padding,
        lhs_dilation=window.input_dilation,
        rhs_dilation=window.kernel_dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
