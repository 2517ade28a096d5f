"""Block-diagonal products against the dense matrix they stand for."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.nets.products import block_matmul, block_split, split_bias


def draws():
    key_x, key_kernel = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (2, 3, 8))
    return x, jax.random.normal(key_kernel, (4, 2, 6))


def test_equals_a_block_diagonal_matrix():
    x, kernel = draws()
    matrix = jax.scipy.linalg.block_diag(*kernel)
    np.testing.assert_allclose(
        block_matmul(x, kernel), x @ matrix, rtol=1e-5, atol=1e-6
    )


def test_gradients_equal_the_einsum():
    x, kernel = draws()
    blocks = x.reshape(2, 3, 4, 2)
    theirs = jax.grad(
        lambda x, k: jnp.sum(jnp.sin(jnp.einsum("nmbi,bio->nmbo", x, k))), (0, 1)
    )
    ours = jax.grad(lambda x, k: jnp.sum(jnp.sin(block_matmul(x, k))), (0, 1))
    dx, dk = theirs(blocks, kernel)
    np.testing.assert_allclose(ours(x, kernel)[0], dx.reshape(x.shape), atol=1e-5)
    np.testing.assert_allclose(ours(x, kernel)[1], dk, atol=1e-5)


def test_split_outputs_and_bias_are_those_of_each_block():
    x, kernel = draws()
    bias = jnp.arange(24.0)
    together = (block_matmul(x, kernel) + bias).reshape(2, 3, 4, 3, 2)
    parts = zip(block_split(x, kernel, 3), split_bias(bias, 4, 3), strict=True)
    for i, (y, b) in enumerate(parts):
        np.testing.assert_allclose(
            y + b, together[..., i, :].reshape(2, 3, 8), rtol=1e-5, atol=1e-5
        )
