"""Products with dense and block-diagonal matrices."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.ops.spread import ways


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x `[…, I]` times kernel `[I, O]`, `[…, O]`, in a form whose gradient is fast.

    On a CPU XLA computes the gradient of a kernel, x^T g, at a third of the speed of
    the product itself where I > O or x has several leading axes. So x is flattened,
    and a tall kernel is turned behind a barrier: its gradient is then computed as
    g^T x and turned afterwards. One core, [15, 1024, 512] times [512, 64]: product
    10 ms, gradient of the kernel 10 ms instead of 32, of both 20 instead of 44
    (benchmarks/conv.py). Joined axes cannot stay split over devices: there x is taken
    as it is.
    """
    inputs, outputs = kernel.shape
    if jax.default_backend() != "cpu" or ways() > 1:
        return x @ kernel
    if inputs > outputs:
        kernel = jax.lax.optimization_barrier(kernel.T).T
    return (x.reshape(-1, inputs) @ kernel).reshape(*x.shape[:-1], outputs)


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
    x = x.reshape(-1, blocks, inputs).swapaxes(0, 1)
    # Blocks lead on both sides: 2 to 4 times as fast as the einsum "nbi,bio->nbo" on a
    # CPU, 1.4 to 2.3 times with gradients (benchmarks/conv.py).
    y = jax.lax.dot_general(x, kernel, (((2,), (1,)), ((0,), (0,))))
    return y.swapaxes(0, 1).reshape(*lead, blocks * outputs)


def block_split(x: jax.Array, kernel: jax.Array, parts: int) -> list[jax.Array]:
    """`block_matmul`, each block's outputs split into `parts`.

    The same numbers as splitting afterwards, but no array of all outputs has to be
    reordered: half the time for the gates of a block GRU at 1024 rows.

    Args:
      x: `[…, blocks * I]`.
      kernel: `[blocks, I, parts * O]`.
      parts: how many.

    Returns:
      Arrays `[…, blocks * O]`.
    """
    return [block_matmul(x, part) for part in jnp.split(kernel, parts, -1)]


def split_bias(bias: jax.Array, blocks: int, parts: int) -> list[jax.Array]:
    """A bias `[blocks * parts * O]` split as `block_split` splits outputs."""
    bias = bias.reshape(blocks, parts, -1)
    return [bias[:, i].reshape(-1) for i in range(parts)]
