"""What an ensemble learns from: transitions as inputs and targets of its networks."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.models.ensemble import Ensemble
from wm.types import Dataset, Params


class Data(NamedTuple):
    """Transitions of a pool; N slots, some of them empty."""

    x: jax.Array
    """f32 `[N, inputs]`, see `Ensemble.features`."""
    y: jax.Array
    """f32 `[N, outputs]`: `Ensemble.targets`, then the reward if learned."""
    order: jax.Array
    """i32 `[N]`: the first `count` are the slots that hold a transition."""
    count: jax.Array
    """i32."""
    weight: jax.Array | None = None
    """f32 `[N]`: how much each counts in the loss; alike if None. See `reweighted`."""


def data_of(model: Ensemble, dataset: Dataset) -> Data:
    """What can be learned from a buffer."""
    steps = dataset.steps
    after = jax.tree.map(lambda x: jnp.roll(x, -1, axis=1), steps.timestep)
    here = steps.timestep.observation
    x, y = pairs(model, here, steps.action, after.observation, after.reward)
    mask = dataset.mask.reshape(-1)
    return Data(
        x=x.reshape(-1, x.shape[-1]),
        y=y.reshape(-1, y.shape[-1]),
        order=jnp.argsort(~mask, stable=True).astype(jnp.int32),
        count=mask.sum(dtype=jnp.int32),
    )


def pairs(
    model: Ensemble,
    before: jax.Array,
    action: jax.Array,
    after: jax.Array,
    reward: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """What the networks see, and what they should say, `[…, inputs]`, `[…, outputs]`.

    Args:
      model: of which networks.
      before: observations `[…, D]`.
      action: `[…, F]`; clipped to [-1, 1], as `Ensemble.step` does.
      after: the observations that followed.
      reward: f32 `[…]`, earned by the action.
    """
    before = before.astype(jnp.float32)
    target = model.targets(before, after.astype(jnp.float32))
    if model.config.learn_reward:
        target = jnp.concatenate([target, reward[..., None]], -1)
    return model.features(before, jnp.clip(action, -1.0, 1.0)), target


def reweighted(data: Data, weight: jax.Array) -> Data:
    """Transitions that count as `weight` f32 `[N]` says, with a mean of 1."""
    filled = (
        jnp.zeros(weight.shape, bool)
        .at[data.order]
        .set(jnp.arange(weight.shape[0]) < data.count)
    )
    # Above 0, which marks rows that fill up a batch.
    weight = jnp.where(filled, jnp.maximum(weight, 1e-30), 0.0)
    return data._replace(weight=weight * data.count / weight.sum())


def nearness(data: Data, expert: jax.Array, sharpness: float) -> jax.Array:
    """exp(−c d), d the distance from the nearest row of an expert's trajectory.

    Args:
      data: of which every slot is weighed.
      expert: its features, `[M, inputs]`, as `Data.x`.
      sharpness: c per unit of distance; 0 weighs all alike.

    Returns:
      f32 `[N]`, for `reweighted`.

    Source: Lambert et al. 2020, re-weighting of the model's loss. Ours: the distance is
    to the nearest point, in features (sine and cosine of angles).
    """
    apart = jnp.linalg.norm(data.x[:, None] - expert[None], axis=-1)
    return jnp.exp(-sharpness * apart.min(1))


def statistics(model: Ensemble, data: Data) -> Params:
    """Means and standard deviations of the filled slots; of targets where wanted."""
    among_first = jnp.arange(data.order.shape[0]) < data.count
    filled = jnp.zeros_like(among_first).at[data.order].set(among_first)[:, None]
    count = jnp.maximum(data.count, 1)

    def moments(values):
        mean = jnp.where(filled, values, 0).sum(0) / count
        squares = jnp.where(filled, jnp.square(values - mean), 0)
        std = jnp.sqrt(squares.sum(0) / count)
        # Entries that never change: 1e-12 in the authors' float64.
        return mean, jnp.where(std < 1e-6, 1.0, std)

    input_mean, input_std = moments(data.x)
    mean, std = moments(data.y)
    if not model.config.normalize_targets:
        mean, std = jnp.zeros_like(mean), jnp.ones_like(std)
    names = ("input_mean", "input_std", "target_mean", "target_std")
    return dict(zip(names, (input_mean, input_std, mean, std), strict=True))
