"""`wm/ops/returns.py` against hand-made tables and brute force in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.returns import (
    bootstrapped_return,
    gae,
    lambda_return,
    n_step_return,
    outcomes,
    replay_lambda_return,
)

TABLE = jnp.array([39.0, 33.05, 24.8725])[::-1]


def test_lambda_return_matches_hand_table():
    # Rewards (1, 2, 3), next values (20, 30, 40), gamma 0.9, lambda 0.5.
    rewards, values = jnp.array([1.0, 2.0, 3.0]), jnp.array([20.0, 30.0, 40.0])
    result = lambda_return(rewards, 0.9, values, 0.5)
    np.testing.assert_allclose(result, TABLE, rtol=1e-6)


def brute_lambda(reward, discount, value, lambda_):
    """Sum over all n-step returns, weighted by the product of lambdas."""
    T = len(reward)
    result = np.zeros_like(reward)
    for t in range(T):
        earned, alive, weight = 0.0, 1.0, 1.0
        for k in range(t, T):
            earned = earned + alive * reward[k]
            alive = alive * discount[k]
            n_step = earned + alive * value[k]
            keep = lambda_[k] if k < T - 1 else 0.0
            result[t] += weight * (1 - keep) * n_step
            weight = weight * keep
    return result


def test_lambda_return_matches_brute_force_with_varying_discount_and_lambda():
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(2, 9, 4))
    discount, lambda_ = rng.uniform(size=(2, 9, 4))
    discount[3, 1], discount[5, 2], lambda_[4, 3] = 0, -0.9, 0
    result = lambda_return(*map(jnp.asarray, (reward, discount, value, lambda_)))
    expected = brute_lambda(reward, discount, value, lambda_)
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_lambda_zero_is_one_step_and_lambda_one_is_monte_carlo():
    reward, value = jnp.array([1.0, 2.0, 4.0]), jnp.array([10.0, 20.0, 40.0])
    np.testing.assert_allclose(lambda_return(reward, 0.5, value, 0.0), [6, 12, 24])
    np.testing.assert_allclose(lambda_return(reward, 0.5, value, 1.0), [8, 14, 24])


def test_lambda_return_of_one_step_and_of_bfloat16_is_float32():
    one = jnp.array([1.0], jnp.bfloat16)
    result = lambda_return(one, 0.5, 2 * one, 0.9)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, [2.0])


def test_terminal_stops_and_truncation_bootstraps():
    # Five records; record 2 ends an episode. gamma 0.5, lambda 1.
    reward = jnp.array([9.0, 1, 2, 0, 4])[:, None]
    last = jnp.array([False, False, True, False, False])[:, None]
    boot = jnp.array([10.0, 20, 30, 40, 50])[:, None]
    ends = replay_lambda_return(reward, last, last, boot, 0.5, 1.0)
    # Record 1: 2. Record 0: 1 + 0.5 * 2. Record 3: 4 + 0.5 * 50.
    np.testing.assert_allclose(ends[:, 0], [2.0, 2.0, 14.5, 29.0])
    cut = replay_lambda_return(reward, last, jnp.zeros_like(last), boot, 0.5, 1.0)
    # Record 1: 2 + 0.5 * 30. Record 0: 1 + 0.5 * 17.
    np.testing.assert_allclose(cut[:, 0], [9.5, 17.0, 14.5, 29.0])


def test_lambda_return_gradient_reaches_values():
    reward, value = jnp.zeros(3), jnp.ones(3)
    gradient = jax.grad(lambda v: lambda_return(reward, 0.5, v, 0.5)[0])(value)
    # 0.5*0.5, then (0.5*0.5)*(0.5*0.5), then twice (0.5*0.5) and 0.5*(0.5+0.5).
    np.testing.assert_allclose(gradient, [0.25, 0.0625, 0.03125])


@pytest.mark.parametrize(
    ("num_steps", "expected"),
    [
        (1, [1 + 0.5 * 10, 2 + 0.5 * 20, 4 + 0.5 * 40]),
        (2, [1 + 0.5 * 2 + 0.25 * 20, 2 + 0.5 * 4 + 0.25 * 40, 4 + 0.5 * 40]),
        (9, [1 + 1 + 1 + 0.125 * 40, 2 + 2 + 0.25 * 40, 4 + 20]),
    ],
)
def test_n_step_return_matches_hand_table(num_steps, expected):
    reward, value = jnp.array([1.0, 2.0, 4.0]), jnp.array([10.0, 20.0, 40.0])
    np.testing.assert_allclose(n_step_return(reward, 0.5, value, num_steps), expected)


def test_n_step_return_stops_at_terminal():
    reward, value = jnp.array([1.0, 2.0, 4.0]), jnp.array([10.0, 20.0, 40.0])
    discount = jnp.array([0.5, 0.0, 0.5])
    result = n_step_return(reward, discount, value, 3)
    np.testing.assert_allclose(result, [2, 2, 24])


def test_n_step_return_rejects_zero_steps():
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        n_step_return(jnp.zeros(2), 0.9, jnp.zeros(2), 0)


def test_gae_truncation_keeps_bootstrap_and_terminal_does_not():
    # Records 0-3; the episode ends with record 2; lambda 0.5, gamma 1.
    reward, value = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 2.0, 3.0, 4.0])
    last = jnp.array([False, True, False])
    cut = gae(reward, 1.0, last, value, 0.5)
    # δ = (2, 3, 5); A_1 = 3; A_0 = 2 + 0.5 * 3; A_2 = 5.
    np.testing.assert_allclose(cut, [3.5, 3, 5])
    over = gae(reward, jnp.array([1.0, 0.0, 1.0]), last, value, 0.5)
    # δ_1 = 2 - 2 = 0.
    np.testing.assert_allclose(over, [2, 0, 5])


def test_gae_plus_value_is_lambda_return():
    rng = np.random.default_rng(1)
    reward, discount = jnp.asarray(rng.uniform(size=(2, 6, 3)), jnp.float32)
    value = jnp.asarray(rng.normal(size=(7, 3)), jnp.float32)
    result = gae(reward, discount, jnp.zeros((6, 3), bool), value, 0.7) + value[:-1]
    expected = lambda_return(reward, discount, value[1:], 0.7)
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_outcomes_turn_around_with_the_player_and_stop_at_episodes():
    """Two games in a window, by hand: won by the third mover; then one going on."""
    #            s0  s1  s2  end | s0  s1
    discount = [1, -1, -1, 0, 1, -1]
    reward = [0, 0, 0, 1, 0, 0]
    first = [1, 0, 0, 0, 1, 0]
    last = [0, 0, 0, 1, 0, 0]
    values, known = outcomes(*_columns(reward, discount, first, last))
    np.testing.assert_array_equal(values[:, 0], [1, -1, 1, 0, 0, 0])
    np.testing.assert_array_equal(known[:, 0], [1, 1, 1, 0, 0, 0])


def test_a_draw_is_an_outcome_and_a_truncation_is_none():
    discount = [1, -1, 0, 1, -1, -1]
    first, last = [1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 1]
    values, known = outcomes(*_columns([0] * 6, discount, first, last))
    np.testing.assert_array_equal(values, 0)
    np.testing.assert_array_equal(known[:, 0], [1, 1, 0, 0, 0, 0])


def test_an_episode_of_one_step_has_its_outcome():
    """Masks that begin with 1 - done of the first step lose such episodes."""
    values, known = outcomes(*_columns([0, -1], [1, 0], [1, 0], [0, 1]))
    np.testing.assert_array_equal(values[:, 0], [-1, 0])
    np.testing.assert_array_equal(known[:, 0], [1, 0])


def test_rewards_on_the_way_count_for_who_earned_them():
    """One player goes on after a capture worth 0.5, then the other wins 1."""
    columns = _columns([0, 0.5, 0, 1], [1, 1, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1])
    values, _ = outcomes(*columns)
    np.testing.assert_array_equal(values[:, 0], [0.5 - 1, -1, 1, 0])


def _columns(reward, discount, first, last):
    column = lambda x, dtype: jnp.asarray(x, dtype)[:, None]
    floats = (column(reward, jnp.float32), column(discount, jnp.float32))
    return *floats, column(first, bool), column(last, bool)


def test_bootstrapped_returns_stop_at_ends_by_hand():
    """Records 0 to 5; the third ends by a time limit, or for good. n = 2."""
    reward = jnp.array([0.0, 1.0, 2.0, 0.0, 4.0, 8.0])
    value = jnp.array([16.0, 16.0, 16.0, 32.0, 32.0, 32.0])
    last = jnp.arange(6) == 2
    ways = {"limit": (0.5, [1 + 1 + 4, 2 + 8, 16]), "end": (0.0, [1 + 1, 2, 0])}
    for discount, expected in ways.values():
        discounts = jnp.full(6, 0.5).at[2].set(discount)
        found = bootstrapped_return(reward, discounts, last, value, 2)
        np.testing.assert_allclose(found[:3], expected)
        np.testing.assert_allclose(found[3:], [4 + 4 + 8, 8 + 16, 32])
    signed = bootstrapped_return(reward, -jnp.ones(6), last, value, 1)
    np.testing.assert_allclose(signed[:2], [1 - 16, 2 - 16])
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        bootstrapped_return(reward, reward, last, value, 0)
