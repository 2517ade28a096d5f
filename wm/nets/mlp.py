"""Dense and block-diagonal layers, and stacks of them."""

from __future__ import annotations

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import initializers, norms
from wm.nets.net import Net, from_module
from wm.nets.products import block_matmul, matmul

Fan = Literal["in", "average"]
Features = jax.Array | tuple[jax.Array, ...]
"""`[…, D]`, or parts that count as their concatenation and are never copied into one:
for [h, z] of an imagined batch the copy takes longer than the product."""
_ACTIVATIONS = ("silu", "elu", "relu", "gelu", "tanh", "sigmoid", "none")


def mlp(
    layers: int,
    units: int,
    act: str = "silu",
    norm: norms.NormName = "rms",
    out: int | None = None,
    outscale: float = 1.0,
    bias: bool = True,
    fan: Fan = "in",
    dtype: str = "float32",
) -> Net:
    """`layers` times (dense, norm, activation), then a dense output if `out` is set.

    `apply(params, x […, D]) -> […, out or units]`, in `dtype`; with `out` in float32.
    Params: `{"layer0": {"kernel" [D, units], "bias" [units], "scale" [units]}, …,
    "out": {"kernel" [units, out], "bias" [out]}}`.

    Args:
      layers: hidden layers; 0 leaves the output layer alone.
      units: width of each.
      act: silu, elu, relu, gelu, tanh, sigmoid or none.
      norm: rms, layer or none.
      out: width of the output layer, which has neither norm nor activation.
      outscale: factor on the output kernel's initial values.
      bias: whether hidden layers have one.
      fan: initialisation rule, see `initializers.truncated_normal`.
      dtype: compute type; parameters are float32.
    """
    norms.check_norm(norm)
    activation(act)
    return from_module(
        Mlp(layers, units, act, norm, out, outscale, bias, fan, jnp.dtype(dtype))
    )


def dense(
    out: int, outscale: float = 1.0, bias: bool = True, dtype: str = "float32"
) -> Net:
    """One affine layer. Params: `{"kernel" [D, out], "bias" [out]}`."""
    return from_module(
        Layer(out, bias=bias, scale=outscale, dtype=jnp.dtype(dtype)),
    )


def block_dense(out: int, blocks: int = 8, dtype: str = "float32") -> Net:
    """One affine layer whose kernel is block diagonal.

    `apply(params, x […, D]) -> […, out]`, features block-major.
    Params: `{"kernel" [blocks, D / blocks, out / blocks], "bias" [out]}`.
    """
    return from_module(Layer(out, blocks=blocks, dtype=jnp.dtype(dtype)))


class Mlp(nn.Module):
    """See `mlp`."""

    layers: int
    units: int
    act: str = "silu"
    norm: norms.NormName = "rms"
    out: int | None = None
    outscale: float = 1.0
    bias: bool = True
    fan: Fan = "in"
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = {"act": self.act, "norm": self.norm, "bias": self.bias}
        shared = {"fan": self.fan, "dtype": self.dtype}
        for i in range(self.layers):
            x = Layer(self.units, **hidden, **shared, name=f"layer{i}")(x)
        if self.out is None:
            return x
        x = Layer(self.out, scale=self.outscale, **shared, name="out")(x)
        return x.astype(jnp.float32)


class Layer(nn.Module):
    """Dense or block-diagonal kernel, bias, norm, activation; one flat dict of leaves.

    `{"kernel" [D, units] or [blocks, D/blocks, units/blocks], "bias" [units],
    "scale" [units], "shift" [units]}`, the last two as the norm has them. The norm is
    over all features, whatever the blocks.
    """

    units: int
    act: str = "none"
    norm: norms.AnyNorm = "none"
    bias: bool = True
    blocks: int = 0
    scale: float = 1.0
    fan: Fan = "in"
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(self, x: Features) -> jax.Array:
        parts = [part.astype(self.dtype) for part in _parts(x)]
        init = initializers.truncated_normal(self.scale, self.fan)
        if self.blocks:
            (rows,) = parts
            inputs = rows.shape[-1] // self.blocks
            shape = (self.blocks, inputs, self.units // self.blocks)
            kernel = self.param("kernel", init, shape).astype(self.dtype)
            x = block_matmul(rows, kernel)
        else:
            width = sum(part.shape[-1] for part in parts)
            kernel = self.param("kernel", init, (width, self.units))
            x = _product(parts, kernel.astype(self.dtype))
        return owned_bias_norm_act(self, x)


def _parts(x: Features) -> tuple[jax.Array, ...]:
    return x if isinstance(x, tuple) else (x,)


def _product(parts: list[jax.Array], kernel: jax.Array) -> jax.Array:
    """Concatenation of `parts` `[…, D_i]` times `kernel` `[sum D_i, O]`."""
    products, start = [], 0
    for part in parts:
        stop = start + part.shape[-1]
        products.append(matmul(part, kernel[start:stop]))
        start = stop
    return functools.reduce(jnp.add, products)


def owned_bias_norm_act(module, x: jax.Array) -> jax.Array:
    """What follows a linear map; reads `bias`, `norm`, `act`, `dtype` of `module`."""
    if module.bias:
        bias = module.param("bias", initializers.zeros, (x.shape[-1],))
        x = x + bias.astype(module.dtype)
    x = norms.owned_norm(module, module.norm, x)
    return activation(module.act)(x)


def activation(name: str):
    """The function called `name`.

    Raises:
      ValueError: no such activation.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(f"act must be one of {', '.join(_ACTIVATIONS)}, got {name!r}")
    special = {"none": lambda x: x, "tanh": jnp.tanh, "silu": silu}
    return special.get(name) or getattr(jax.nn, name)


def silu(x: jax.Array) -> jax.Array:
    """x times its logistic function.

    On a CPU by way of tanh, which XLA computes faster than exp: networks of 4 x 200 on
    5 x 1600 rows 24.4 ms instead of 27.5 (benchmarks/pets.py).
    """
    if jax.default_backend() != "cpu":
        return jax.nn.silu(x)
    return 0.5 * x * (1 + jnp.tanh(0.5 * x))
