"""Heads: an MLP and the raw parameters of a distribution, float32.

Where x is a tuple, its parts count as one vector. The caller forms the distribution
from `wm.ops`. Params of every head: `{"layer0":
{"kernel" [D, units], "bias", "scale"}, …, OUTPUT: {"kernel" [units, size], "bias"}}`,
where OUTPUT is "out", or "mean" and "stddev".
"""

from __future__ import annotations

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import norms
from wm.nets.mlp import Fan, Features, Layer, activation
from wm.nets.net import Net, from_module


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """Sizes of a head."""

    layers: int = 1
    """Hidden layers."""
    units: int = 1024
    """Width of each."""
    outscale: float = 1.0
    """Factor on the initial output kernel (DreamerV3: 0 for reward and value, 0.01 for
    the policy)."""
    act: str = "silu"
    """Activation of the hidden layers."""
    norm: norms.NormName = "rms"
    """Norm of the hidden layers."""
    bias: bool = True
    """Whether hidden layers have a bias."""
    fan: Fan = "in"
    """Initialisation rule, see `initializers.truncated_normal`."""
    dtype: str = "float32"
    """Compute type of the multiplications; parameters and outputs are float32."""

    def __post_init__(self):
        norms.check_norm(self.norm)
        activation(self.act)


def two_hot_head(config: HeadConfig, bins: int = 255) -> Net:
    """`apply(params, x […, D]) -> logits […, bins]` for `ops.transforms.TwoHot`."""
    return _single(config, (bins,))


def binary_head(config: HeadConfig) -> Net:
    """`apply(params, x […, D]) -> logit […]` of a Bernoulli."""
    return _single(config, ())


def categorical_head(
    config: HeadConfig, classes: int, shape: tuple[int, ...] = ()
) -> Net:
    """`apply(params, x […, D]) -> logits […, *shape, classes]`."""
    return _single(config, (*shape, classes))


def mean_head(config: HeadConfig, shape: tuple[int, ...] = ()) -> Net:
    """`apply(params, x […, D]) -> prediction […, *shape]`, for squared errors."""
    return _single(config, shape)


def normal_head(config: HeadConfig, shape: tuple[int, ...]) -> Net:
    """`apply(params, x […, D]) -> (mean, stddev)`, each `[…, *shape]` and unbounded.

    How they are bounded belongs to the distribution (DreamerV3: tanh of the mean,
    0.9 sigmoid(stddev + 2) + 0.1). Two output layers, so that clipping by tensor sees
    two tensors.
    """
    net = from_module(Head(config, (("mean", shape), ("stddev", shape))))

    def apply(params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs = net.apply(params, x)
        return outputs["mean"], outputs["stddev"]

    return Net(net.init, apply)


def _single(config: HeadConfig, shape: tuple[int, ...]) -> Net:
    net = from_module(Head(config, (("out", shape),)))
    return Net(net.init, lambda params, x: net.apply(params, x)["out"])


class Head(nn.Module):
    """MLP and named output layers of given shapes."""

    config: HeadConfig
    outputs: tuple[tuple[str, tuple[int, ...]], ...]

    @nn.compact
    def __call__(self, x: Features) -> dict[str, jax.Array]:
        config = self.config
        hidden = {name: getattr(config, name) for name in ("act", "norm", "bias")}
        shared = {"fan": config.fan, "dtype": jnp.dtype(config.dtype)}
        for i in range(config.layers):
            x = Layer(config.units, **hidden, **shared, name=f"layer{i}")(x)
        outputs = {}
        for name, shape in self.outputs:
            layer = Layer(math.prod(shape), scale=config.outscale, **shared, name=name)
            y = layer(x).astype(jnp.float32)
            outputs[name] = y.reshape(*y.shape[:-1], *shape)
        return outputs
