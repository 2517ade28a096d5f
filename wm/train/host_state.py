"""What a run on the host keeps of a seed, and how it goes on after a restart."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from wm.envs import statistics
from wm.train.evaluate import seed_of
from wm.train.host_env import timestep_of
from wm.train.loop import TrainState
from wm.types import Key, TimeStep


@dataclasses.dataclass
class HostState:
    """One seed, mutable: what is on the device, and replay where it is not."""

    train: TrainState
    """`env` is empty; `buffer` too where replay is on the host."""
    replay: Any = None
    owes: bool = False
    """Whether the updates of the newest chunk are still to be made."""


def saved_env(env: Any) -> str | None:
    """The state of a `HostEnv` as text; None where it has none."""
    if not hasattr(env, "state"):
        return None
    return base64.b64encode(env.state()).decode()


def resumed(train: TrainState, env: Any, saved: str | None) -> TrainState:
    """The state with which a run goes on; `env` stands where it has to.

    Without a state to continue from, episodes begin anew, and where the environment
    can, others than those the run began with.
    """
    if saved is not None:
        env.restore(base64.b64decode(saved))
        return train
    if hasattr(env, "reseed"):
        env.reseed(seed_of(continuing_key(train.key, train.step)))
    return restarted(train, timestep_of(env.reset()))


def continuing_key(key: Key, step: Any) -> Key:
    """Of the episodes that a run continues with at `step`."""
    return jax.random.fold_in(jax.random.fold_in(key, 0xC0DE), step)


def restarted(train: TrainState, first: TimeStep) -> TrainState:
    """The state where the environments have begun new episodes."""
    first = jax.tree.map(jnp.array, first)
    # Copies: the two share a leaf, and a program that takes both consumes it once.
    stats = jax.tree.map(jnp.copy, statistics.update(train.stats, first))
    return train.replace(timestep=first, stats=stats)
