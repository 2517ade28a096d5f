"""The state of an RSSM, and its form in replay."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.nodes import Node


class RSSMState(Node):
    """What the model believes; rows lead."""

    deter: jax.Array
    """h `[B, D]`, compute type."""
    stoch: jax.Array
    """z `[B, groups, classes]`, one-hot, compute type."""
    legal: jax.Array | None = None
    """bool `[B, A]`; None where the task has no such mask."""


def flat(stoch: jax.Array) -> jax.Array:
    """`[…, groups, classes]` to `[…, groups * classes]`."""
    return stoch.reshape(*stoch.shape[:-2], -1)


def pack(state: RSSMState) -> dict[str, jax.Array]:
    """The state as replay stores it: bfloat16 h, class indices of z."""
    kind = jnp.uint8 if state.stoch.shape[-1] <= 256 else jnp.int16
    return {
        "deter": state.deter.astype(jnp.bfloat16),
        "stoch": jnp.argmax(state.stoch, -1).astype(kind),
    }


def unpack(latent: dict[str, jax.Array], classes: int, dtype: str) -> RSSMState:
    """The state that was packed, h rounded to bfloat16, without `legal`."""
    return RSSMState(
        deter=latent["deter"].astype(dtype),
        stoch=jax.nn.one_hot(latent["stoch"], classes, dtype=dtype),
    )
