"""Random changes of images that leave their meaning: shifts and brightness."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.types import Key


def random_shift(key: Key, image: jax.Array, pad: int) -> jax.Array:
    """Every row of `[N, …, H, W, C]` moved by up to `pad` pixels each way.

    Borders are repeated. All that stands between N and H (frames) moves alike.

    Source: Kostrikov et al. 2021 (DrQ): replicated padding, then a random crop.
    """
    N, (height, width) = image.shape[0], image.shape[-3:-1]
    top, left = jax.random.randint(key, (2, N), -pad, pad + 1)

    def moved(x, top, left):
        # Rows and columns of the padded image, read from the image itself.
        rows = jnp.clip(jnp.arange(height) + top, 0, height - 1)
        columns = jnp.clip(jnp.arange(width) + left, 0, width - 1)
        return jnp.take(jnp.take(x, rows, -3), columns, -2)

    return jax.vmap(moved)(image, top, left)


def random_intensity(key: Key, image: jax.Array, scale: float) -> jax.Array:
    """Every row of `[N, …]` times 1 + `scale` · clip(noise, -2, 2).

    Source: Schwarzer et al. 2021 (SPR), section 3.3: scale 0.05.
    """
    noise = jnp.clip(jax.random.normal(key, image.shape[:1]), -2.0, 2.0)
    factor = 1.0 + scale * noise
    return image * factor.reshape(-1, *[1] * (image.ndim - 1))
