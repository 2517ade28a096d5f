import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets.tower import Inputs, TowerConfig, example, inputs, tower
from wm.types import ArraySpec

KEY = jax.random.key(0)
VECTOR = ArraySpec((3,))


def test_two_layers_by_hand():
    net = tower(TowerConfig(layers=(2,), act="relu"), out=1)
    params = {
        "layer0": {"kernel": jnp.array([[1.0, -1.0]] * 3), "bias": jnp.zeros(2)},
        "out": {"kernel": jnp.array([[2.0], [7.0]]), "bias": jnp.array([0.5])},
    }
    x = Inputs(jnp.array([[1.0, 2.0, 3.0]]), None)
    np.testing.assert_allclose(net.apply(params, x), [[12.5]])


def test_orthogonal_start_has_the_gains_of_the_published_details():
    net = tower(TowerConfig(layers=(8,)), out=4, outscale=0.01)
    params = net.init(KEY, example(ArraySpec((8,))))
    hidden, out = params["layer0"]["kernel"], params["out"]["kernel"]
    np.testing.assert_allclose(hidden.T @ hidden, 2 * np.eye(8), atol=1e-5)
    np.testing.assert_allclose(out.T @ out, 1e-4 * np.eye(4), atol=1e-9)
    assert not params["layer0"]["bias"].any()


def test_actions_join_the_observation():
    net = tower(TowerConfig(layers=(5,)), out=1)
    x, action = Inputs(jnp.ones((2, 3)), None), jnp.ones((2, 2))
    params = net.init(KEY, x, action)
    assert params["layer0"]["kernel"].shape == (5, 5)
    slope = jax.grad(lambda a: net.apply(params, x, a).sum())(action)
    assert np.abs(slope).min() > 0


@pytest.mark.parametrize(("size", "flat"), [(84, 3136), (16, 256)])
def test_images_of_any_size_go_through_the_nature_net(size, flat):
    spec = {"eye": ArraySpec((size, size, 1), "uint8"), "joints": VECTOR}
    net = tower(TowerConfig(layers=(4,)), out=2)
    params = jax.eval_shape(net.init, KEY, example(spec))
    assert params["image"]["dense"]["kernel"].shape == (flat, 512)
    assert params["layer0"]["kernel"].shape == (512 + 3, 4)
    values = {"eye": jnp.zeros((2, 5, size, size, 1), jnp.uint8)}
    values["joints"] = jnp.zeros((2, 5, 3))
    apply = lambda params: net.apply(params, inputs(spec, values))
    assert jax.eval_shape(apply, params).shape == (2, 5, 2)


def test_brightness_is_a_share_of_white():
    spec = ArraySpec((16, 16, 1), "uint8")
    net = tower(TowerConfig(layers=()), out=1)
    params = net.init(KEY, example(spec))
    white = jnp.full((1, 16, 16, 1), 255, jnp.uint8)
    # Without biases the net is positively homogeneous.
    full, part = (net.apply(params, inputs(spec, x)) for x in (white, white // 5))
    np.testing.assert_allclose(full, 5 * part, rtol=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"act": "cube"}, {"start": "zero"}, {"layers": (0,)}]
)
def test_wrong_sizes_are_named(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        TowerConfig(**wrong)


def test_images_of_two_sizes_are_refused():
    spec = {"a": ArraySpec((16, 16, 1), "uint8"), "b": ArraySpec((8, 8, 1), "uint8")}
    with pytest.raises(ValueError, match="one size"):
        example(spec)
