"""Layers, encoder and decoder against arrays from the authors' code.

`danijar/dreamerv3` at e3f0224, jax 0.4.33, float32 on CPU, random parameters.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from names import assert_close, below, read, tree_of

from wm.nets import codec, mlp, norms
from wm.nets.conv import conv2d
from wm.types import ArraySpec

TOLERANCE = 1e-5
IMAGE16 = ArraySpec((16, 16, 3), "uint8")
VECTOR = ArraySpec((5,))
SMALL = codec.CodecConfig(depth=4, multipliers=(2, 4), units=32)


@functools.cache
def case(name: str) -> dict:
    return below(read("nets"), name)


def test_layer_matches():
    arrays = case("layer")
    kernel, bias = arrays["param/lin/kernel"], arrays["param/lin/bias"]
    linear = mlp.dense(16).apply({"kernel": kernel, "bias": bias}, arrays["in/x"])
    assert_close(linear, arrays["out/linear"], TOLERANCE)
    normed = norms.rms_norm(linear, arrays["param/norm/scale"])
    assert_close(normed, arrays["out/norm"], TOLERANCE)
    assert_close(mlp.activation("silu")(normed), arrays["out/act"], TOLERANCE)


def test_block_layer_matches():
    arrays = case("block")
    y = mlp.block_dense(32).apply(below(arrays, "param/blk"), arrays["in/x"])
    assert_close(y, arrays["out/y"], TOLERANCE)


def test_mlp_matches():
    arrays = case("mlp")
    flat = {f"rew/{name}": value for name, value in below(arrays, "param").items()}
    y = mlp.mlp(3, 32).apply(tree_of(flat)["reward"], arrays["in/x"])
    assert_close(y, arrays["out/y"], TOLERANCE)


def test_conv_matches():
    arrays = case("conv")
    y = conv2d(arrays["in/x"], arrays["param/cv/kernel"]) + arrays["param/cv/bias"]
    assert_close(y, arrays["out/y"], TOLERANCE)


@pytest.mark.parametrize(
    ("name", "spec", "config"),
    [
        ("imgvec", {"image": IMAGE16, "vector": VECTOR}, SMALL),
        (
            "img64",
            {"image": ArraySpec((64, 64, 3), "uint8")},
            codec.CodecConfig(depth=4, units=32),
        ),
        (
            "vecs",
            {
                "alpha": ArraySpec(()),
                "vector": VECTOR,
                "zflag": ArraySpec((2,), "int32", classes=4),
            },
            codec.CodecConfig(units=32),
        ),
    ],
)
def test_codec_matches(name, spec, config):
    arrays = case(name)
    params = tree_of(below(arrays, "param"))
    inputs = below(arrays, "in")
    encode = jax.jit(codec.encoder(spec, config).apply)
    tokens = encode(params["encoder"], {key: inputs[key] for key in spec})
    assert_close(tokens, arrays["out/tokens"], TOLERANCE, "tokens")
    z = jax.nn.one_hot(inputs["stoch_idx"], 4)
    z = z.reshape(*z.shape[:-2], -1)
    decode = jax.jit(codec.decoder(spec, config).apply)
    predictions = decode(params["decoder"], inputs["deter"], z)
    losses = codec.reconstruction_losses(
        spec, config, predictions, {key: inputs[f"target_{key}"] for key in spec}
    )
    for key in spec:
        assert_close(predictions[key], arrays[f"out/{key}_pred"], TOLERANCE, key)
        assert_close(losses[key], arrays[f"out/{key}_loss"], TOLERANCE, key)


def test_trees_have_the_authors_shapes():
    arrays = case("imgvec")
    spec = {"image": IMAGE16, "vector": VECTOR}
    theirs = tree_of(below(arrays, "param"))
    example = {key: arrays[f"in/{key}"] for key in spec}
    ours = {
        "encoder": jax.eval_shape(
            codec.encoder(spec, SMALL).init, jax.random.key(0), example
        ),
        "decoder": jax.eval_shape(
            codec.decoder(spec, SMALL).init,
            jax.random.key(0),
            jnp.zeros((1, 64)),
            jnp.zeros((1, 16)),
        ),
    }
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, theirs)
