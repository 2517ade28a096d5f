"""Nets of a model that tells its chance apart: what they add to `nets.latent`.

Source: Antonoglou et al. 2022, section 4.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets.conv_layer import ConvLayer
from wm.nets.latent import Dynamics, LatentConfig, LatentHeads, Representation
from wm.nets.mlp import Layer
from wm.nets.net import Net, from_module


class ChanceNets(NamedTuple):
    """Built by `chance_nets`."""

    dynamics: Net
    """`(params, afterstate, code f32 [B, M]) -> latent`."""
    heads: Net
    """`(params, afterstate) -> {"chance" [B, M], "value" [B, bins]}`, logits."""
    encode: Net
    """`(params, x) -> f32 [B, M]`; x is what was seen before and after the chance."""


def chance_nets(config: LatentConfig, codes: int, value_bins: int) -> ChanceNets:
    """Nets for `codes` outcomes."""
    heads = (("chance", codes), ("value", value_bins))
    return ChanceNets(
        dynamics=from_module(Dynamics(config, codes)),
        heads=from_module(LatentHeads(config, heads)),
        encode=from_module(Encoder(config, codes)),
    )


class Encoder(nn.Module):
    """What was seen to how much it looks like each code.

    Normed over the batch (only learning reads codes): each of them then is the most
    alike somewhere. Without, one code soon is so everywhere, and is pulled to 1.
    """

    config: LatentConfig
    codes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        x = Representation(config, name="trunk")(x)
        if config.form != "mlp":
            x = ConvLayer(config.planes, 1, act=config.act, dtype=dtype, name="planes")(
                x
            )
            x = x.reshape(x.shape[0], -1)
        x = Layer(self.codes, norm="batch", dtype=dtype, name="code")(x)
        return x.astype(jnp.float32)
