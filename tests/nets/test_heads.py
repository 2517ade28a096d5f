"""Shapes, types and trees of the heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets import heads

CONFIG = heads.HeadConfig(layers=1, units=8, dtype="bfloat16")


@pytest.mark.parametrize(
    ("net", "shape", "outputs"),
    [
        (heads.two_hot_head(CONFIG), (255,), {"out"}),
        (heads.binary_head(CONFIG), (), {"out"}),
        (heads.categorical_head(CONFIG, 4), (4,), {"out"}),
        (heads.categorical_head(CONFIG, 4, (3,)), (3, 4), {"out"}),
        (heads.mean_head(CONFIG, (2, 2)), (2, 2), {"out"}),
    ],
)
def test_outputs_are_float32_of_the_declared_shape(net, shape, outputs):
    x = jnp.ones((2, 5, 6))
    params = net.init(jax.random.key(0), x)
    assert set(params) == {"layer0"} | outputs
    y = net.apply(params, x)
    assert y.shape == (2, 5, *shape)
    assert y.dtype == jnp.float32


def test_normal_head_has_two_output_layers():
    net = heads.normal_head(heads.HeadConfig(layers=0, outscale=0.01), (3,))
    params = net.init(jax.random.key(0), jnp.ones((2, 4)))
    assert {name: x["kernel"].shape for name, x in params.items()} == {
        "mean": (4, 3),
        "stddev": (4, 3),
    }
    params["mean"]["bias"] += 1.0
    mean, stddev = net.apply(params, jnp.zeros((2, 4)))
    np.testing.assert_array_equal(mean, np.ones((2, 3)))
    np.testing.assert_array_equal(stddev, np.zeros((2, 3)))


def test_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="act must be one of"):
        heads.HeadConfig(act="swosh")
