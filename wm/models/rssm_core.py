"""Recurrent cores of the RSSM, cut where the recurrence begins.

A core is h' = f(h, z, a). What reads only the action is `embed`, computed for a whole
sequence at once; what multiplies inside the loop is listed by `kernels`, so that the
loop may be given another way to multiply (`late_gradients.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wm.nets.mlp import activation, mlp
from wm.nets.net import NetParams
from wm.nets.norms import layer_norm, rms_norm
from wm.nets.products import block_matmul, matmul, split_bias
from wm.nets.recurrent import block_gru, gated, norm_gru
from wm.types import Key

_GATES = ("reset", "candidate", "update")

Linear = Callable[[str, jax.Array], jax.Array]
"""`linear(name, x)` multiplies `x` with the kernel of that name."""


class Core(NamedTuple):
    """One step of h, as pure functions over one dict of parameters."""

    init: Callable[[Key], NetParams]
    kernels: Callable[[NetParams], dict[str, jax.Array]]
    """The arrays that `step` multiplies with, in the compute type."""
    embed: Callable[[NetParams, jax.Array], jax.Array]
    """`(params, action […, A]) -> […, E]`."""
    step: Callable[[Linear, NetParams, jax.Array, jax.Array, jax.Array], jax.Array]
    """`(linear, params, h […, D], z […, Z], embedding […, E]) -> h'`."""


def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x `[…, I]` times a kernel `[I, O]`, or a block-diagonal one of rank 3."""
    return block_matmul(x, kernel) if kernel.ndim == 3 else matmul(x, kernel)


def finish(params: NetParams, x: jax.Array, act: str) -> jax.Array:
    """Bias, norm and activation of a layer of `wm.nets`, as far as it has them."""
    if "bias" in params:
        x = x + params["bias"].astype(x.dtype)
    if "shift" in params:
        x = layer_norm(x, params["scale"], params["shift"])
    elif "scale" in params:
        x = rms_norm(x, params["scale"])
    return activation(act)(x)


def block_core(config: Any, actions: int) -> Core:
    """The block-diagonal core of `wm.nets.recurrent.block_gru`, same parameters.

    Args:
      config: has `deter`, `hidden`, `groups`, `classes`, `blocks`, `act`, `norm` and
        `dtype`.
      actions: size A of an action vector.

    Source: Hafner et al. 2025, code of the authors.
    """
    dtype, blocks = jnp.dtype(config.dtype), config.blocks
    net = block_gru(
        config.deter,
        config.hidden,
        blocks,
        act=config.act,
        norm=config.norm,
        dtype=config.dtype,
    )

    def init(key: Key) -> NetParams:
        return net.init(key, *_examples(config, actions))

    def kernels(params: NetParams) -> dict[str, jax.Array]:
        cast = {name: layer["kernel"].astype(dtype) for name, layer in params.items()}
        hidden = cast["hidden0"]
        own = config.deter // blocks
        common = hidden[:, own:].swapaxes(0, 1).reshape(-1, config.deter)
        return {
            "deter": cast["deter"],
            "stoch": cast["stoch"],
            "own": hidden[:, :own],
            "common": common,
        } | dict(zip(_GATES, jnp.split(cast["gates"], 3, -1), strict=True))

    def embed(params: NetParams, action: jax.Array) -> jax.Array:
        bound = jax.lax.stop_gradient(jnp.maximum(1.0, jnp.abs(action)))
        x = (action / bound).astype(dtype)
        x = matmul(x, params["action"]["kernel"].astype(dtype))
        return finish(params["action"], x, config.act)

    def step(linear, params, h, z, embedding) -> jax.Array:
        h = h.astype(dtype)
        read_h = finish(params["deter"], linear("deter", h), config.act)
        read_z = finish(params["stoch"], linear("stoch", z.astype(dtype)), config.act)
        common = jnp.concatenate([read_h, read_z, embedding], -1)
        x = linear("own", h) + linear("common", common)
        x = finish(params["hidden0"], x, config.act)
        biases = split_bias(params["gates"]["bias"].astype(dtype), blocks, 3)
        reset, candidate, update = (
            linear(name, x) + bias for name, bias in zip(_GATES, biases, strict=True)
        )
        return gated(h, reset, candidate, update - 1)

    return Core(init, kernels, embed, step)


def norm_core(config: Any, actions: int) -> Core:
    """One dense layer on [z, a], then the dense cell of `wm.nets.recurrent.norm_gru`.

    Args:
      config: as for `block_core`; `blocks` is ignored.
      actions: size A of an action vector.

    Source: Hafner et al. 2023, code of 8fa35f8 (`RSSM`, `gru_layers`).
    """
    dtype = jnp.dtype(config.dtype)
    inputs = mlp(
        1, config.hidden, act=config.act, norm=config.norm, bias=False, fan="average"
    )
    cell = norm_gru(config.deter, norm=config.norm, fan="average")
    latent = config.groups * config.classes

    def init(key: Key) -> NetParams:
        key_inputs, key_cell = jax.random.split(key)
        h, _, _ = _examples(config, actions)
        x = jax.ShapeDtypeStruct((1, latent + actions), h.dtype)
        hidden = jax.ShapeDtypeStruct((1, config.hidden), h.dtype)
        return {
            "inputs": inputs.init(key_inputs, x)["layer0"],
            "gates": cell.init(key_cell, h, hidden)["gates"],
        }

    def kernels(params: NetParams) -> dict[str, jax.Array]:
        return {
            "stoch": params["inputs"]["kernel"][:latent].astype(dtype),
            "gates": params["gates"]["kernel"].astype(dtype),
        }

    def embed(params: NetParams, action: jax.Array) -> jax.Array:
        bound = jax.lax.stop_gradient(jnp.maximum(1.0, jnp.abs(action)))
        kernel = params["inputs"]["kernel"][latent:].astype(dtype)
        return matmul((action / bound).astype(dtype), kernel)

    def step(linear, params, h, z, embedding) -> jax.Array:
        x = linear("stoch", z.astype(dtype)) + embedding
        x = finish(params["inputs"], x, config.act)
        x = linear("gates", jnp.concatenate([h.astype(dtype), x], -1))
        x = finish(params["gates"], x, "none")
        reset, candidate, update = jnp.split(x, 3, -1)
        return gated(h, reset, candidate, update - 1)

    return Core(init, kernels, embed, step)


def _examples(config: Any, actions: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    sizes = (config.deter, config.groups * config.classes, actions)
    return tuple(jax.ShapeDtypeStruct((1, size), jnp.float32) for size in sizes)
