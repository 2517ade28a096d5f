"""Image codec of the first DreamerV3: strided and transposed 4x4 convolutions."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import norms
from wm.nets.conv_layer import ConvLayer
from wm.nets.mlp import Fan, Layer, activation
from wm.nets.net import Net, from_module


def strided_encoder(
    shape: tuple[int, int, int],
    depth: int = 32,
    smallest: int = 4,
    act: str = "silu",
    norm: norms.NormName = "layer",
    fan: Fan = "average",
    dtype: str = "float32",
) -> Net:
    """Stages of (4x4 convolution of stride 2, norm, activation), channels doubling.

    `apply(params, image uint8 […, H, W, C]) -> […, h w c]`; images enter as
    x / 255 - 0.5. Params: `{"stage0": {"kernel" [4, 4, C, depth], "scale", "shift"},
    …}`; no bias where there is a norm.

    Args:
      shape: of the image; its sides are `smallest` times a power of two.
      depth: channels of the first stage.
      smallest: shorter side of the last stage's output.
      act: activation.
      norm: over channels.
      fan: initialisation rule.
      dtype: compute type.

    Raises:
      ValueError: sides that halving does not bring to `smallest`.

    Source: Hafner et al. 2023 (arXiv version 1), Table B.1 and code.
    """
    activation(act)
    norms.check_norm(norm)
    stages = _stages(shape, smallest)
    return from_module(StridedEncoder(stages, depth, act, norm, fan, jnp.dtype(dtype)))


def strided_decoder(
    shape: tuple[int, int, int],
    depth: int = 32,
    smallest: int = 4,
    act: str = "silu",
    norm: norms.NormName = "layer",
    fan: Fan = "average",
    dtype: str = "float32",
) -> Net:
    """Mirror image of `strided_encoder`: a dense layer, then transposed convolutions.

    `apply(params, x […, D]) -> image […, H, W, C]`, float32, centred on 0.5 and not
    bounded. Params: `{"smallest": {"kernel" [D, h w c], "bias"}, "stage0": {"kernel"
    [4, 4, I, O], "scale", "shift"}, …, the last stage with "bias" and without norm}`.

    Raises:
      ValueError: as `strided_encoder`.

    Source: Hafner et al. 2023 (arXiv version 1), Table B.1 and code.
    """
    activation(act)
    norms.check_norm(norm)
    stages = _stages(shape, smallest)
    return from_module(
        StridedDecoder(shape, stages, depth, act, norm, fan, jnp.dtype(dtype))
    )


def _stages(shape: tuple[int, int, int], smallest: int) -> int:
    side, stages = min(shape[:2]), 0
    while side > smallest:
        side, stages = side // 2, stages + 1
    if side != smallest or stages == 0 or any(n % 2**stages for n in shape[:2]):
        raise ValueError(
            f"image {shape[0]}x{shape[1]} cannot be halved to {smallest} pixels; "
            "resize or pad the image"
        )
    return stages


class StridedEncoder(nn.Module):
    """See `strided_encoder`."""

    stages: int
    depth: int
    act: str
    norm: norms.NormName
    fan: Fan
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        x = image.astype(self.dtype) / 255 - 0.5
        for i in range(self.stages):
            x = ConvLayer(
                self.depth * 2**i,
                4,
                form="halve",
                act=self.act,
                norm=self.norm,
                bias=self.norm == "none",
                fan=self.fan,
                dtype=self.dtype,
                name=f"stage{i}",
            )(x)
        return x.reshape(*x.shape[:-3], -1)


class StridedDecoder(nn.Module):
    """See `strided_decoder`."""

    shape: tuple[int, int, int]
    stages: int
    depth: int
    act: str
    norm: norms.NormName
    fan: Fan
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        depth = self.depth * 2 ** (self.stages - 1)
        rows, columns = (side // 2**self.stages for side in self.shape[:2])
        shared = {"fan": self.fan, "dtype": self.dtype}
        lead = x.shape[:-1]
        x = Layer(rows * columns * depth, **shared, name="smallest")(x)
        x = x.reshape(*lead, rows, columns, depth)
        for i in range(self.stages - 1):
            x = ConvLayer(
                depth // 2 ** (i + 1),
                4,
                form="double",
                act=self.act,
                norm=self.norm,
                bias=self.norm == "none",
                **shared,
                name=f"stage{i}",
            )(x)
        last = f"stage{self.stages - 1}"
        x = ConvLayer(self.shape[-1], 4, form="double", **shared, name=last)(x)
        return x.astype(jnp.float32) + 0.5
