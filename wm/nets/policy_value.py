"""One net for a policy and a value: what guides a search of board positions.

`residual` reads planes `[…, H, W, C]` as they are. Norms are over the channels of each
point, so nothing depends on the batch and a search of one row says the same as of many
(AlphaZero has batch norms, whose averages acting and learning would have to share).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import norms
from wm.nets.conv_layer import ConvLayer, residual_blocks
from wm.nets.mlp import Layer, activation
from wm.nets.net import Net, from_module

Form = Literal["mlp", "residual"]


@dataclasses.dataclass(frozen=True)
class PolicyValueConfig:
    """Sizes of the net. Defaults: pgx's example of AlphaZero."""

    form: Form = "residual"
    """residual (planes) or mlp (anything, flattened; small boards)."""
    layers: int = 6
    """Residual blocks of two convolutions (pgx 6, AlphaZero 19), or hidden layers."""
    units: int = 128
    """Channels (pgx 128, AlphaZero 256), or width."""
    kernel: int = 3
    """Side of the convolutions (3)."""
    value_units: int = 128
    """Width of the value's hidden layer, residual form (pgx 128, AlphaZero 256)."""
    act: str = "relu"
    """Activation (relu)."""
    norm: norms.NormName = "layer"
    """Norm behind every layer of the trunk (layer; pgx, AlphaZero batch norm)."""
    dtype: str = "float32"
    """Compute type; parameters and outputs are float32."""

    def __post_init__(self):
        norms.check_norm(self.norm)
        activation(self.act)
        if self.form not in get_args(Form):
            raise ValueError(f"form must be mlp or residual, got {self.form!r}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be float32 or bfloat16, got {self.dtype}")
        limits = {"layers": 0, "units": 1, "kernel": 1, "value_units": 1}
        for name, least in limits.items():
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    def widest(self, shape: tuple[int, ...]) -> int:
        """Elements of the widest activation of one observation of `shape`."""
        fields = math.prod(shape[:2]) if self.form == "residual" else 1
        return self.units * fields


def policy_value(config: PolicyValueConfig, rank: int, actions: int) -> Net:
    """`apply(params, x […, *shape]) -> (logits f32 […, A], value f32 […] in [-1, 1])`.

    Args:
      config: sizes.
      rank: axes of one observation; 3 (planes) for the residual form.
      actions: A.

    Raises:
      ValueError: the residual form, and observations that are no planes.
    """
    if config.form == "residual" and rank != 3:
        raise ValueError(
            f"form must be mlp for observations of rank {rank}, got residual"
        )
    net = from_module(PolicyValue(config, actions))

    def apply(params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        lead, shape = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
        logits, value = net.apply(params, x.reshape(math.prod(lead), *shape))
        return logits.reshape(*lead, actions), value.reshape(lead)

    return Net(net.init, apply)


class PolicyValue(nn.Module):
    """Rows `[B, …]` to logits `[B, A]` and values `[B]`."""

    config: PolicyValueConfig
    actions: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        config = self.config
        shared = {"norm": config.norm, "dtype": jnp.dtype(config.dtype)}
        last = {"dtype": jnp.dtype(config.dtype)}
        x = x.astype(config.dtype)
        flat = lambda x: x.reshape(x.shape[0], -1)
        if config.form == "mlp":
            x = flat(x)
            for i in range(config.layers):
                x = Layer(config.units, config.act, name=f"layer{i}", **shared)(x)
            policy = value = x
        else:
            x = self._tower(x, shared)
            # No norm: over one or two channels hardly anything would be left.
            plane = lambda units, name: flat(
                ConvLayer(units, 1, act=config.act, name=name, **last)(x)
            )
            policy, value = plane(2, "policy_planes"), plane(1, "value_plane")
            hidden = Layer(config.value_units, config.act, name="value_layer", **last)
            value = hidden(value)
        # Small, so that search begins with a nearly uniform prior.
        logits = Layer(self.actions, scale=0.1, name="policy", **last)(policy)
        value = Layer(1, scale=0.1, name="value", **last)(value)[:, 0]
        return logits.astype(jnp.float32), jnp.tanh(value.astype(jnp.float32))

    def _tower(self, x: jax.Array, shared: dict) -> jax.Array:
        """A convolution and residual blocks."""
        config = self.config
        layer = lambda name, act: ConvLayer(
            config.units, config.kernel, act=act, name=name, **shared
        )
        x = layer("stem", config.act)(x)
        return residual_blocks(layer, config.layers, config.act, x)
