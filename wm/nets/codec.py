"""Encoder and decoder of DreamerV3 for images, vectors and dicts of both.

Images go through stages of (5x5 convolution, 2x2 maximum, norm, activation) and back
through stages of (doubling, convolution, norm, activation); vectors through an MLP.
Parts are nets of their own; here they are put together as plain functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.nets import norms
from wm.nets.codec_config import CodecConfig
from wm.nets.image_codec import ImageDecoder, ImageEncoder
from wm.nets.mlp import activation, dense, mlp
from wm.nets.net import Net, NetParams, from_module
from wm.nets.observations import (
    Observation,
    Specs,
    flat_observation,
    flat_specs,
    images,
    joined_vector,
    vectors,
)
from wm.nets.parts import in_parts
from wm.nets.reconstruction import (
    observation_of,
    reconstruction_loss,
    reconstruction_losses,
)
from wm.ops.transforms import symlog
from wm.types import Key, Tree

__all__ = [
    "CodecConfig",
    "DecoderNet",
    "decoder",
    "encoder",
    "observation_of",
    "reconstruction_losses",
]


def encoder(observation: Observation, config: CodecConfig) -> Net:
    """Tokens of an observation: its vector part, then its image part (h, w, c).

    `apply(params, observation […, *shape]) -> […, tokens]`, in the compute type. Images
    enter as x / 255 - 0.5, all of them as channels of one, in the order of their names.
    Numbers enter as symlog(x), class indices as one-hot, missing entries (-inf among
    floats, -1 among signed integers) as zeros.

    Params: `{"vector": {"layer0": {"kernel" [D, units], "bias", "scale"}, …},
    "image": {"stage0": {"kernel" [k, k, C, depth], "bias", "scale"}, …}}`.

    Args:
      observation: its spec.
      config: sizes.

    Raises:
      ValueError: an image that the stages cannot halve, or end outside 3 to 16 pixels.
    """
    specs = flat_specs(observation)
    _check(specs, config)
    squash = symlog if config.symlog else lambda x: x
    vector = _vector_net(config)
    image = from_module(ImageEncoder(config))
    image_parts = in_parts(image.apply, _widest(specs, config))

    def init(key: Key, values: Tree) -> NetParams:
        values = flat_observation(observation, values)
        key_vector, key_image = jax.random.split(key)
        params = {}
        if vectors(specs):
            joined = jax.eval_shape(
                lambda values: joined_vector(vectors(specs), values, squash), values
            )
            params["vector"] = vector.init(key_vector, joined)
        if images(specs):
            height, width, _ = next(iter(images(specs).values())).shape
            channels = sum(spec.shape[-1] for spec in images(specs).values())
            shape = jax.ShapeDtypeStruct((1, height, width, channels), jnp.uint8)
            params["image"] = image.init(key_image, shape)
        return params

    def apply(params: NetParams, values: Tree) -> jax.Array:
        values = flat_observation(observation, values)
        parts = []
        if vectors(specs):
            x = joined_vector(vectors(specs), values, squash)
            parts.append(vector.apply(params["vector"], x))
        if images(specs):
            x, lead = _stacked(specs, values)
            parts.append(image_parts(params["image"], lead, x))
        return jnp.concatenate(parts, -1)

    return Net(init, apply)


class DecoderNet(NamedTuple):
    """A `Net` with the losses of its predictions; see `decoder`."""

    init: Callable[..., NetParams]
    apply: Callable[..., dict[str, jax.Array]]
    losses: Callable[..., dict[str, jax.Array]]


def decoder(observation: Observation, config: CodecConfig) -> DecoderNet:
    """Predictions of an observation from the model state.

    `apply(params, h […, D], z […, Z]) -> {name: prediction}`, float32, under the names
    of `flat_specs`: images `[…, H, W, C]` in [0, 1], numbers `[…, *shape]` in symlog
    space, logits `[…, *shape, classes]`. `reconstruction_losses` takes them as they
    are, `observation_of` makes an observation of them.
    `losses(params, h, z, observation)` is both in one, with images in parts that fit a
    CPU's cache.

    Params: `{"vector": {"layer0": {"kernel" [Z + D, units], "bias", "scale"}, …},
    "outputs": {name: {"kernel" [units, size], "bias"}}, "image": {"deter": {"kernel"
    [blocks, D / blocks, h w c / blocks], "bias"}, "stoch0": {"kernel" [Z, 2 units],
    "bias", "scale"}, "stoch1": {"kernel" [2 units, h w c], "bias"}, "norm": {"scale"
    [c]}, "stage{i}": {"kernel" [k, k, I, O], "bias", "scale"} for i from the last but
    one to 0, "out": {"kernel" [k, k, I, C], "bias"}}}`.

    Args:
      observation: its spec.
      config: sizes.

    Raises:
      ValueError: as `encoder`; images of different sizes; `blocks` does not divide the
        smallest image's channels.
    """
    specs = flat_specs(observation)
    _check(specs, config)
    if images(specs) and config.depths[-1] % config.blocks:
        raise ValueError(
            f"blocks must divide the last stage's {config.depths[-1]} channels, "
            f"got {config.blocks}"
        )
    vector = _vector_decoder(vectors(specs), config)
    image = _image_decoder(images(specs), config)
    halves = [half for half in (vector, image) if half is not None]

    def init(key: Key, h: jax.Array, z: jax.Array) -> NetParams:
        keys = jax.random.split(key, len(halves))
        params = {}
        for half, key_half in zip(halves, keys, strict=True):
            params |= half.init(key_half, h, z)
        return params

    def apply(params: NetParams, h: jax.Array, z: jax.Array) -> dict:
        predictions = {}
        for half in halves:
            predictions |= half.apply(params, h, z)
        return predictions

    def losses(params: NetParams, h: jax.Array, z: jax.Array, values: Tree) -> dict:
        targets = flat_observation(observation, values)
        results = {}
        for half in halves:
            results |= half.losses(params, h, z, targets)
        return results

    return DecoderNet(init, apply, losses)


def _vector_decoder(specs: Specs, config: CodecConfig) -> DecoderNet | None:
    """Params `{"vector": …, "outputs": {name: …}}`."""
    if not specs:
        return None
    hidden = _vector_net(config)
    shapes = {
        name: (*spec.shape, *([] if spec.classes is None else [spec.classes]))
        for name, spec in specs.items()
    }
    outputs = {
        name: dense(math.prod(shape), config.outscale, dtype=config.dtype)
        for name, shape in shapes.items()
    }

    def init(key: Key, h: jax.Array, z: jax.Array) -> NetParams:
        key_hidden, *keys = jax.random.split(key, 1 + len(outputs))
        features = jax.ShapeDtypeStruct((1, h.shape[-1] + z.shape[-1]), h.dtype)
        x = jax.ShapeDtypeStruct((1, config.units), h.dtype)
        return {
            "vector": hidden.init(key_hidden, features),
            "outputs": {
                name: net.init(k, x)
                for (name, net), k in zip(outputs.items(), keys, strict=True)
            },
        }

    def apply(params: NetParams, h: jax.Array, z: jax.Array) -> dict:
        x = hidden.apply(params["vector"], jnp.concatenate([z, h], -1))
        predictions = {}
        for name, net in outputs.items():
            y = net.apply(params["outputs"][name], x).astype(jnp.float32)
            predictions[name] = y.reshape(*x.shape[:-1], *shapes[name])
        return predictions

    def losses(params: NetParams, h: jax.Array, z: jax.Array, targets: dict) -> dict:
        return _losses(specs, config, apply(params, h, z), targets)

    return DecoderNet(init, apply, losses)


def _image_decoder(specs: Specs, config: CodecConfig) -> DecoderNet | None:
    """Params `{"image": …}`."""
    if not specs:
        return None
    height, width, _ = next(iter(specs.values())).shape
    channels = [spec.shape[-1] for spec in specs.values()]
    net = from_module(ImageDecoder((height, width, sum(channels)), config))

    def predict(params: NetParams, h: jax.Array, z: jax.Array) -> dict:
        stacked, start, predictions = net.apply(params, h, z), 0, {}
        for name, count in zip(specs, channels, strict=True):
            predictions[name] = stacked[..., start : start + count]
            start += count
        return predictions

    def predict_and_compare(params: NetParams, h, z, *targets: jax.Array) -> dict:
        compared = dict(zip(specs, targets, strict=True))
        return _losses(specs, config, predict(params, h, z), compared)

    widest = _widest(specs, config)

    def init(key: Key, h: jax.Array, z: jax.Array) -> NetParams:
        rows = [jax.ShapeDtypeStruct((1, x.shape[-1]), x.dtype) for x in (h, z)]
        return {"image": net.init(key, *rows)}

    def apply(params: NetParams, h: jax.Array, z: jax.Array) -> dict:
        return in_parts(predict, widest)(params["image"], h.ndim - 1, h, z)

    def losses(params: NetParams, h: jax.Array, z: jax.Array, targets: dict) -> dict:
        compare = in_parts(predict_and_compare, widest)
        images = (targets[name] for name in specs)
        return compare(params["image"], h.ndim - 1, h, z, *images)

    return DecoderNet(init, apply, losses)


def _losses(
    specs: Specs, config: CodecConfig, predictions: dict, targets: dict
) -> dict:
    return {
        name: reconstruction_loss(spec, config, predictions[name], targets[name])
        for name, spec in specs.items()
    }


def _stacked(specs: Specs, values: dict) -> tuple[jax.Array, int]:
    """All images as channels of one, and the number of leading axes."""
    stacked = jnp.concatenate([values[name] for name in images(specs)], -1)
    return stacked, stacked.ndim - 3


def _widest(specs: Specs, config: CodecConfig) -> int:
    """Elements of the widest activation: the first stage before its maximum."""
    areas = [spec.shape[0] * spec.shape[1] for spec in images(specs).values()]
    return max(areas, default=1) * config.depths[0]


def _vector_net(config: CodecConfig) -> Net:
    return mlp(config.layers, config.units, config.act, config.norm, dtype=config.dtype)


def _check(specs: Specs, config: CodecConfig) -> None:
    """Raise ValueError where images do not fit the stages, or each other."""
    norms.check_norm(config.norm)
    activation(config.act)
    factor = 2 ** len(config.depths)
    sizes = {spec.shape[:2] for spec in images(specs).values()}
    if len(sizes) > 1:
        raise ValueError(f"images must have one size, got {sorted(sizes)}; resize them")
    for height, width in sizes:
        for size in (height, width):
            if size % factor or not 3 <= size // factor <= 16:
                raise ValueError(
                    f"image {height}x{width} does not fit {len(config.depths)} stages: "
                    f"sides must be {factor} times 3 to 16; resize or pad the image, "
                    "or change multipliers"
                )
