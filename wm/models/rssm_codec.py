"""Encoder and decoder of an RSSM, by its settings."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from wm.models.rssm_config import RSSMConfig
from wm.nets.codec import CodecConfig, DecoderNet, decoder, encoder
from wm.nets.net import Net, NetParams
from wm.nets.observations import (
    Specs,
    flat_observation,
    flat_specs,
    images,
    vectors,
)
from wm.nets.reconstruction import reconstruction_loss
from wm.nets.strided import strided_decoder, strided_encoder
from wm.types import Key, Tree


def build(
    observation: Any, config: RSSMConfig, sizes: CodecConfig
) -> tuple[Net, DecoderNet]:
    """Nets for `observation`.

    Raises:
      ValueError: images that the stages cannot halve.
    """
    if config.codec == "pool":
        return encoder(observation, sizes), decoder(observation, sizes)
    return (
        _strided_encoder(observation, config, sizes),
        _strided_decoder(observation, config, sizes),
    )


def _strided_encoder(observation: Any, config: RSSMConfig, sizes: CodecConfig) -> Net:
    """Vectors as in `wm.nets.codec`, images as in `wm.nets.strided`.

    Source: Hafner et al. 2023, code of 8fa35f8 (`MultiEncoder`). Differs: vector layers
    have a bias beside their norm, and draw by fan-in.
    """
    seen, read, shape = _images_and_vectors(observation)
    vector = encoder(read, sizes)
    image = _image_net(strided_encoder, shape, config) if seen else None

    def init(key: Key, values: Tree) -> NetParams:
        values = flat_observation(observation, values)
        key, key_image = jax.random.split(key)
        params = vector.init(key, {name: values[name] for name in read})
        if image:
            rows = jax.ShapeDtypeStruct((1, *shape), jnp.uint8)
            params["image"] = image.init(key_image, rows)
        return params

    def apply(params: NetParams, values: Tree) -> jax.Array:
        values = flat_observation(observation, values)
        parts = []
        if read:
            parts.append(vector.apply(params, {name: values[name] for name in read}))
        if image:
            stacked = jnp.concatenate([values[name] for name in seen], -1)
            parts.append(image.apply(params["image"], stacked))
        return jnp.concatenate(parts, -1)

    return Net(init, apply)


def _strided_decoder(
    observation: Any, config: RSSMConfig, sizes: CodecConfig
) -> DecoderNet:
    """The mirror image of `_strided_encoder`; deviations as there."""
    seen, read, shape = _images_and_vectors(observation)
    vector = decoder(read, sizes)
    image = _image_net(strided_decoder, shape, config) if seen else None

    def init(key: Key, h: jax.Array, z: jax.Array) -> NetParams:
        key, key_image = jax.random.split(key)
        params = vector.init(key, h, z)
        if image:
            rows = jax.ShapeDtypeStruct((1, h.shape[-1] + z.shape[-1]), h.dtype)
            params["image"] = image.init(key_image, rows)
        return params

    def predict(params: NetParams, h: jax.Array, z: jax.Array) -> dict:
        predictions, start = vector.apply(params, h, z), 0
        if image:
            stacked = image.apply(params["image"], jnp.concatenate([h, z], -1))
            for name, spec in seen.items():
                predictions[name] = stacked[..., start : start + spec.shape[-1]]
                start += spec.shape[-1]
        return predictions

    def apply(params: NetParams, h: jax.Array, z: jax.Array) -> dict:
        # Unbounded in the loss, but an image all the same.
        predictions = predict(params, h, z)
        bounded = {name: jnp.clip(predictions[name], 0.0, 1.0) for name in seen}
        return predictions | bounded

    def losses(params: NetParams, h: jax.Array, z: jax.Array, values: Tree) -> dict:
        targets = flat_observation(observation, values)
        predictions = predict(params, h, z)
        return {
            name: reconstruction_loss(spec, sizes, predictions[name], targets[name])
            for name, spec in (seen | read).items()
        }

    return DecoderNet(init, apply, losses)


def _images_and_vectors(
    observation: Any,
) -> tuple[Specs, Specs, tuple[int, int, int]]:
    """Specs of both, and the shape of all images as channels of one."""
    specs = flat_specs(observation)
    seen = images(specs)
    sides = {spec.shape[:2] for spec in seen.values()} or {(0, 0)}
    if len(sides) > 1:
        raise ValueError(f"images must have one size, got {sorted(sides)}; resize them")
    height, width = sides.pop()
    channels = sum(spec.shape[-1] for spec in seen.values())
    return seen, vectors(specs), (height, width, channels)


def _image_net(net: Any, shape: tuple[int, int, int], config: RSSMConfig) -> Net:
    return net(
        shape,
        config.depth,
        act=config.act,
        norm=config.norm,
        fan=config.fan,
        dtype=config.dtype,
    )
