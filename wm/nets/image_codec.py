"""Image halves of the codec: stages of convolutions that halve or double."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from wm.nets import norms
from wm.nets.codec_config import CodecConfig
from wm.nets.conv_layer import ConvLayer
from wm.nets.mlp import Layer, activation


class ImageEncoder(nn.Module):
    """uint8 `[N, H, W, C]` to `[N, h w c]`."""

    config: CodecConfig

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        config = self.config
        dtype = jnp.dtype(config.dtype)
        x = image.astype(dtype) / 255 - 0.5
        for i, depth in enumerate(config.depths):
            x = ConvLayer(
                depth,
                config.kernel,
                form="pool",
                act=config.act,
                norm=config.norm,
                dtype=dtype,
                name=f"stage{i}",
            )(x)
        return x.reshape(x.shape[0], -1)


class ImageDecoder(nn.Module):
    """h `[N, D]` and z `[N, Z]` to images `[N, H, W, C]` in [0, 1], float32."""

    shape: tuple[int, int, int]
    config: CodecConfig

    @nn.compact
    def __call__(self, h: jax.Array, z: jax.Array) -> jax.Array:
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        x = self.smallest(h, z)
        for i in reversed(range(len(config.depths) - 1)):
            x = ConvLayer(
                config.depths[i],
                config.kernel,
                form="upsample",
                act=config.act,
                norm=config.norm,
                dtype=dtype,
                name=f"stage{i}",
            )(x)
        x = ConvLayer(
            self.shape[-1],
            config.kernel,
            form="upsample",
            scale=config.outscale,
            dtype=dtype,
            name="out",
        )(x)
        return jax.nn.sigmoid(x).astype(jnp.float32)

    @nn.nowrap
    def smallest(self, h: jax.Array, z: jax.Array) -> jax.Array:
        """The image before the first doubling, `[N, h, w, c]`."""
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        factor = 2 ** len(config.depths)
        rows, columns = self.shape[0] // factor, self.shape[1] // factor
        size = rows * columns * config.depths[-1]
        own = Layer(size, blocks=config.blocks, dtype=dtype, name="deter")(h)
        # Features of a block are an image of its own; the blocks stack as channels.
        own = own.reshape(own.shape[0], config.blocks, rows, columns, -1)
        own = jnp.moveaxis(own, 1, 3).reshape(-1, rows, columns, config.depths[-1])
        x = Layer(
            2 * config.units,
            act=config.act,
            norm=config.norm,
            dtype=dtype,
            name="stoch0",
        )(z)
        x = Layer(size, dtype=dtype, name="stoch1")(x).reshape(own.shape)
        return activation(config.act)(norms.Norm(config.norm, name="norm")(own + x))
