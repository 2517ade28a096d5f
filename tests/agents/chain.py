"""Records of a walk through three states, for tables of values."""

import jax.numpy as jnp

from wm.types import ArraySpec, Batch, EnvSpec, Index, TimeStep

SPEC = EnvSpec(ArraySpec((), "int32", 4), ArraySpec((), "int32", 1), name="chain")


def passed() -> Batch:
    """0 → 1 → 2 → end (state 3), one action, reward 1 at the end; `[1, 4]`."""
    number = jnp.arange(4)[None]
    last = number == 3
    timestep = TimeStep(
        observation=number,
        reward=last.astype(jnp.float32),
        discount=1.0 - last,
        is_first=number == 0,
        is_last=last,
    )
    action = jnp.zeros((1, 4), jnp.int32)
    return Batch(timestep, action, {}, Index(0 * number, number), jnp.ones(1))
