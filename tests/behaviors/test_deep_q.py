"""Targets, losses and exploration of DQN, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.behaviors import deep_q

Q = jnp.array([[1.0, 5.0, 3.0]])
CHOOSER = jnp.array([[0.0, 1.0, 2.0]])
LEGAL = jnp.array([[True, False, True]])


def test_double_q_values_the_action_that_the_other_net_chose():
    np.testing.assert_allclose(deep_q.bootstrap(Q, None, None), [5.0])
    np.testing.assert_allclose(deep_q.bootstrap(Q, CHOOSER, None), [3.0])
    np.testing.assert_allclose(deep_q.bootstrap(Q, None, LEGAL), [3.0])


def one_step(discount, last):
    """r = 2, γ = 0.9, v = 10."""
    arrays = [2.0], [0.9 * discount], [last], [10.0]
    return float(deep_q.target(*(jnp.array(x)[:, None] for x in arrays))[0])


def test_the_target_asks_the_discount_and_not_whether_the_episode_ended():
    np.testing.assert_allclose(one_step(1.0, False), 11.0)
    np.testing.assert_allclose(one_step(1.0, True), 11.0)  # a time limit
    np.testing.assert_allclose(one_step(0.0, True), 2.0)  # a terminal


def test_n_step_targets_end_where_the_episode_does():
    column = lambda x: jnp.array(x)[:, None]
    reward, value = column([1.0, 2.0, 4.0]), column([10.0, 20.0, 40.0])
    half, none = column([0.5, 0.5, 0.5]), column([False, False, False])
    # 1 + 0.5·2 + 0.25·4 + 0.125·40
    np.testing.assert_allclose(deep_q.target(reward, half, none, value), [8.0])
    cut = column([False, True, False])
    # 1 + 0.5·(2 + 0.5·20): what lies behind the cut is another episode.
    np.testing.assert_allclose(deep_q.target(reward, half, cut, value), [7.0])
    over = column([0.5, 0.0, 0.5])
    np.testing.assert_allclose(deep_q.target(reward, over, cut, value), [2.0])


def test_losses_and_their_gradients_by_hand():
    q, action, goal = jnp.array([[1.0, 4.0]]), jnp.array([1]), jnp.array([1.0])
    # The gap is 3.
    np.testing.assert_allclose(deep_q.loss(q, action, goal, "squared"), [4.5])
    np.testing.assert_allclose(deep_q.loss(q, action, goal, "huber"), [2.5])
    slope = lambda kind: jax.grad(lambda q: deep_q.loss(q, action, goal, kind)[0])(q)
    np.testing.assert_allclose(slope("squared"), [[0.0, 3.0]])
    np.testing.assert_allclose(slope("huber"), [[0.0, 1.0]])
    at_goal = jax.grad(lambda g: deep_q.loss(q, action, g, "squared")[0])(goal)
    np.testing.assert_allclose(at_goal, [0.0])


def test_dueling_streams_by_hand():
    # v = 10, a = (1, 2, 6), mean 3.
    np.testing.assert_allclose(
        deep_q.dueling(jnp.array([10.0, 1.0, 2.0, 6.0])), [8.0, 9.0, 13.0]
    )


def test_exploration_is_legal_and_as_frequent_as_it_says():
    q, legal = jnp.tile(Q, (4000, 1)), jnp.tile(LEGAL, (4000, 1))
    act = lambda epsilon, legal: np.bincount(
        deep_q.epsilon_greedy(jax.random.key(0), q, legal, epsilon), minlength=3
    )
    np.testing.assert_array_equal(act(0.0, None), [0, 4000, 0])
    np.testing.assert_array_equal(act(0.0, legal), [0, 0, 4000])
    assert act(1.0, legal)[1] == 0
    np.testing.assert_allclose(act(0.3, None) / 4000, [0.1, 0.8, 0.1], atol=0.02)
