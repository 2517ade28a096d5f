"""Inferred noise, and the weights of recorded trajectories."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.behaviors import value_gradient
from wm.behaviors.value_gradient import mean_return, weigh
from wm.ops.distributions import Normal, TanhNormal
from wm.ops.trees import Transition

column = lambda *x: jnp.array(x, jnp.float32)[:, None]


def window(discount, next_is_last, mask):
    """`[T, 1]` transitions of which only these matter."""
    T = len(mask)
    return Transition(
        observation=jnp.zeros((T, 1, 1)),
        action=jnp.zeros((T, 1, 1)),
        reward=jnp.zeros((T, 1)),
        discount=column(*discount),
        next_observation=jnp.zeros((T, 1, 1)),
        next_is_last=column(*next_is_last) > 0,
        mask=column(*mask) > 0,
        extras={},
    )


def test_noise_is_that_of_the_action_before_its_tanh():
    mean, std = jnp.array([[0.3, -2.0]]), jnp.array([[0.5, 2.0]])
    noise = jnp.array([[1.5, -0.7]])
    for policy in (Normal(mean, std), TanhNormal(mean, std)):
        drawn = policy.sample(noise)
        raw = getattr(drawn, "u", None)
        action = value_gradient.played(policy, noise)
        found = value_gradient.infer(policy, action, raw)
        np.testing.assert_allclose(found, noise, rtol=1e-5)
        np.testing.assert_array_equal(value_gradient.played(policy, found), action)


def test_inferred_noise_is_a_constant():
    """So the slope of what is replayed is 1 in the mean and η in the deviation."""

    def replayed(mean, std):
        policy = Normal(mean, std)
        noise = value_gradient.infer(policy, jnp.array([0.7]), None)
        return value_gradient.played(policy, noise)[0]

    slopes = jax.grad(replayed, (0, 1))(jnp.array([0.1]), jnp.array([0.2]))
    np.testing.assert_allclose(slopes, [[1.0], [3.0]], rtol=1e-6)


def test_a_window_with_a_reset_holds_two_trajectories():
    """Steps 0 and 1 end at a time limit, 2 is the reset, 3 and 4 are cut."""
    step = window([1, 1, 1, 1, 1], [0, 1, 0, 0, 0], [1, 1, 0, 1, 1])
    found = weigh(step, 0.5, jnp.zeros((5, 1)), 1.0)
    np.testing.assert_allclose(found.reward, column(1, 0.5, 0, 1, 0.5))
    np.testing.assert_allclose(found.end, column(0, 0.25, 0, 0, 0.25))
    np.testing.assert_allclose(found.begin, column(1, 0, 0, 1, 0))
    reward, value = column(1, 2, 100, 3, 4), column(100, 8, 100, 100, 4)
    # (1 + 1 + 2) and (3 + 2 + 1).
    np.testing.assert_allclose(mean_return(found, reward, value), 5.0)


def test_a_terminal_state_has_no_value_and_a_window_may_begin_with_a_reset():
    step = window([1, 1, 0], [0, 0, 1], [0, 1, 1])
    found = weigh(step, 0.5, jnp.zeros((3, 1)), 1.0)
    np.testing.assert_allclose(found.reward, column(0, 1, 0.5))
    np.testing.assert_allclose(found.end, column(0, 0, 0))
    np.testing.assert_allclose(found.begin, column(0, 1, 0))


def test_likelihoods_multiply_from_the_beginning_and_are_truncated():
    step = window([1, 1, 1, 1], [0, 1, 0, 0], [1, 1, 0, 1])
    log_ratio = jnp.log(column(0.5, 8.0, 100.0, 0.25))
    found = weigh(step, 1.0, log_ratio, 3.0)
    np.testing.assert_allclose(found.reward, column(0.5, 3, 0, 0.25), rtol=1e-6)
    np.testing.assert_allclose(found.end, column(0, 3, 0, 0.25), rtol=1e-6)
    apart = weigh(step, 1.0, jnp.full((4, 1), 1e4), 3.0)
    assert np.isfinite(apart.reward).all()
    np.testing.assert_allclose(value_gradient.truncated(jnp.array(-1e4), 3.0), 0.0)
