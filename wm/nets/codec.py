"""Encoder and decoder of DreamerV3 for images, vectors and dicts of both.

Images go through stages of (5x5 convolution, 2x2 maximum, norm, activation) and back
through stages of (doubling, convolution, norm, activation); vectors through an MLP.
Losses of the reconstructions stand here too, because they undo what the codec does to
its inputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import norms
from wm.nets.conv_layer import ConvLayer
from wm.nets.mlp import Layer, Mlp, activation
from wm.nets.net import Net, from_module
from wm.nets.observations import (
    Specs,
    available,
    flat_observation,
    flat_specs,
    images,
    joined_vector,
    vectors,
)
from wm.ops.transforms import symlog
from wm.types import ArraySpec, Tree


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """Sizes of `encoder` and `decoder`; defaults are those of size 200m.

    Source: Hafner et al. 2025, Table 3, and `configs.yaml` of the authors.
    """

    depth: int = 64
    """Channels of the first image stage are depth * multipliers[0]."""
    multipliers: tuple[int, ...] = (2, 3, 4, 4)
    """Channels of each image stage in units of depth; every stage halves the image."""
    units: int = 1024
    """Width of the vector layers; the decoder's latent layer has twice as many."""
    layers: int = 3
    """Vector layers."""
    kernel: int = 5
    """Size of the image kernels, pixels."""
    act: str = "silu"
    """Activation of all layers."""
    norm: norms.NormName = "rms"
    """Norm of all layers."""
    symlog: bool = True
    """Squash vectors by sign(x) log(1 + |x|), inputs and targets."""
    blocks: int = 8
    """Blocks of the decoder's projection of h to the smallest image."""
    outscale: float = 1.0
    """Factor on the initial output kernels of the decoder."""
    dtype: str = "float32"
    """Compute type; parameters are float32."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Channels of each image stage."""
        return tuple(self.depth * multiplier for multiplier in self.multipliers)


def encoder(observation: ArraySpec | Mapping[str, Any], config: CodecConfig) -> Net:
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
    net = from_module(Encoder(_Items.of(specs), config))

    def flat(values: Tree) -> dict:
        return flat_observation(observation, values)

    return Net(
        lambda key, values: net.init(key, flat(values)),
        lambda params, values: net.apply(params, flat(values)),
    )


