"""Imitation: a policy is fitted to the actions of an expert in the states it visits.

With states of the expert's own rollouts that is cloning. DAgger lets the policy act,
asks the expert what it would have done there, and fits to all of it again: the agent
stores both actions, here only `extras["expert"]` is read.

Sources: Ross, Gordon & Bagnell 2011 (DAgger); Nagabandi et al. 2018 (MB-MF), section V.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.errors import UserError
from wm.ops.passes import passes, passes_for, shuffled
from wm.ops.trees import flatten_batch
from wm.types import Dataset, Key, Metrics, Tree


@dataclasses.dataclass(frozen=True)
class ImitationConfig:
    """How a policy is fitted. Defaults: MB-MF, half-cheetah, code."""

    learning_rate: float = 1e-3
    """Of Adam (1e-3)."""
    batch_size: int = 512
    """States per step (512)."""
    epochs: int = 300
    """Passes over the data per fit (swimmer 70, half-cheetah 300, hopper and ant
    200)."""
    steps: int | None = None
    """Pass until so many steps are made, whatever `epochs` says."""

    def __post_init__(self):
        for name in ("learning_rate", "batch_size", "epochs", "steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(
                    f"--agent.imitation.{name} must be above 0, got {value}"
                )


class Demonstrations(NamedTuple):
    """What the expert does where; N slots, some of them empty."""

    observation: Tree
    """Leaves `[N, …]`."""
    action: jax.Array
    """f32 `[N, F]`, the expert's."""
    order: jax.Array
    """i32 `[N]`: the first `count` are the slots that hold something."""
    count: jax.Array
    """i32."""


def demonstrations(dataset: Dataset, mask: jax.Array) -> Demonstrations:
    """Stored steps with `extras["expert"]`, where `mask` bool `[rows, slots]`."""
    kept = (dataset.mask & mask).reshape(-1)
    return Demonstrations(
        observation=flatten_batch(dataset.steps.timestep.observation),
        action=flatten_batch(dataset.steps.extras["expert"]),
        order=jnp.argsort(~kept, stable=True).astype(jnp.int32),
        count=kept.sum(dtype=jnp.int32),
    )


def optimizer(config: ImitationConfig) -> optax.GradientTransformation:
    """Adam; the state outlives fits (warm start)."""
    return optax.adam(config.learning_rate)


def fit(
    config: ImitationConfig,
    act: Callable[[Tree, Tree], jax.Array],
    params: Tree,
    optimizer_state: Tree,
    key: Key,
    data: Demonstrations,
) -> tuple[Tree, Tree, Metrics]:
    """Fit what the policy does to what the expert does.

    Args:
      config: how.
      act: `(params, observation) -> action` `[B, F]`, the mean of a random policy.
      params: of the policy.
      optimizer_state: of `optimizer(config)` over `params`.
      key: consumed.
      data: without any nothing is learned.

    Returns:
      Parameters, the optimizer's state, and `behavior/imitation_loss`.
    """
    N, size = data.order.shape[0], config.batch_size
    per_pass = -(-data.count // size)
    count = passes_for(config.steps, config.epochs, per_pass)

    def begin(key):
        order = jnp.pad(shuffled(key, N, data.count), (0, size))

        def batch(i):
            at = data.order[jax.lax.dynamic_slice_in_dim(order, i * size, size)]
            weight = (i * size + jnp.arange(size) < data.count).astype(jnp.float32)
            seen = jax.tree.map(lambda x: x[at], data.observation)
            return seen, data.action[at], weight

        return batch

    def descended(params, batch):
        observation, action, weight = batch
        return loss(act(params, observation), action, weight)

    done = passes(
        descended,
        optimizer(config),
        params,
        optimizer_state,
        key,
        begin,
        per_pass,
        jnp.where(data.count > 0, count, 0),
    )
    return done.params, done.optimizer, {"behavior/imitation_loss": done.loss}


def loss(action: jax.Array, expert: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean squared difference over entries, and over rows by weight.

    Args:
      action: `[B, F]`, of the policy.
      expert: `[B, F]`.
      weight: f32 `[B]`, 0 for rows that fill up a batch.
    """
    error = jnp.square(action - expert).mean(-1)
    return (error * weight).sum() / jnp.maximum(weight.sum(), 1)
