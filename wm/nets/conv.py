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

from wm.nets.parts import part_of

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


class _GradientWindows(NamedTuple):
    to_input: _Window
    to_kernel: _Window
    to_flipped: _Window


_CACHED_ELEMENTS = 2**19
"""Of the larger operand of a kernel gradient, 2 MB in float32. At 256 images 32x32 and
5x5 kernels of 32 -> 48 channels, parts of 16 take 0.21 s, the whole 0.69 (one
core that multiplies matrices at 110 GFLOP/s; 0.18 s at that rate)."""


def _same(size: int, kernel: int, stride: int) -> Pair:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _leading(window: _Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    lead = x.shape[:-3]
    y: Any = _conv(window, x.reshape(-1, *x.shape[-3:]), kernel)
    return y.reshape(*lead, *y.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(window: _Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _with_vmap_rule(window)(x, kernel)


def _conv_forward(window: _Window, x: jax.Array, kernel: jax.Array):
    return _conv(window, x, kernel), (x, kernel)


def _conv_backward(window: _Window, saved: tuple[jax.Array, jax.Array], dy: jax.Array):
    x, kernel = saved
    windows = _gradient_windows(window, x.shape, kernel.shape, dy.shape)
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    dx = _conv(windows.to_input, dy, flipped)
    return dx, _kernel_gradient(windows, x, dy)


_conv.defvjp(_conv_forward, _conv_backward)


def _kernel_gradient(windows: _GradientWindows, x: jax.Array, dy: jax.Array):
    """Gradient of the kernel, summed over parts of the batch where that is faster."""
    N = x.shape[0]
    part = part_of(N, max(x.size, dy.size) // N, _CACHED_ELEMENTS)
    if part == N:
        return _kernel_gradient_part(windows, x, dy)

    def body(total, parts):
        return total + _kernel_gradient_part(windows, *parts), None

    wide = jnp.promote_types(x.dtype, jnp.float32)
    shape = jax.eval_shape(functools.partial(_kernel_gradient_part, windows), x, dy)
    parts = [a.reshape(N // part, part, *a.shape[1:]) for a in (x, dy)]
    total, _ = jax.lax.scan(body, jnp.zeros(shape.shape, wide), parts)
    return total.astype(x.dtype)


def _kernel_gradient_part(windows: _GradientWindows, x: jax.Array, dy: jax.Array):
    # Channels act as the batch, the batch as the channels that are summed. The operand
    # with fewer channels is the one that is read k^2 times.
    dk: Any
    if x.shape[-1] <= dy.shape[-1]:
        image, kernel = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
        dk = _conv(windows.to_kernel, image, kernel)
        return dk.transpose(1, 2, 0, 3)
    image, kernel = dy.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3)
    dk = _conv(windows.to_flipped, image, kernel)
    return dk[:, ::-1, ::-1].transpose(1, 2, 3, 0)


def _gradient_windows(window: _Window, x, kernel, dy) -> _GradientWindows:
    """Geometry of the gradients as convolutions, from the operands' shapes.

    With n, k, m the sizes of input, kernel and output after dilation and l the low
    padding, y[o] = sum_j w[j] x[o s + j b - l], so
    dx[p] = sum_j flip(w)[j] dy[p - (k - 1 - l) + j b] with dy dilated by s,
    dw[j] = sum_o dy[o] x[o s + j b - l] with dy as a kernel dilated by s, and
    flip(dw)[j] = sum_i x[i] dy[i + j b - (k - 1 - l)] with x as the kernel.
    """
    around, inside = [], []
    for axis in (0, 1):
        low = window.padding[axis][0]
        n = (x[axis + 1] - 1) * window.input_dilation[axis] + 1
        k = (kernel[axis] - 1) * window.kernel_dilation[axis] + 1
        m = (dy[axis + 1] - 1) * window.strides[axis] + 1
        around.append((k - 1 - low, n - m + low))
        inside.append((low, k - 1 + m - n - low))
    strides, _, input_dilation, kernel_dilation = window
    around, inside = tuple(around), tuple(inside)
    return _GradientWindows(
        to_input=_Window(input_dilation, around, strides, kernel_dilation),
        to_kernel=_Window(kernel_dilation, inside, input_dilation, strides),
        to_flipped=_Window(kernel_dilation, around, strides, input_dilation),
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