def decoder(observation: ArraySpec | Mapping[str, Any], config: CodecConfig) -> Net:
    """Predictions of an observation from the model state.

    `apply(params, h […, D], z […, Z]) -> {name: prediction}`, float32, under the names
    of `flat_specs`: images `[…, H, W, C]` in [0, 1], numbers `[…, *shape]` in symlog
    space, logits `[…, *shape, classes]`. `reconstruction_losses` takes them as they
    are, `observation_of` makes an observation of them.

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
    return from_module(Decoder(_Items.of(specs), config))


def reconstruction_losses(
    observation: ArraySpec | Mapping[str, Any],
    config: CodecConfig,
    predictions: dict[str, jax.Array],
    values: Tree,
) -> dict[str, jax.Array]:
    """Loss of each array, summed over its dimensions: name to float32 `[…]`.

    Squared error for images (x / 255) and numbers (symlog x), cross-entropy for class
    indices; 0 where the target is missing.

    Source: Hafner et al. 2025, Eq. 5 and code. Differs: theirs has no rule for missing
    targets (an infinite loss).
    """
    targets = flat_observation(observation, values)
    return {
        name: _loss(spec, config, predictions[name], targets[name])
        for name, spec in flat_specs(observation).items()
    }


def observation_of(
    observation: ArraySpec | Mapping[str, Any],
    config: CodecConfig,
    predictions: dict[str, jax.Array],
) -> Tree:
    """Most likely observation, in the types and the structure of its spec."""
    specs = flat_specs(observation)
    flat = {name: _mode(specs[name], config, predictions[name]) for name in specs}
    if isinstance(observation, ArraySpec):
        return next(iter(flat.values()))
    return _nested(observation, flat)


def _nested(observation: Mapping[str, Any], flat: dict, prefix: str = "") -> dict:
    return {
        name: _nested(value, flat, f"{prefix}{name}/")
        if isinstance(value, Mapping)
        else flat[prefix + name]
        for name, value in observation.items()
    }


def _mode(spec: ArraySpec, config: CodecConfig, prediction: jax.Array) -> jax.Array:
    if spec.image:
        return jnp.round(prediction * 255).astype(jnp.uint8)
    if spec.discrete:
        return jnp.argmax(prediction, -1).astype(spec.dtype)
    if config.symlog:
        prediction = jnp.sign(prediction) * jnp.expm1(jnp.abs(prediction))
    return prediction.astype(spec.dtype)


def _loss(
    spec: ArraySpec, config: CodecConfig, prediction: jax.Array, target: jax.Array
) -> jax.Array:
    axes = tuple(range(-len(spec.shape), 0))
    if spec.image:
        wanted = target.astype(jnp.float32) / 255
        return jnp.square(prediction - wanted).sum(axes)
    there = available(spec, target)
    if spec.discrete:
        logp = jax.nn.log_softmax(prediction)
        loss = -(jax.nn.one_hot(target, spec.classes) * logp).sum(-1)
    else:
        shaped = there.reshape(*there.shape, *(1,) * len(spec.shape))
        wanted = jnp.where(shaped, target, 0).astype(jnp.float32)
        wanted = symlog(wanted) if config.symlog else wanted
        loss = jnp.square(prediction - wanted)
    return jnp.where(there, loss.sum(axes), 0.0)


class _Items(tuple):
    """Sorted (name, spec) pairs: a hashable stand-in for a dict in linen fields."""

    @classmethod
    def of(cls, specs: Specs) -> _Items:
        return cls(sorted(specs.items()))


class Encoder(nn.Module):
    """See `encoder`; takes the flat dict."""

    specs: tuple[tuple[str, ArraySpec], ...]
    config: CodecConfig

    @nn.compact
    def __call__(self, values: dict[str, jax.Array]) -> jax.Array:
        specs, config = dict(self.specs), self.config
        parts = []
        if vectors(specs):
            squash = symlog if config.symlog else lambda x: x
            x = joined_vector(vectors(specs), values, squash)
            x = _mlp(config, "vector")(x)
            parts.append(x)
        if images(specs):
            x = jnp.concatenate([values[name] for name in images(specs)], -1)
            x = ImageEncoder(config, name="image")(x)
            parts.append(x)
        return jnp.concatenate(parts, -1)


class ImageEncoder(nn.Module):
    """uint8 `[…, H, W, C]` to `[…, h w c]`."""

    config: CodecConfig

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        config = self.config
        dtype = jnp.dtype(config.dtype)
        x = image.astype(dtype) / 255 - 0.5
        for i, depth in enumerate(config.depths):
            x = ConvLayer(
                depth,
                config.kernel,
                form="pool",
                act=config.act,
                norm=config.norm,
                dtype=dtype,
                name=f"stage{i}",
            )(x)
        return x.reshape(*x.shape[:-3], -1)


class Decoder(nn.Module):
    """See `decoder`."""

    specs: tuple[tuple[str, ArraySpec], ...]
    config: CodecConfig

    @nn.compact
    def __call__(self, h: jax.Array, z: jax.Array) -> dict[str, jax.Array]:
        specs, config = dict(self.specs), self.config
        predictions = {}
        if vectors(specs):
            x = _mlp(config, "vector")(jnp.concatenate([z, h], -1))
            predictions |= VectorOutputs(
                _Items.of(vectors(specs)), config, name="outputs"
            )(x)
        if images(specs):
            sizes = {name: spec.shape for name, spec in images(specs).items()}
            height, width, _ = next(iter(sizes.values()))
            channels = [shape[-1] for shape in sizes.values()]
            x = ImageDecoder((height, width, sum(channels)), config, name="image")(h, z)
            start = 0
            for name, count in zip(sizes, channels, strict=True):
                predictions[name] = x[..., start : start + count]
                start += count
        return predictions


class VectorOutputs(nn.Module):
    """One dense layer per array."""

    specs: tuple[tuple[str, ArraySpec], ...]
    config: CodecConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        outputs = {}
        for name, spec in self.specs:
            shape = (*spec.shape, *([] if spec.classes is None else [spec.classes]))
            y = Layer(
                math.prod(shape),
                scale=self.config.outscale,
                dtype=jnp.dtype(self.config.dtype),
                name=name,
            )(x)
            outputs[name] = y.reshape(*x.shape[:-1], *shape).astype(jnp.float32)
        return outputs


class ImageDecoder(nn.Module):
    """h `[…, D]` and z `[…, Z]` to images `[…, H, W, C]` in [0, 1], float32."""

    shape: tuple[int, int, int]
    config: CodecConfig

    @nn.compact
    def __call__(self, h: jax.Array, z: jax.Array) -> jax.Array:
        config = self.config
        x = self.smallest(h, z)
        shared = {"form": "upsample", "dtype": jnp.dtype(config.dtype)}
        for i in reversed(range(len(config.depths) - 1)):
            x = ConvLayer(
                config.depths[i],
                config.kernel,
                act=config.act,
                norm=config.norm,
                name=f"stage{i}",
                **shared,
            )(x)
        x = ConvLayer(
            self.shape[-1], config.kernel, scale=config.outscale, name="out", **shared
        )(x)
        return jax.nn.sigmoid(x).astype(jnp.float32)

    @nn.nowrap
    def smallest(self, h: jax.Array, z: jax.Array) -> jax.Array:
        """The image before the first doubling, `[…, h, w, c]`."""
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        factor = 2 ** len(config.depths)
        rows, columns = self.shape[0] // factor, self.shape[1] // factor
        size = rows * columns * config.depths[-1]
        own = Layer(size, blocks=config.blocks, dtype=dtype, name="deter")(h)
        # Features of a block are an image of its own; the blocks stack as channels.
        own = own.reshape(*h.shape[:-1], config.blocks, rows, columns, -1)
        own = jnp.moveaxis(own, -4, -2).reshape(*h.shape[:-1], rows, columns, -1)
        x = Layer(
            2 * config.units,
            act=config.act,
            norm=config.norm,
            dtype=dtype,
            name="stoch0",
        )(z)
        x = Layer(size, dtype=dtype, name="stoch1")(x).reshape(own.shape)
        return activation(config.act)(norms.Norm(config.norm, name="norm")(own + x))


def _mlp(config: CodecConfig, name: str) -> Mlp:
    return Mlp(
        config.layers,
        config.units,
        config.act,
        config.norm,
        dtype=jnp.dtype(config.dtype),
        name=name,
    )


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
