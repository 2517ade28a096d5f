"""Nets of a model that predicts rewards, values and policies and nothing else.

Representation h reads an observation, dynamics g steps a latent, and heads read it
(Schrittwieser et al. 2020, Appendix F). Latents are `[B, D]` (form mlp) or planes
`[B, H, W, C]`, stretched to [0, 1] in every row, the range of the action's own entries,
unless told otherwise.
Norms are over channels: nothing depends on the batch.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import norms
from wm.nets.conv_layer import ConvLayer, residual_blocks
from wm.nets.mlp import Layer, activation
from wm.nets.net import Net, from_module

Form = Literal["mlp", "conv", "downsample"]
ActionForm = Literal["one_hot", "scalar", "location"]


@dataclasses.dataclass(frozen=True)
class LatentConfig:
    """Sizes of representation, dynamics and heads."""

    form: Form = "mlp"
    """mlp (anything, flattened), conv (planes, kept as large as they are) or downsample
    (images to a sixteenth of their side, as on Atari)."""
    layers: int = 1
    """Hidden layers, or residual blocks, of representation and dynamics each (Atari and
    boards 16)."""
    units: int = 64
    """Width, or channels (256)."""
    latent: int = 32
    """Size of the latent, form mlp."""
    downsample: tuple[int, int, int] = (2, 3, 3)
    """Residual blocks between halvings, form downsample (2, 3, 3); the first ones with
    half the channels."""
    planes: int = 16
    """Channels that each head reduces planes to (EfficientZero 16)."""
    head_layers: int = 1
    """Hidden layers of each head."""
    head_units: int = 64
    """Width of each."""
    action: ActionForm = "one_hot"
    """How planes take an action of one index: one_hot (a plane per action), scalar
    (one plane of (a + 1) / A; EfficientZero a / A) or location (one plane, 1 at the
    field, or in the column, with that number; boards)."""
    act: str = "relu"
    """Activation (relu)."""
    residual: bool = False
    """Whether dynamics add their first layer to the latent that they step, s + g(s, a),
    before the rest (EfficientZero)."""
    stretch: bool = True
    """Whether latents are stretched to `span` (MuZero; EfficientZero not)."""
    span: tuple[float, float] = (0.0, 1.0)
    """The least and the greatest entry of a stretched latent (MuZero 0, 1). Small nets
    learn to look several steps ahead sooner with -3, 3, where one step shrinks the
    differences between latents less."""
    norm: norms.NormName = "layer"
    """Norm behind every layer but those of heads (layer; published: batch norm)."""
    dtype: str = "float32"
    """Compute type; parameters and outputs of heads are float32."""

    def __post_init__(self):
        norms.check_norm(self.norm)
        activation(self.act)
        for name, allowed in (("form", Form), ("action", ActionForm)):
            if getattr(self, name) not in get_args(allowed):
                known = ", ".join(get_args(allowed))
                got = getattr(self, name)
                raise ValueError(f"{name} must be one of {known}, got {got!r}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be float32 or bfloat16, got {self.dtype}")
        if not self.span[0] < self.span[1]:
            raise ValueError(f"span must rise, got {self.span}")
        least = dict.fromkeys(("units", "latent", "planes", "head_units"), 1)
        for name, low in {**least, "layers": 0, "head_layers": 0}.items():
            if getattr(self, name) < low:
                got = getattr(self, name)
                raise ValueError(f"{name} must be at least {low}, got {got}")

    def widest(self, shape: tuple[int, ...]) -> int:
        """Elements of the widest activation of one observation of `shape`."""
        if self.form == "mlp":
            return max(self.units, self.latent)
        fields = math.prod(shape[:2])
        # Half the channels on a quarter of the pixels.
        return self.units * fields // (8 if self.form == "downsample" else 1)


class LatentNets(NamedTuple):
    """Built by `latent_nets`."""

    represent: Net
    """`(params, x) -> latent`, x `[B, F]` or planes `[B, H, W, C]`."""
    dynamics: Net
    """`(params, latent, action) -> latent`, action f32 `[B, F]`, or the index i32
    `[B]` where planes take it as scalar or location."""
    reward: Net
    """`(params, latent) -> logits [B, bins]` of the latent that was arrived in."""
    predict: Net
    """`(params, latent) -> {"policy" [B, A], "value" [B, bins]}`."""


def latent_nets(
    config: LatentConfig, actions: int, outputs: int, value_bins: int, reward_bins: int
) -> LatentNets:
    """Nets for actions of `actions` classes (0: numbers), `outputs` of the policy head,
    and categorical scalars."""
    heads = (("policy", outputs), ("value", value_bins))
    return LatentNets(
        represent=from_module(Representation(config)),
        dynamics=from_module(Dynamics(config, actions)),
        reward=_single(LatentHeads(config, (("reward", reward_bins),))),
        predict=from_module(LatentHeads(config, heads)),
    )


def unit_range(x: jax.Array) -> jax.Array:
    """Every row of `[B, …]` stretched to [0, 1] (Schrittwieser et al. 2020, App. G)."""
    axes = tuple(range(1, x.ndim))
    low, high = jnp.min(x, axes, keepdims=True), jnp.max(x, axes, keepdims=True)
    return (x - low) / jnp.maximum(high - low, 1e-5)


def action_planes(
    form: ActionForm, actions: int, action: jax.Array, shape: tuple[int, int]
) -> jax.Array:
    """Actions as planes f32 `[B, H, W, P]`; see `LatentConfig.action`.

    Args:
      form: how.
      actions: A.
      action: i32 `[B]`; or f32 `[B, F]`, which becomes F planes of constants.
      shape: H and W.
    """
    height, width = shape
    wide = lambda x: jnp.broadcast_to(
        x[:, None, None], (x.shape[0], height, width, x.shape[-1])
    )
    if action.ndim == 2:
        return wide(action)
    if form == "one_hot":
        return wide(jax.nn.one_hot(action, actions))
    if form == "scalar":
        return wide((action[:, None] + 1.0) / actions)
    # A pass, beyond the last field, is a plane of zeros.
    if actions <= width:
        return jnp.broadcast_to(
            jax.nn.one_hot(action, width)[:, None, :, None],
            (action.shape[0], height, width, 1),
        )
    return jax.nn.one_hot(action, height * width).reshape(-1, height, width, 1)


class Representation(nn.Module):
    """Observations to latents."""

    config: LatentConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        if config.form == "mlp":
            return _ranged(config, _dense(config, x))
        layer = _convolution(config)
        if config.form == "conv":
            x = layer("stem", config.act)(x)
        else:
            x = _downsampled(config, x)
        x = residual_blocks(layer, config.layers, config.act, x)
        return _ranged(config, x)


class Dynamics(nn.Module):
    """Latents and actions to latents."""

    config: LatentConfig
    actions: int

    @nn.compact
    def __call__(self, latent: jax.Array, action: jax.Array) -> jax.Array:
        config = self.config
        if config.form == "mlp":
            x = _dense(config, jnp.concatenate([latent, action], -1))
            return _ranged(config, latent + x if config.residual else x)
        shape = latent.shape[1:3]
        planes = action_planes(config.action, self.actions, action, shape)
        x = jnp.concatenate([latent, planes.astype(latent.dtype)], -1)
        layer = _convolution(config)
        if config.residual:
            x = layer("stem", "none")(x)
            x = activation(config.act)(x + latent.astype(x.dtype))
        else:
            x = layer("stem", config.act)(x)
        x = residual_blocks(layer, config.layers, config.act, x)
        return _ranged(config, x)


class LatentHeads(nn.Module):
    """Named numbers read from a latent; the last layers start at zero."""

    config: LatentConfig
    outputs: tuple[tuple[str, int], ...]

    @nn.compact
    def __call__(self, latent: jax.Array) -> dict[str, jax.Array]:
        config = self.config
        shared = {"act": config.act, "dtype": jnp.dtype(config.dtype)}
        found = {}
        for name, size in self.outputs:
            x = latent
            if config.form != "mlp":
                x = ConvLayer(config.planes, 1, name=f"{name}_planes", **shared)(x)
                x = x.reshape(x.shape[0], -1)
            for i in range(config.head_layers):
                x = Layer(config.head_units, name=f"{name}{i}", **shared)(x)
            # Zero: all values 0 and all actions alike, so that search begins unbiased.
            out = Layer(size, scale=0.0, dtype=shared["dtype"], name=name)
            found[name] = out(x).astype(jnp.float32)
        return found


def _ranged(config: LatentConfig, x: jax.Array) -> jax.Array:
    """Latents as they leave a net."""
    x = x.astype(jnp.float32)
    if not config.stretch:
        return x
    low, high = config.span
    return low + (high - low) * unit_range(x)


def _dense(config: LatentConfig, x: jax.Array) -> jax.Array:
    """Hidden layers and a linear one, inside a compact module."""
    dtype = jnp.dtype(config.dtype)
    for i in range(config.layers):
        x = Layer(config.units, config.act, config.norm, dtype=dtype, name=f"layer{i}")(
            x
        )
    return Layer(config.latent, dtype=dtype, name="out")(x).astype(jnp.float32)


def _convolution(config: LatentConfig, form: str = "plain", share: int = 1):
    """`(name, activation) -> layer` of 3x3 with `units / share` channels."""
    dtype = jnp.dtype(config.dtype)
    units = max(config.units // share, 1)
    return lambda name, act: ConvLayer(
        units,
        3,
        form,  # pyright: ignore[reportArgumentType]
        act=act,
        norm=config.norm,
        dtype=dtype,
        name=name,
    )


def _downsampled(config: LatentConfig, x: jax.Array) -> jax.Array:
    """96 pixels to 6: two strided convolutions and two averages, blocks in between."""
    first, second, third = config.downsample
    halve = lambda x: nn.avg_pool(x, (3, 3), (2, 2), "SAME")
    x = _convolution(config, "halve", 2)("down0", config.act)(x)
    x = residual_blocks(
        _convolution(config, share=2), first, config.act, x, "down0_block"
    )
    x = _convolution(config, "halve")("down1", config.act)(x)
    x = residual_blocks(_convolution(config), second, config.act, x, "down1_block")
    x = residual_blocks(
        _convolution(config), third, config.act, halve(x), "down2_block"
    )
    return halve(x)


def _single(module: LatentHeads) -> Net:
    ((name, _),) = module.outputs
    net = from_module(module)
    return Net(net.init, lambda params, x: net.apply(params, x)[name])
