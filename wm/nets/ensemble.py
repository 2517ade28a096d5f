"""Members of an ensemble of MLPs side by side: one batched product per layer."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp

from wm.nets.mlp import activation
from wm.nets.net import Net, NetParams
from wm.types import Key


def ensemble_mlp(
    members: int, layers: int, units: int, out: int, act: str = "silu"
) -> Net:
    """E independent MLPs over data that is already dealt out to them.

    `init(key, x)` and `apply(params, x [E, B, D]) -> [E, B, out]`, float32. Params:
    `{"layer0": {"kernel" [E, D, units], "bias" [E, units]}, …, "out": …}`.
    Kernels begin as normals of std 1 / (2 sqrt(inputs)), cut at two of it; biases at 0
    (Chua et al. 2018, code).

    Args:
      members: E.
      layers: hidden layers.
      units: width of each.
      out: width of the output, which has no activation.
      act: see `mlp`.
    """
    names = [*(f"layer{i}" for i in range(layers)), "out"]
    function = activation(act)

    def init(key: Key, x: jax.Array) -> NetParams:
        widths = [x.shape[-1], *[units] * layers, out]
        keys = jax.random.split(key, len(names))
        return {
            name: layer(key_layer, members, *pair)
            for name, key_layer, pair in zip(
                names, keys, itertools.pairwise(widths), strict=True
            )
        }

    def through(product, params: NetParams, x: jax.Array) -> jax.Array:
        for name in names[:-1]:
            x = function(product(params[name], x))
        return product(params["out"], x)

    def apply(params: NetParams, x: jax.Array) -> jax.Array:
        if jax.default_backend() == "cpu" and x.shape[1] >= MANY:
            one = lambda member: through(dense, *member)
            return jax.lax.map(one, (params, x))
        return through(affine, params, x)

    return Net(init, apply)


MANY = 1024
"""Rows per member from which members go one after another on a CPU: what passes through
a member then stays in its cache. One core, 5 x 1400 rows, 3 layers of 200: 20.7 ms
instead of 23.8 (benchmarks/pets.py); with 256 rows there is no gain, and gradients are
slower."""


def layer(key: Key, members: int, inputs: int, outputs: int) -> NetParams:
    """Kernels and biases of one layer."""
    normal = jax.random.truncated_normal(key, -2.0, 2.0, (members, inputs, outputs))
    kernel = normal / (2 * jnp.sqrt(inputs))
    return {"kernel": kernel, "bias": jnp.zeros((members, outputs))}


def dense(params: NetParams, x: jax.Array) -> jax.Array:
    """x `[B, I]` times a kernel `[I, O]` plus biases."""
    return x @ params["kernel"] + params["bias"]


def affine(params: NetParams, x: jax.Array) -> jax.Array:
    """x `[E, B, I]` times kernels `[E, I, O]` plus biases."""
    # Members lead on both sides: no operand is transposed.
    product = jax.lax.dot_general(x, params["kernel"], (((2,), (1,)), ((0,), (0,))))
    return product + params["bias"][:, None]
