"""Codecs on their own: shapes, missing values, parts, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets import codec, observations, parts, strided
from wm.types import ArraySpec

CONFIG = codec.CodecConfig(depth=8, multipliers=(1, 1), units=8, layers=1)
MIXED = {
    "camera": {"left": ArraySpec((16, 12, 3), "uint8")},
    "depth": ArraySpec((16, 12, 1), "uint8"),
    "flag": ArraySpec((2,), "int32", classes=3),
    "speed": ArraySpec((2,)),
}


def draw(spec, lead):
    rng = np.random.default_rng(0)

    def one(spec):
        shape = (*lead, *spec.shape)
        if spec.image:
            return rng.integers(0, 256, shape).astype(np.uint8)
        if spec.discrete:
            return rng.integers(0, spec.classes, shape).astype(np.int32)
        return rng.normal(size=shape).astype(np.float32)

    return jax.tree.map(one, spec)


def test_a_nested_observation_with_two_images_goes_through_and_back():
    values = draw(MIXED, (2, 3))
    encoder, decoder = codec.encoder(MIXED, CONFIG), codec.decoder(MIXED, CONFIG)
    params = encoder.init(jax.random.key(0), values)
    assert params["image"]["stage0"]["kernel"].shape == (5, 5, 4, 8)
    tokens = jax.jit(encoder.apply)(params, values)
    assert tokens.shape == (2, 3, 8 + 4 * 3 * 8)
    h, z = jnp.ones((2, 3, 16)), jnp.ones((2, 3, 4))
    params = decoder.init(jax.random.key(1), h, z)
    predictions = jax.jit(decoder.apply)(params, h, z)
    assert {name: x.shape for name, x in predictions.items()} == {
        "camera/left": (2, 3, 16, 12, 3),
        "depth": (2, 3, 16, 12, 1),
        "flag": (2, 3, 2, 3),
        "speed": (2, 3, 2),
    }
    back = codec.observation_of(MIXED, CONFIG, predictions)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), back) == jax.tree.map(
        lambda x: (x.shape, x.dtype), values
    )


def test_decoder_losses_equal_losses_of_its_predictions():
    values = draw(MIXED, (2, 3))
    decoder = codec.decoder(MIXED, CONFIG)
    h, z = jnp.ones((2, 3, 16)), jnp.ones((2, 3, 4))
    params = decoder.init(jax.random.key(1), h, z)
    apart = codec.reconstruction_losses(
        MIXED, CONFIG, decoder.apply(params, h, z), values
    )
    together = decoder.losses(params, h, z, values)
    assert together.keys() == apart.keys()
    for name, loss in apart.items():
        assert loss.shape == (2, 3)
        np.testing.assert_allclose(together[name], loss, rtol=1e-5)


def test_parts_change_neither_values_nor_gradients(monkeypatch):
    spec = ArraySpec((12, 12, 1), "uint8")
    image = draw(spec, (2, 3))
    encoder, decoder = codec.encoder(spec, CONFIG), codec.decoder(spec, CONFIG)
    h, z = jnp.cos(jnp.arange(96.0)).reshape(2, 3, 16), jnp.ones((2, 3, 4))
    params = (
        encoder.init(jax.random.key(0), image),
        decoder.init(jax.random.key(1), h, z),
    )

    def loss(params, h):
        tokens = encoder.apply(params[0], image)
        losses = decoder.losses(params[1], h, z, image)["image"]
        return jnp.mean(tokens**2) + jnp.mean(losses * jnp.arange(6.0).reshape(2, 3))

    whole = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, h)
    monkeypatch.setattr(parts, "CACHED_ELEMENTS", 12 * 12 * 8 * 2)
    assert parts.part_of(6, 12 * 12 * 8, parts.CACHED_ELEMENTS) == 2
    split = jax.jit(jax.value_and_grad(lambda *a: loss(*a), (0, 1)))(params, h)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        whole,
        split,
    )


@pytest.mark.parametrize(
    ("rows", "part"), [(1024, 32), (1040, 26), (16, 16), (1021, 1021), (48, 24)]
)
def test_parts_divide_the_batch_and_fit(rows, part):
    assert parts.part_of(rows, 2**15, 2**20) == part


def test_missing_entries_enter_as_zeros():
    specs = observations.flat_specs(
        {"a": ArraySpec((2,)), "b": ArraySpec((2,), "int32", classes=2)}
    )
    values = {
        "a": jnp.array([[1.0, -jnp.inf], [1.0, 2.0]]),
        "b": jnp.array([[1, 0], [-1, 0]]),
    }
    joined = observations.joined_vector(specs, values, lambda x: x)
    np.testing.assert_array_equal(joined, [[0, 0, 0, 1, 1, 0], [1, 2, 0, 0, 0, 0]])


def test_missing_targets_cost_nothing():
    spec = {"a": ArraySpec((2,)), "b": ArraySpec((), "int32", classes=2)}
    values = {"a": jnp.array([[1.0, -jnp.inf]]), "b": jnp.array([-1])}
    predictions = {"a": jnp.ones((1, 2)), "b": jnp.ones((1, 2))}
    losses = codec.reconstruction_losses(spec, CONFIG, predictions, values)
    assert {name: float(x[0]) for name, x in losses.items()} == {"a": 0.0, "b": 0.0}


def test_losses_by_hand():
    spec = {
        "image": ArraySpec((1, 1, 2), "uint8"),
        "flag": ArraySpec((), "int32", classes=2),
        "x": ArraySpec(()),
    }
    losses = codec.reconstruction_losses(
        spec,
        CONFIG,
        {
            "image": jnp.array([[[[1.0, 0.5]]]]),
            "flag": jnp.array([[0.0, np.log(3.0)]]),
            "x": jnp.array([0.0]),
        },
        {
            "image": jnp.array([[[[255, 0]]]], jnp.uint8),
            "flag": jnp.array([1]),
            "x": jnp.array([np.e - 1]),
        },
    )
    np.testing.assert_allclose(losses["image"], [0.25], rtol=1e-6)
    np.testing.assert_allclose(losses["flag"], [np.log(4 / 3)], rtol=1e-5)
    np.testing.assert_allclose(losses["x"], [1.0], rtol=1e-6)


@pytest.mark.parametrize("shape", [(84, 84, 3), (32, 32, 3), (64, 60, 3), (512, 64, 3)])
def test_images_that_do_not_fit_are_refused(shape):
    config = codec.CodecConfig(depth=8)
    with pytest.raises(ValueError, match="resize or pad"):
        codec.encoder(ArraySpec(shape, "uint8"), config)


def test_images_of_two_sizes_are_refused():
    spec = {"a": ArraySpec((64, 64, 3), "uint8"), "b": ArraySpec((96, 96, 3), "uint8")}
    with pytest.raises(ValueError, match="one size"):
        codec.decoder(spec, codec.CodecConfig(depth=8))


def test_strided_codec_halves_and_doubles():
    shape = (16, 24, 3)
    image = draw(ArraySpec(shape, "uint8"), (2, 1))
    encoder = strided.strided_encoder(shape, depth=2)
    params = encoder.init(jax.random.key(0), image)
    assert set(params["stage0"]) == {"kernel", "scale", "shift"}
    assert encoder.apply(params, image).shape == (2, 1, 4 * 6 * 4)
    decoder = strided.strided_decoder(shape, depth=2)
    params = decoder.init(jax.random.key(0), jnp.ones((2, 1, 5)))
    assert set(params["stage1"]) == {"kernel", "bias"}
    prediction = decoder.apply(params, jnp.zeros((2, 1, 5)))
    assert prediction.shape == (2, 1, *shape)
    np.testing.assert_allclose(prediction, 0.5)
    with pytest.raises(ValueError, match="resize or pad"):
        strided.strided_encoder((18, 16, 3))
