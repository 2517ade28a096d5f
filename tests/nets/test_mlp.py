"""Layers against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets import mlp, norms


def test_a_layer_is_dense_then_norm_then_activation():
    params = {
        "layer0": {
            "kernel": jnp.array([[3.0, 0.0], [0.0, 4.0]]),
            "bias": jnp.array([0.0, 0.0]),
            "scale": jnp.array([1.0, -2.0]),
        },
        "out": {"kernel": jnp.array([[1.0], [1.0]]), "bias": jnp.array([0.5])},
    }
    net = mlp.mlp(1, 2, act="relu", out=1)
    # [3, 4] / sqrt(12.5 + 1e-4) * [1, -2] = [0.8485, -2.263], relu, sum, + 0.5
    y = net.apply(params, jnp.array([1.0, 1.0]))
    np.testing.assert_allclose(y, [3 / np.sqrt(12.5001) + 0.5], rtol=1e-6)


def test_rms_norm_by_hand():
    y = norms.rms_norm(jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0]), epsilon=0.5)
    np.testing.assert_allclose(y, np.array([3.0, 8.0]) / np.sqrt(13.0), rtol=1e-6)


def test_layer_norm_by_hand():
    x, scale, shift = jnp.array([1.0, 3.0]), jnp.array([2.0, 2.0]), jnp.array([0.5, 0])
    y = norms.layer_norm(x, scale, shift, epsilon=3.0)
    # mean 2, variance 1, divided by sqrt(1 + 3)
    np.testing.assert_allclose(y, [-0.5, 1.0], rtol=1e-6)


def test_norms_are_computed_in_float32():
    x = jnp.full((1, 4), 300.0, jnp.bfloat16)
    y = norms.rms_norm(x, jnp.ones(4))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), 1.0)


def test_outscale_zero_starts_at_zero():
    net = mlp.mlp(1, 8, out=3, outscale=0.0)
    params = net.init(jax.random.key(0), jnp.zeros((1, 4)))
    np.testing.assert_array_equal(net.apply(params, jnp.ones((2, 4))), np.zeros((2, 3)))


def test_no_bias_and_no_layers():
    params = mlp.mlp(1, 8, norm="layer", bias=False).init(
        jax.random.key(0), jnp.zeros((1, 4))
    )
    assert set(params["layer0"]) == {"kernel", "scale", "shift"}
    net = mlp.mlp(0, 8, out=2)
    assert set(net.init(jax.random.key(0), jnp.zeros((1, 4)))) == {"out"}


@pytest.mark.parametrize("option", [{"act": "swish2"}, {"norm": "batch"}])
def test_unknown_names_are_refused(option):
    with pytest.raises(ValueError, match="must be one of"):
        mlp.mlp(1, 8, **option)


def test_silu_is_that_of_jax():
    x = jnp.linspace(-30.0, 30.0, 601)
    # Without optimization, tanh far out is off by three units of its last place.
    np.testing.assert_allclose(mlp.silu(x), jax.nn.silu(x), rtol=1e-5, atol=3e-6)
    slopes = (jax.vmap(jax.grad(f))(x) for f in (mlp.silu, jax.nn.silu))
    np.testing.assert_allclose(*slopes, rtol=1e-5, atol=3e-6)
