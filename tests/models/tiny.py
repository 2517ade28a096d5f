"""The smallest RSSM and DreamerV3 that have every part."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.agents.dreamer_v3_config import Config
from wm.types import ArraySpec, Batch, EnvSpec, Index, TimeStep

SPEC = EnvSpec(ArraySpec((3,)), ArraySpec((), "int32", 4))
VECTOR_ACTION = EnvSpec(ArraySpec((3,)), ArraySpec((2,)))
CONFIG = Config(
    deter=8,
    hidden=6,
    groups=3,
    classes=4,
    blocks=2,
    units=8,
    vector_layers=1,
    prior_layers=1,
    actor_layers=1,
    critic_layers=1,
    bins=9,
    imagine_length=3,
    learning_rate=1e-3,
    warmup_steps=0,
)
N, L = 2, 6


def random_like(params, seed: int = 7):
    """Params without the zeros of fresh output layers."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return tree.unflatten(moved)


def fresh(model, seed: int = 0):
    """What `init` gives, by one program instead of one per operation and shape."""
    return jax.jit(model.init)(jax.random.key(seed))


def timesteps(key, *lead: int, legal: int = 0) -> TimeStep:
    """Random records of `SPEC` without any end."""
    return TimeStep(
        observation=jax.random.normal(key, (*lead, 3)),
        reward=jax.random.normal(jax.random.fold_in(key, 1), lead),
        discount=jnp.ones(lead),
        is_first=jnp.zeros(lead, bool),
        is_last=jnp.zeros(lead, bool),
        legal=jnp.ones((*lead, legal), bool) if legal else None,
    )


def batch(seed: int = 3) -> Batch:
    """Random sequences with a context step. Row 0 ends at 2 and restarts at 3."""
    keys = jax.random.split(jax.random.key(seed), 4)
    shape = (N, L + 1)
    timestep = timesteps(keys[0], *shape)
    timestep = timestep._replace(
        discount=timestep.discount.at[0, 2].set(0.0),
        is_last=timestep.is_last.at[0, 2].set(True),
        is_first=timestep.is_first.at[0, 3].set(True),
    )
    zeros = jnp.zeros(shape, jnp.int32)
    return Batch(
        timestep=timestep,
        action=jax.random.randint(keys[1], shape, 0, 4),
        extras={
            "latent": {
                "deter": jax.random.normal(keys[2], (*shape, 8)).astype(jnp.bfloat16),
                "stoch": jax.random.randint(keys[3], (*shape, 3), 0, 4).astype("uint8"),
            }
        },
        index=Index(zeros, zeros + jnp.arange(L + 1)),
        probability=jnp.ones(N),
    )
