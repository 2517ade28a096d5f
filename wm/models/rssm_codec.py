"""Encoder and decoder of an RSSM, by its settings."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from wm.models.rssm_config import RSSMConfig
from wm.nets.codec import CodecConfig, DecoderNet, decoder, encoder
from wm.nets.net import Net, NetParams
from wm.nets.observations import flat_observation, flat_specs, images, vectors
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
    return _strided(observation, config, sizes)


def _strided(
    observation: Any, config: RSSMConfig, sizes: CodecConfig
) -> tuple[Net, DecoderNet]:
    """Vectors as in `wm.nets.codec`, images as in `wm.nets.strided`.

    Source: Hafner et al. 2023, code of 8fa35f8 (`MultiEncoder`, `MultiDecoder`).
    Differs: vector layers have a bias beside their norm, and draw by fan-in.
    """
    specs = flat_specs(observation)
    seen, read = images(specs), vectors(specs)
    channels = [spec.shape[-1] for spec in seen.values()]
    height, width = next(iter(seen.values())).shape[:2] if seen else (4, 4)
    shape = height, width, sum(channels)
    vector = encoder(read, sizes), decoder(read, sizes)
    image = None
    if seen:
        image = tuple(
            net(
                shape,
                config.depth,
                act=config.act,
                norm=config.norm,
                fan=config.fan,
                dtype=config.dtype,
            )
            for net in (strided_encoder, strided_decoder)
        )

    def init_encoder(key: Key, values: Tree) -> NetParams:
        values = flat_observation(observation, values)
        params = vector[0].init(key, {name: values[name] for name in read})
        if image:
            rows = jax.ShapeDtypeStruct((1, *shape), jnp.uint8)
            params["image"] = image[0].init(jax.random.fold_in(key, 1), rows)
        return params

    def encode(params: NetParams, values: Tree) -> jax.Array:
        values = flat_observation(observation, values)
        parts = []
        if read:
            kept = {name: values[name] for name in read}
            parts.append(vector[0].apply(params, kept))
        if image:
            stacked = jnp.concatenate([values[name] for name in seen], -1)
            parts.append(image[0].apply(params["image"], stacked))
        return jnp.concatenate(parts, -1)

    def init_decoder(key: Key, h: jax.Array, z: jax.Array) -> NetParams:
        params = vector[1].init(key, h, z)
        if image:
            rows = jax.ShapeDtypeStruct((1, h.shape[-1] + z.shape[-1]), h.dtype)
            params["image"] = image[1].init(jax.random.fold_in(key, 1), rows)
        return params

    def predict(params: NetParams, h: jax.Array, z: jax.Array) -> dict:
        predictions, start = vector[1].apply(params, h, z), 0
        if image:
            stacked = image[1].apply(params["image"], jnp.concatenate([h, z], -1))
            for name, count in zip(seen, channels, strict=True):
                predictions[name] = stacked[..., start : start + count]
                start += count
        return predictions

    def decode(params: NetParams, h: jax.Array, z: jax.Array) -> dict:
        # Unbounded in the loss, but an image all the same.
        predictions = predict(params, h, z)
        return predictions | {
            name: jnp.clip(predictions[name], 0.0, 1.0) for name in seen
        }

    def losses(params: NetParams, h: jax.Array, z: jax.Array, values: Tree) -> dict:
        targets = flat_observation(observation, values)
        predictions = predict(params, h, z)
        return {
            name: reconstruction_loss(spec, sizes, predictions[name], targets[name])
            for name, spec in specs.items()
        }

    return Net(init_encoder, encode), DecoderNet(init_decoder, decode, losses)
