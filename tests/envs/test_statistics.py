"""`wm.envs.statistics`: hand-counted returns and lengths."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.envs import statistics
from wm.types import TimeStep


def feed(stats, *records):
    """Records of one row: (reward, is_first, is_last)."""
    for reward, is_first, is_last in records:
        timestep = TimeStep(
            observation=jnp.zeros((1, 1)),
            reward=jnp.array([reward], jnp.float32),
            discount=jnp.ones(1),
            is_first=jnp.array([is_first]),
            is_last=jnp.array([is_last]),
        )
        stats = jax.jit(statistics.update)(stats, timestep)
    return stats


BEGIN, END = (0.0, True, False), (2.0, False, True)


def test_returns_and_lengths_of_two_episodes():
    stats = feed(
        statistics.init(1), BEGIN, (1.0, False, False), END, BEGIN, (5.0, False, True)
    )
    summary = statistics.summary(stats)
    assert summary["episode/count"] == 2
    assert summary["episode/return"] == (3.0 + 5.0) / 2
    assert summary["episode/return_std"] == 1.0
    assert summary["episode/length"] == (2 + 1) / 2
    assert stats.last_return[0] == 5.0
    assert stats.last_length[0] == 1


def test_an_episode_under_way_does_not_count_yet():
    stats = feed(statistics.init(1), BEGIN, (1.0, False, False))
    assert stats.count == 0
    assert stats.running_return[0] == 1.0
    assert np.isnan(statistics.summary(stats)["episode/return"])
    assert np.isnan(stats.last_return[0])


def test_clear_keeps_the_episode_under_way():
    stats = feed(statistics.init(1), BEGIN, END, BEGIN, (1.0, False, False))
    stats = feed(statistics.clear(stats), END)
    assert stats.count == 1
    assert stats.return_mean == 3.0
    assert stats.length_sum == 2


def test_a_frozen_row_is_counted_once():
    frozen = (0.0, False, True)
    stats = feed(statistics.init(1), BEGIN, END, frozen, frozen)
    assert stats.count == 1
    assert stats.return_mean == 2.0
    assert stats.length_sum == 1


def test_the_spread_of_large_returns_is_not_lost_to_rounding():
    returns = [10_000.0, 10_001.0, 10_002.0, 10_003.0]
    stats = statistics.init(1)
    for value in returns:
        stats = feed(stats, BEGIN, (value, False, True))
    summary = statistics.summary(stats)
    np.testing.assert_allclose(summary["episode/return"], np.mean(returns))
    np.testing.assert_allclose(summary["episode/return_std"], np.std(returns), 1e-4)
