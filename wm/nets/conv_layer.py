"""The linen leaf around the convolutions of `conv` and `resample`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import initializers, norms
from wm.nets.conv import conv2d, conv_transpose2d
from wm.nets.mlp import Fan, activation, owned_bias_norm_act
from wm.nets.resample import conv_pool, upsample_conv

_FORMS = {
    "plain": lambda x, kernel: conv2d(x, kernel),
    "halve": lambda x, kernel: conv2d(x, kernel, stride=2),
    "double": lambda x, kernel: conv_transpose2d(x, kernel, stride=2),
    "pool": conv_pool,
    "upsample": upsample_conv,
}


class ConvLayer(nn.Module):
    """Convolution, bias, norm over channels, activation; one flat dict of leaves.

    `{"kernel" [k, k, I, O], "bias" [O], "scale" [O], "shift" [O]}`, the last two as the
    norm has them. `form` says how the size changes: "halve" and "double" by a stride,
    "pool" by a 2x2 maximum after, "upsample" by repeating pixels before. The bias
    commutes with the maximum, so it is added to the smaller array.
    """

    units: int
    size: int
    form: Literal["plain", "halve", "double", "pool", "upsample"] = "plain"
    act: str = "none"
    norm: norms.NormName = "none"
    bias: bool = True
    scale: float = 1.0
    fan: Fan = "in"
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(self.dtype)
        init = initializers.truncated_normal(self.scale, self.fan)
        shape = (self.size, self.size, x.shape[-1], self.units)
        kernel = self.param("kernel", init, shape).astype(self.dtype)
        return owned_bias_norm_act(self, _FORMS[self.form](x, kernel))


def residual_blocks(
    layer: Callable[[str, str], nn.Module],
    count: int,
    act: str,
    x: jax.Array,
    prefix: str = "block",
) -> jax.Array:
    """`count` times act(x + conv(act(conv(x)))), inside a compact module.

    Args:
      layer: `(name, activation) -> module` that keeps the channels of `x`.
      count: blocks of two layers, `{prefix}{i}_in` and `{prefix}{i}_out`.
      act: activation.
      x: `[B, H, W, C]`.
      prefix: of their names.

    Source: He et al. 2016.
    """
    for i in range(count):
        y = layer(f"{prefix}{i}_in", act)(x)
        x = activation(act)(x + layer(f"{prefix}{i}_out", "none")(y))
    return x
