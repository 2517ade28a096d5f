"""Returns and lengths of finished episodes, kept on the device next to the loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.nodes import Node
from wm.types import TimeStep


class EpisodeStats(Node):
    """Running episodes per row, and sums over episodes finished since `clear`.

    Returns are undiscounted. A length counts transitions: records that are not
    `is_first`.
    """

    running_return: jax.Array
    """f32 `[B]`, of the episode under way, or of the one that just ended."""
    running_length: jax.Array
    """i32 `[B]`."""
    ended: jax.Array
    """bool `[B]`: the newest record was `is_last`; a frozen row is counted once."""
    last_return: jax.Array
    """f32 `[B]`, of the newest finished episode; NaN before the first."""
    last_length: jax.Array
    """i32 `[B]`, 0 before the first."""
    count: jax.Array
    """i32: episodes finished since `clear`."""
    return_mean: jax.Array
    """f32."""
    return_squares: jax.Array
    """f32, summed squared distances from that mean."""
    length_sum: jax.Array
    """i32."""


def init(batch: int) -> EpisodeStats:
    """Statistics of `batch` rows before their first record."""
    return EpisodeStats(
        running_return=jnp.zeros(batch, jnp.float32),
        running_length=jnp.zeros(batch, jnp.int32),
        ended=jnp.zeros(batch, bool),
        last_return=jnp.full(batch, jnp.nan, jnp.float32),
        last_length=jnp.zeros(batch, jnp.int32),
        count=jnp.zeros((), jnp.int32),
        return_mean=jnp.zeros((), jnp.float32),
        return_squares=jnp.zeros((), jnp.float32),
        length_sum=jnp.zeros((), jnp.int32),
    )


def update(stats: EpisodeStats, timestep: TimeStep) -> EpisodeStats:
    """Take in the next record of every row, `[B]`.

    Source: Chan, Golub & LeVeque 1983, pairwise update of mean and squares.
    """
    alive = ~timestep.is_first & ~(stats.ended & timestep.is_last)
    running_return = jnp.where(timestep.is_first, 0.0, stats.running_return)
    running_return = running_return + alive * timestep.reward
    running_length = jnp.where(timestep.is_first, 0, stats.running_length) + alive
    finished = timestep.is_last & alive
    new = jnp.sum(finished, dtype=jnp.int32)
    share = new / jnp.maximum(stats.count + new, 1)
    mean = jnp.sum(jnp.where(finished, running_return, 0.0)) / jnp.maximum(new, 1)
    shift = mean - stats.return_mean
    squares = jnp.sum(jnp.where(finished, (running_return - mean) ** 2, 0.0))
    return EpisodeStats(
        running_return=running_return,
        running_length=running_length,
        ended=timestep.is_last,
        last_return=jnp.where(finished, running_return, stats.last_return),
        last_length=jnp.where(finished, running_length, stats.last_length),
        count=stats.count + new,
        return_mean=stats.return_mean + share * shift,
        return_squares=stats.return_squares + squares + share * stats.count * shift**2,
        length_sum=stats.length_sum
        + jnp.sum(jnp.where(finished, running_length, 0), dtype=jnp.int32),
    )


def clear(stats: EpisodeStats) -> EpisodeStats:
    """Zero the sums; episodes under way and the last results stay."""
    return stats.replace(
        count=jnp.zeros_like(stats.count),
        return_mean=jnp.zeros_like(stats.return_mean),
        return_squares=jnp.zeros_like(stats.return_squares),
        length_sum=jnp.zeros_like(stats.length_sum),
    )


def summary(stats: EpisodeStats) -> dict[str, jax.Array]:
    """`episode/…` metrics since `clear`; NaN where no episode finished."""
    count = jnp.where(stats.count > 0, stats.count, jnp.nan).astype(jnp.float32)
    none = jnp.where(stats.count > 0, 0.0, jnp.nan)
    return {
        "episode/return": stats.return_mean + none,
        "episode/return_std": jnp.sqrt(stats.return_squares / count),
        "episode/length": stats.length_sum / count,
        "episode/count": stats.count,
    }
