"""Prioritized sweeping against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.models import counted, table
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


def gamble():
    """From 0 the only action leads to 1 three times of four, else ends with reward 2;
    from 1 it ends with reward 1."""
    known = counted.empty(2, 1)
    zero = jnp.int32(0)
    for following, reward in [(1, 0.0), (1, 0.0), (0, 2.0), (1, 0.0)]:
        lived = float(following == 1)
        known = counted.record(known, zero, zero, reward, lived, jnp.int32(following))
    return counted.record(known, jnp.int32(1), zero, 1.0, 0.0, zero)


def test_a_full_backup_takes_the_mean_over_what_followed():
    known, q = gamble(), jnp.zeros((2, 1))
    first = jnp.array([0.0, 1.0])
    q, priority, made = sweeping.sweep_states(known, q, first, 5, 0.5, 1e-4)
    # V(1) = 1; V(0) = 2 / 4 + 0.5 * 3 / 4 * V(1); the end of 0 leads nowhere.
    np.testing.assert_allclose(q[:, 0], [0.875, 1.0])
    assert made == 2
    assert (priority == 0).all()


def test_states_are_queued_by_chance_times_change():
    known, q = gamble(), jnp.zeros((2, 1))
    first = jnp.array([0.0, 1.0])
    _, priority, _ = sweeping.sweep_states(known, q, first, 1, 0.5, 1e-4)
    np.testing.assert_allclose(priority, [0.75, 0.0])
    _, priority, _ = sweeping.sweep_states(known, q, first, 1, 0.5, 0.8)
    np.testing.assert_allclose(priority, 0.0)


def test_actions_hardly_tried_are_worth_what_is_hoped():
    known, q = gamble(), jnp.zeros((2, 1))
    first = jnp.array([0.0, jnp.inf])
    q, _, _ = sweeping.sweep_states(known, q, first, 1, 0.5, 1e-4, 20.0, bored=2)
    assert q[1, 0] == 20.0


def test_the_largest_is_the_first_that_argmax_finds():
    """Ties and all; along both axes."""
    rank = np.random.default_rng(0).integers(0, 4, (50, 6, 5)).astype(np.float32)
    found = jax.vmap(sweeping.largest)(rank)
    np.testing.assert_array_equal(found, rank.reshape(50, -1).argmax(1))
    assert int(sweeping.largest(jnp.zeros(3))) == 0
