"""Running scales of returns and observations. Configuration objects, array states.

States are float32 and are updated with what is seen now *before* they are used.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.nodes import Node


class PercentileState(Node):
    """Averaged percentiles; f32 `[]` each."""

    low: jax.Array
    high: jax.Array


@dataclasses.dataclass(frozen=True)
class PercentileScale:
    """Scale of returns: the averaged distance of two percentiles, at least `floor`.

    The average starts at 0 and is not bias-corrected, so the scale grows into its
    value over 1 / rate updates.

    Source: Hafner et al. 2025 (DreamerV3), Eq. 7.
    """

    rate: float = 0.01
    """Share of the new percentiles per update (DreamerV3: 0.01)."""
    low: float = 5.0
    """Lower percentile, in percent (DreamerV3: 5)."""
    high: float = 95.0
    """Upper percentile, in percent (DreamerV3: 95)."""
    floor: float = 1.0
    """Smallest scale, in task units: small returns are not blown up (DreamerV3: 1)."""

    def __post_init__(self):
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {self.rate}")
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(
                f"low, high must be percentiles in order, got {self.low}, {self.high}"
            )

    def init(self) -> PercentileState:
        """Both percentiles 0."""
        return PercentileState(low=jnp.zeros(()), high=jnp.zeros(()))

    def update(self, state: PercentileState, x: jax.Array) -> PercentileState:
        """State after seeing all of `x`, any shape; no gradient passes."""
        x = jax.lax.stop_gradient(x.astype(jnp.float32))
        low, high = jnp.percentile(x, jnp.array([self.low, self.high]))
        return PercentileState(
            low=(1 - self.rate) * state.low + self.rate * low,
            high=(1 - self.rate) * state.high + self.rate * high,
        )

    def scale(self, state: PercentileState) -> jax.Array:
        """What to divide by, f32 `[]`."""
        return jnp.maximum(self.floor, state.high - state.low)


class MomentsState(Node):
    """Mean and summed squared deviations of what was seen; f32."""

    count: jax.Array
    """f32 `[]`."""
    mean: jax.Array
    """`[*shape]`."""
    squares: jax.Array
    """`[*shape]`, Σ (x − mean)²."""


@dataclasses.dataclass(frozen=True)
class RunningMoments:
    """Mean and standard deviation of everything seen, exact for any batching.

    Source: Chan, Golub & LeVeque 1983, pairwise update of mean and squares.
    """

    shape: tuple[int, ...] = ()
    """Shape of one element; leading axes are averaged over."""
    epsilon: float = 1e-6
    """Smallest standard deviation, in the data's unit."""

    def init(self) -> MomentsState:
        """Nothing seen: mean 0, and std 1 until two elements are."""
        zeros = jnp.zeros(self.shape)
        return MomentsState(count=jnp.zeros(()), mean=zeros, squares=zeros)

    def update(
        self, state: MomentsState, x: jax.Array, mask: jax.Array | None = None
    ) -> MomentsState:
        """State after seeing `x` `[…, *shape]`; rows where `mask` `[…]` is false do
        not count. No gradient passes."""
        x = jax.lax.stop_gradient(x.astype(jnp.float32))
        rows = x.shape[: x.ndim - len(self.shape)]
        counted = jnp.ones(rows) if mask is None else mask.astype(jnp.float32)
        weight = counted.reshape(*rows, *(1,) * len(self.shape))
        axes = tuple(range(len(rows)))
        count = counted.sum()
        mean = (weight * x).sum(axes) / jnp.maximum(count, 1)
        squares = (weight * jnp.square(x - mean)).sum(axes)
        total = state.count + count
        share = count / jnp.maximum(total, 1)
        shift = mean - state.mean
        return MomentsState(
            count=total,
            mean=state.mean + shift * share,
            squares=state.squares + squares + jnp.square(shift) * state.count * share,
        )

    def std(self, state: MomentsState) -> jax.Array:
        """f32 `[*shape]`, at least `epsilon`; 1 until two elements were seen."""
        variance = state.squares / jnp.maximum(state.count, 1)
        std = jnp.maximum(jnp.sqrt(variance), self.epsilon)
        return jnp.where(state.count < 2, 1.0, std)

    def normalize(self, state: MomentsState, x: jax.Array) -> jax.Array:
        """(x − mean) / std, f32 `[…, *shape]`."""
        return (x.astype(jnp.float32) - state.mean) / self.std(state)
