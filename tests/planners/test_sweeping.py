"""Prioritized sweeping against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.models import table
from wm.planners import sweeping


def chain():
    """0 → 1 → 2 → end, one action, reward 1 at the end."""
    known = table.empty(4, 1)
    for state in range(3):
        last = state == 2
        arguments = (jnp.int32(state), jnp.int32(0), 1.0 * last, 1.0 - last)
        known = table.record(known, *arguments, jnp.int32(state + 1))
    return known


def test_one_reward_reaches_the_start_in_three_backups():
    known, q = chain(), jnp.zeros((4, 1))
    priority = jnp.zeros((4, 1)).at[2, 0].set(1.0)
    q, priority, made = sweeping.sweep(known, q, priority, 3, 1.0, 0.5, 1e-4)
    np.testing.assert_allclose(q[:, 0], [0.25, 0.5, 1.0, 0.0])
    assert made == 3
    assert (priority == 0).all()


def test_backups_stop_where_nothing_is_urgent():
    known, q = chain(), jnp.zeros((4, 1))
    priority = jnp.zeros((4, 1)).at[2, 0].set(1.0)
    # The start would gain 0.25, which is not above the threshold.
    q, priority, made = sweeping.sweep(known, q, priority, 9, 1.0, 0.5, 0.3)
    np.testing.assert_allclose(q[:, 0], [0.0, 0.5, 1.0, 0.0])
    assert made == 2


def test_of_two_priorities_the_larger_stays():
    known, q = chain(), jnp.zeros((4, 1))
    priority = jnp.full((4, 1), 0.7)
    raised = sweeping.queued(known, q, priority, 0.5, 1e-4)
    np.testing.assert_allclose(raised[:, 0], [0.7, 0.7, 1.0, 0.7])


def test_a_partial_backup_moves_by_its_rate():
    known, q = chain(), jnp.zeros((4, 1))
    priority = jnp.zeros((4, 1)).at[2, 0].set(1.0)
    q, _, _ = sweeping.sweep(known, q, priority, 1, 0.5, 0.5, 1e-4)
    np.testing.assert_allclose(q[:, 0], [0.0, 0.0, 0.5, 0.0])


def test_at_random_any_known_entry_is_backed_up():
    known, q = chain(), jnp.zeros((4, 1))
    nothing = jnp.zeros((4, 1))
    key = jax.random.key(0)
    q, _, made = sweeping.sweep(known, q, nothing, 40, 1.0, 0.5, 1e-4, key)
    np.testing.assert_allclose(q[:, 0], [0.25, 0.5, 1.0, 0.0])
    assert made == 40
