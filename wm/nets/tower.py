"""Towers: plain nets from an observation to numbers, as the model-free agents use them.

Vectors go in as they are (class indices as one-hot), images through three convolutions
and a dense layer; both join before the hidden layers. No norms.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from wm.errors import UserError
from wm.nets import initializers
from wm.nets.conv import conv2d
from wm.nets.mlp import activation
from wm.nets.net import Net, NetParams
from wm.nets.observations import (
    Observation,
    flat_observation,
    flat_specs,
    images,
    joined_vector,
    vectors,
)
from wm.nets.products import matmul
from wm.types import Key, Tree

Start = Literal["orthogonal", "lecun"]

NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Channels, kernel and stride of the convolutions (Mnih et al. 2015, Methods)."""
NATURE_UNITS = 512
"""Width of the dense layer behind them."""
SMALLEST_VALID = 36
"""Pixels per side from which the convolutions fit without padding."""


@dataclasses.dataclass(frozen=True)
class TowerConfig:
    """Sizes of the nets."""

    layers: tuple[int, ...] = (64, 64)
    """Width of each hidden layer."""
    act: str = "tanh"
    """Activation of the hidden layers: tanh, relu, silu, elu or gelu."""
    start: Start = "orthogonal"
    """Initial kernels: orthogonal (times sqrt 2 in hidden layers) or lecun (normal)."""

    def __post_init__(self):
        activation(self.act)
        if self.start not in get_args(Start):
            allowed = ", ".join(get_args(Start))
            raise ValueError(f"start must be one of {allowed}, got {self.start!r}")
        if any(width < 1 for width in self.layers):
            raise ValueError(f"layers must be at least 1 wide each, got {self.layers}")

    def require(self, name: str, holds: bool, allowed: str) -> None:
        """Raise UserError naming `--agent.NAME` unless `holds`."""
        if not holds:
            value = getattr(self, name)
            raise UserError(f"--agent.{name} must be {allowed}, got {value}")


class Inputs(NamedTuple):
    """An observation as nets read it; leaves lead with the same axes."""

    vector: jax.Array | None
    """f32 `[…, D]`: all that is not an image, by name."""
    image: jax.Array | None
    """uint8 `[…, H, W, C]`: all images as channels of one."""


def inputs(observation: Observation, values: Tree) -> Inputs:
    """Observations as `Inputs`.

    Args:
      observation: their spec.
      values: arrays `[…, *shape]`.

    Raises:
      ValueError: images of different sizes.
    """
    specs = flat_specs(observation)
    values = flat_observation(observation, values)
    seen, rest = images(specs), vectors(specs)
    sizes = {spec.shape[:2] for spec in seen.values()}
    if len(sizes) > 1:
        raise ValueError(f"images must have one size, got {sorted(sizes)}; resize them")
    image = jnp.concatenate([values[name] for name in seen], -1) if seen else None
    vector = joined_vector(rest, values, lambda x: x) if rest else None
    return Inputs(vector, image)


def example(observation: Observation) -> Inputs:
    """Shapes of the inputs of one observation, `[1, …]`."""
    zeros = jax.tree.map(
        lambda spec: jax.ShapeDtypeStruct((1, *spec.shape), jnp.dtype(spec.dtype)),
        observation,
    )
    return jax.eval_shape(lambda values: inputs(observation, values), zeros)


def tower(config: TowerConfig, out: int | None = None, outscale: float = 1.0) -> Net:
    """`apply(params, inputs, *more) -> f32 […, out or width]`.

    `more` are vectors `[…, D]` that join before the hidden layers: actions, or the
    features of another tower in place of `Inputs(None, None)`. Params: `{"image":
    {"conv0", "conv1", "conv2", "dense"}, "layer0": {"kernel" [D, units], "bias"}, …,
    "out": {"kernel", "bias"}}`, "image" and "out" where there are any.

    Args:
      config: sizes.
      out: width of the output layer, which has no activation; None: hidden layers only.
      outscale: factor on its initial kernel.
    """
    gain = math.sqrt(2) if config.start == "orthogonal" else 1.0

    def init(key: Key, x: Inputs, *more: jax.Array) -> NetParams:
        key_image, *keys = jax.random.split(key, 2 + len(config.layers))
        params, width = {}, sum(part.shape[-1] for part in more)
        if x.image is not None:
            params["image"] = _image_init(key_image, x.image.shape[-3:], config, gain)
            width += NATURE_UNITS
        if x.vector is not None:
            width += x.vector.shape[-1]
        for i, units in enumerate(config.layers):
            params[f"layer{i}"] = _layer(keys[i], (width, units), config.start, gain)
            width = units
        if out is not None:
            params["out"] = _layer(keys[-1], (width, out), config.start, outscale)
        return params

    def apply(params: NetParams, x: Inputs, *more: jax.Array) -> jax.Array:
        parts = [
            part.astype(jnp.float32) for part in (x.vector, *more) if part is not None
        ]
        if x.image is not None:
            parts.append(_image_apply(params["image"], x.image))
        y = jnp.concatenate(parts, -1) if len(parts) > 1 else parts[0]
        for i in range(len(config.layers)):
            y = activation(config.act)(_affine(params[f"layer{i}"], y))
        return y if out is None else _affine(params["out"], y)

    return Net(init, apply)


def _layer(key: Key, shape: Sequence[int], start: Start, gain: float) -> NetParams:
    initial = initializers.truncated_normal(gain)
    if start == "orthogonal":
        initial = initializers.orthogonal(gain)
    return {"kernel": initial(key, tuple(shape)), "bias": jnp.zeros(shape[-1])}


def _affine(params: NetParams, x: jax.Array) -> jax.Array:
    return matmul(x, params["kernel"]) + params["bias"]


def _padding(height: int, width: int) -> Literal["same", "valid"]:
    return "valid" if min(height, width) >= SMALLEST_VALID else "same"


def _image_init(
    key: Key, shape: tuple[int, ...], config: TowerConfig, gain: float
) -> NetParams:
    *keys, key_dense = jax.random.split(key, len(NATURE) + 1)
    height, width, channels = shape
    padding = _padding(height, width)
    params = {}
    for i, (units, size, stride) in enumerate(NATURE):
        kernel = (size, size, channels, units)
        params[f"conv{i}"] = _layer(keys[i], kernel, config.start, gain)
        margin = size - 1 if padding == "valid" else 0
        height, width = (-(-(n - margin) // stride) for n in (height, width))
        channels = units
    flat = (height * width * channels, NATURE_UNITS)
    params["dense"] = _layer(key_dense, flat, config.start, gain)
    return params


def _image_apply(params: NetParams, image: jax.Array) -> jax.Array:
    padding = _padding(*image.shape[-3:-1])
    x = image.astype(jnp.float32) / 255
    for i, (_, _, stride) in enumerate(NATURE):
        layer = params[f"conv{i}"]
        x = jax.nn.relu(conv2d(x, layer["kernel"], stride, padding) + layer["bias"])
    x = x.reshape(*x.shape[:-3], -1)
    return jax.nn.relu(_affine(params["dense"], x))
