"""Recurrent cores: one step of state h from inputs."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import initializers, norms
from wm.nets.mlp import Fan, Layer, activation
from wm.nets.net import Net, from_module
from wm.nets.products import block_matmul, block_split, matmul, split_bias


def gru(units: int, fan: Fan = "in", dtype: str = "float32") -> Net:
    """Gated recurrent unit as in Keras (`reset_after=False`).

    r, u = sigmoid([x, h] W), c = tanh([x, r h] V), h' = u h + (1 - u) c.
    `apply(params, h […, units], x […, D]) -> h'`, in the type of h.
    Params: `{"gates": {"kernel" [D + units, 2 units], "bias"}, "candidate": {"kernel"
    [D + units, units], "bias"}}`, inputs in the order [x, h].

    Source: Cho et al. 2014, Eq. 5-8.
    """
    return from_module(Gru(units, fan, jnp.dtype(dtype)))


def norm_gru(
    units: int,
    norm: norms.NormName = "layer",
    update_bias: float = -1.0,
    fan: Fan = "in",
    dtype: str = "float32",
) -> Net:
    """Recurrent unit with one normalised kernel and a slow update gate.

    r, c, u = split(norm([h, x] W)), h' = u' tanh(sigmoid(r) c) + (1 - u') h with
    u' = sigmoid(u + update_bias).
    `apply(params, h […, units], x […, D]) -> h'`, in the type of h.
    Params: `{"gates": {"kernel" [units + D, 3 units], "scale", "shift"}}`, no bias
    where there is a norm, inputs in the order [h, x].

    Source: Hafner et al. 2021 and 2023 (DreamerV2 and the first DreamerV3), code.
    """
    norms.check_norm(norm)
    return from_module(NormGru(units, norm, update_bias, fan, jnp.dtype(dtype)))


def block_gru(
    deter: int,
    hidden: int,
    blocks: int = 8,
    layers: int = 1,
    act: str = "silu",
    norm: norms.NormName = "rms",
    dtype: str = "float32",
) -> Net:
    """The recurrent core of DreamerV3: h' from h, latent z and action a.

    Three layers read h, z and a (clipped to [-1, 1] by a / max(1, |a|)); their outputs
    stand behind every block's slice of h; block-diagonal layers; block-diagonal gates,
    split per block into r, c, u; h' = u' tanh(sigmoid(r) c) + (1 - u') h with
    u' = sigmoid(u - 1). What the blocks share is multiplied once, as one dense matrix.

    `apply(params, h […, deter], z […, Z], a […, A]) -> h' […, deter]`, in the type
    of h.
    Params, each layer `{"kernel", "bias", "scale"}`: `{"deter": [deter, hidden],
    "stoch": [Z, hidden], "action": [A, hidden], "hidden0": [blocks, deter / blocks +
    3 hidden, deter / blocks], …, "gates": [blocks, deter / blocks, 3 deter / blocks]
    without scale}`.

    Args:
      deter: size of h.
      hidden: width of the three input layers.
      blocks: divides `deter`.
      layers: block-diagonal hidden layers, at least one.
      act: activation of all layers.
      norm: norm of all layers but the gates, over all features.
      dtype: compute type of the multiplications; gates are float32.

    Raises:
      ValueError: `blocks` does not divide `deter`, or no layers.

    Source: Hafner et al. 2025, code of the authors.
    """
    if deter % blocks:
        raise ValueError(f"blocks must divide deter {deter}, got {blocks}")
    if layers < 1:
        raise ValueError(f"layers must be at least 1, got {layers}")
    norms.check_norm(norm)
    activation(act)
    return from_module(
        BlockGru(deter, hidden, blocks, layers, act, norm, jnp.dtype(dtype))
    )


class Gru(nn.Module):
    """See `gru`."""

    units: int
    fan: Fan
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, h: jax.Array, x: jax.Array) -> jax.Array:
        x = x.astype(h.dtype)
        shared = {"fan": self.fan, "dtype": self.dtype}
        gates = Layer(2 * self.units, act="sigmoid", **shared, name="gates")
        reset, update = jnp.split(gates(jnp.concatenate([x, h], -1)), 2, -1)
        candidate = Layer(self.units, act="tanh", **shared, name="candidate")
        candidate = candidate(jnp.concatenate([x, reset * h], -1))
        return (update * h + (1 - update) * candidate).astype(h.dtype)


class Lstm(nn.Module):
    """Long short-term memory: c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c').

    i, f, g, o = split([x, h] W + b); no offset of the forget gate, as in PyTorch.
    `((c, h) [..., units] each, x [..., D]) -> (c', h')`, float32. Params: `{"gates":
    {"kernel" [D + units, 4 units], "bias"}}`.

    Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate).
    """

    units: int
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(
        self, memory: tuple[jax.Array, jax.Array], x: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        c, h = memory
        both = jnp.concatenate([x.astype(h.dtype), h], -1)
        gates = Layer(4 * self.units, dtype=self.dtype, name="gates")(both)
        i, f, g, o = jnp.split(gates.astype(jnp.float32), 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return c, jax.nn.sigmoid(o) * jnp.tanh(c)


class NormGru(nn.Module):
    """See `norm_gru`."""

    units: int
    norm: norms.NormName
    update_bias: float
    fan: Fan
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, h: jax.Array, x: jax.Array) -> jax.Array:
        layer = Layer(
            3 * self.units,
            norm=self.norm,
            bias=self.norm == "none",
            fan=self.fan,
            dtype=self.dtype,
            name="gates",
        )
        gates = layer(jnp.concatenate([h, x.astype(h.dtype)], -1))
        reset, candidate, update = jnp.split(gates, 3, -1)
        return gated(h, reset, candidate, update + self.update_bias)


class BlockGru(nn.Module):
    """See `block_gru`."""

    deter: int
    hidden: int
    blocks: int
    layers: int
    act: str
    norm: norms.NormName
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, h: jax.Array, z: jax.Array, a: jax.Array) -> jax.Array:
        a = a / jax.lax.stop_gradient(jnp.maximum(1.0, jnp.abs(a)))
        shared = {"act": self.act, "norm": self.norm, "dtype": self.dtype}
        inputs = {"deter": h, "stoch": z, "action": a}
        x = [Layer(self.hidden, **shared, name=name)(x) for name, x in inputs.items()]
        x = jnp.concatenate(x, -1)
        x = BesideBlocks(self.deter, self.blocks, **shared, name="hidden0")(h, x)
        for i in range(1, self.layers):
            x = Layer(self.deter, blocks=self.blocks, **shared, name=f"hidden{i}")(x)
        gates = BlockGates(self.deter, self.blocks, self.dtype, name="gates")
        reset, candidate, update = gates(x)
        return gated(h, reset, candidate, update - 1)


class BlockGates(nn.Module):
    """Block-diagonal layer to three vectors `[…, units]`, split within each block.

    `{"kernel" [blocks, D / blocks, 3 units / blocks], "bias" [3 units]}`.
    """

    units: int
    blocks: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        shape = (self.blocks, x.shape[-1] // self.blocks, 3 * self.units // self.blocks)
        kernel = self.param("kernel", initializers.truncated_normal(), shape)
        bias = self.param("bias", initializers.zeros, (3 * self.units,))
        outputs = block_split(x.astype(self.dtype), kernel.astype(self.dtype), 3)
        biases = split_bias(bias.astype(self.dtype), self.blocks, 3)
        return [y + b for y, b in zip(outputs, biases, strict=True)]


class BesideBlocks(nn.Module):
    """Block-diagonal layer whose blocks read their slice of h and all of x.

    One kernel `[blocks, deter / blocks + X, deter / blocks]`; its lower rows, which all
    blocks apply to the same x, are one dense matrix `[X, deter]`.
    """

    units: int
    blocks: int
    act: str
    norm: norms.NormName
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, h: jax.Array, x: jax.Array) -> jax.Array:
        own, common = h.shape[-1] // self.blocks, x.shape[-1]
        shape = (self.blocks, own + common, self.units // self.blocks)
        kernel = self.param("kernel", initializers.truncated_normal(), shape)
        kernel = kernel.astype(self.dtype)
        shared = kernel[:, own:].swapaxes(0, 1).reshape(common, self.units)
        y = block_matmul(h.astype(self.dtype), kernel[:, :own])
        y = y + matmul(x.astype(self.dtype), shared)
        bias = self.param("bias", initializers.zeros, (self.units,))
        y = norms.owned_norm(self, self.norm, y + bias.astype(self.dtype))
        return activation(self.act)(y)


def gated(
    h: jax.Array, reset: jax.Array, candidate: jax.Array, update: jax.Array
) -> jax.Array:
    """h' = u tanh(sigmoid(reset) candidate) + (1 - u) h with u = sigmoid(update)."""
    reset, candidate, update = (
        x.astype(jnp.float32) for x in (reset, candidate, update)
    )
    update = jax.nn.sigmoid(update)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    return (update * candidate + (1 - update) * h).astype(h.dtype)
