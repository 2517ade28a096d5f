"""Losses of policy gradients by hand, and their gradients by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.behaviors import policy_gradient as losses

FLAT = {"rtol": 1e-6, "atol": 1e-7}


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "moves"),
    [
        (1.0, 2.0, -2.0, True),
        (1.1, 2.0, -2.2, True),
        (1.5, 2.0, -2.4, False),  # beyond 1 + 0.2: earns nothing more
        (0.5, 2.0, -1.0, True),  # a good action grown unlikely is pushed back
        (1.5, -2.0, 3.0, True),  # a bad one grown likely too
        (0.5, -2.0, 1.6, False),
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, expected, moves):
    loss = lambda log_prob: losses.clipped_surrogate(log_prob, 0.3, advantage, 0.2)
    log_prob = 0.3 + jnp.log(ratio)
    value, gradient = jax.value_and_grad(loss)(log_prob)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(
        gradient, -ratio * advantage if moves else 0.0, rtol=1e-5
    )


def test_value_losses_by_hand():
    # G = 3: unclipped ½·(1 − 3)² = 2; near the old 0 the value is 0.2: ½·2.8² = 3.92.
    np.testing.assert_allclose(losses.value_loss(1.0, 3.0), 2.0)
    np.testing.assert_allclose(
        losses.clipped_value_loss(jnp.array(1.0), jnp.array(0.0), 3.0, 0.2), 3.92
    )
    # The larger loss is flat: a value that ran ahead of the clip is not pulled on.
    gradient = jax.grad(losses.clipped_value_loss)(1.0, 0.0, 3.0, 0.2)
    np.testing.assert_allclose(gradient, 0.0)
    # It overshot: ½·(5 − 3)² is the larger one and pulls back.
    gradient = jax.grad(losses.clipped_value_loss)(5.0, 3.0, 3.0, 0.2)
    np.testing.assert_allclose(gradient, 2.0)


def test_standardizing_counts_valid_steps_only():
    x, mask = jnp.array([1.0, 3.0, 100.0]), jnp.array([1.0, 1.0, 0.0])
    np.testing.assert_allclose(losses.standardized(x, mask)[:2], [-1.0, 1.0], **FLAT)
    assert np.isfinite(losses.standardized(x, jnp.zeros(3))).all()


def test_explained_variance_of_truth_and_of_a_constant():
    target, ones = jnp.array([1.0, 2.0, 4.0]), jnp.ones(3)
    np.testing.assert_allclose(losses.explained_variance(target, target, ones), 1.0)
    np.testing.assert_allclose(
        losses.explained_variance(0 * target + 5, target, ones), 0.0, atol=1e-6
    )


def test_score_loss_has_no_gradient_through_the_advantage():
    loss = lambda a: losses.score_loss(jnp.array(-0.5), a)
    np.testing.assert_allclose(jax.value_and_grad(loss)(3.0), (1.5, 0.0))


def surrogate_numpy(theta, x, action, old, advantage, clip):
    """The mean loss of a linear softmax policy, in plain numpy."""
    logits = x @ theta
    log_prob = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    ratio = np.exp(log_prob[np.arange(len(x)), action] - old)
    bounded = np.clip(ratio, 1 - clip, 1 + clip)
    return -np.minimum(ratio * advantage, bounded * advantage).mean()


def test_the_gradient_of_a_softmax_policy_is_that_of_finite_differences():
    from wm.ops.distributions import Categorical

    rng = np.random.default_rng(0)
    theta, x = rng.normal(size=(3, 4)), rng.normal(size=(50, 3))
    action, advantage = rng.integers(0, 4, 50), rng.normal(size=50)
    old = np.log(rng.uniform(0.1, 0.6, 50))

    def ours(theta):
        log_prob = Categorical(x @ theta).log_prob(jnp.asarray(action))
        return losses.clipped_surrogate(log_prob, old, advantage, 0.2).mean()

    gradient = np.asarray(jax.grad(ours)(jnp.asarray(theta)))
    step, expected = 1e-6, np.zeros_like(theta)
    for index in np.ndindex(*theta.shape):
        bump = np.zeros_like(theta)
        bump[index] = step
        up, down = (
            surrogate_numpy(t, x, action, old, advantage, 0.2)
            for t in (theta + bump, theta - bump)
        )
        expected[index] = (up - down) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)
