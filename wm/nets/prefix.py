"""Nets that EfficientZero adds to those of MuZero: value prefix and projections.

The prefix head reads one latent after another into an LSTM and says what has been
earned since it was last emptied; projections turn latents into the vectors whose
directions are compared (Chen & He 2021, SimSiam). The norm of the head is over
features, that of the projections over the batch: only a loss sees them.

Source: Ye et al. 2021, Appendix A.1, and YeWR/EfficientZero 468bb03,
config/atari/model.py.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets.conv_layer import ConvLayer
from wm.nets.latent import LatentConfig
from wm.nets.mlp import Layer
from wm.nets.net import Net, from_module
from wm.nets.norms import Norm
from wm.nets.recurrent import Lstm


class PrefixNets(NamedTuple):
    """Built by `prefix_nets`."""

    prefix: Net
    """`(params, (c, h) [B, M] each, latent) -> ((c, h), logits [B, bins])`."""
    project: Net
    """`(params, latent) -> [B, D]`."""
    predict: Net
    """`(params, [B, D]) -> [B, D]`: a projection guessed from another."""


def prefix_nets(
    config: LatentConfig, memory: int, bins: int, projection: int, bottleneck: int
) -> PrefixNets:
    """Nets for latents of `config`.

    Args:
      config: of latents and heads.
      memory: units of the LSTM.
      bins: of the prefix.
      projection: width of projections.
      bottleneck: width inside the predictor.
    """
    dtype = jnp.dtype(config.dtype)
    return PrefixNets(
        prefix=from_module(PrefixHead(config, memory, bins)),
        project=from_module(Projector(projection, config.act, dtype)),
        predict=from_module(Predictor(projection, bottleneck, config.act, dtype)),
    )


class PrefixHead(nn.Module):
    """One step of the LSTM, and what it says; the last layer starts at zero."""

    config: LatentConfig
    memory: int
    bins: int

    @nn.compact
    def __call__(
        self, memory: tuple[jax.Array, jax.Array], latent: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        config = self.config
        shared = {"act": config.act, "dtype": jnp.dtype(config.dtype)}
        x = latent
        if config.form != "mlp":
            x = ConvLayer(
                config.planes, 1, norm=config.norm, name="prefix_planes", **shared
            )(x)
            x = x.reshape(x.shape[0], -1)
        memory = Lstm(self.memory, shared["dtype"], name="lstm")(memory, x)
        x = nn.relu(Norm("layer", name="norm")(memory[1]))
        for i in range(config.head_layers):
            x = Layer(config.head_units, name=f"layer{i}", **shared)(x)
        x = Layer(self.bins, scale=0.0, dtype=shared["dtype"], name="out")(x)
        return memory, x.astype(jnp.float32)


class Projector(nn.Module):
    """Three layers, each with a norm over the batch; the last without activation.

    The norm keeps the projections of different observations apart. With one over
    features, all become the same vector, which agrees with itself: the cosine of
    different observations was 0.999 then, and is 0.00 so.
    """

    units: int
    act: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, latent: jax.Array) -> jax.Array:
        x = latent.reshape(latent.shape[0], -1)
        shared = {"norm": "batch", "dtype": self.dtype}
        for i in range(2):
            x = Layer(self.units, self.act, name=f"layer{i}", **shared)(x)
        return Layer(self.units, name="out", **shared)(x).astype(jnp.float32)


class Predictor(nn.Module):
    """Two layers with a narrow one between."""

    units: int
    bottleneck: int
    act: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Layer(self.bottleneck, self.act, "batch", dtype=self.dtype, name="layer0")(
            x
        )
        return Layer(self.units, dtype=self.dtype, name="out")(x).astype(jnp.float32)
