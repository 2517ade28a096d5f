"""Losses of SAC by hand and by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.behaviors import soft_actor_critic as losses
from wm.behaviors import stochastic
from wm.ops.distributions import Squashed, TanhNormal


def test_the_target_takes_the_smaller_critic_and_pays_for_entropy():
    q = jnp.array(5.0), jnp.array(3.0)
    # 1 + 0.9·(3 − 0.5·(−2))
    goal = losses.target(jnp.array(1.0), jnp.array(0.9), q, jnp.array(-2.0), 0.5)
    np.testing.assert_allclose(goal, 4.6)
    over = losses.target(jnp.array(1.0), jnp.array(0.0), q, jnp.array(-2.0), 0.5)
    np.testing.assert_allclose(over, 1.0)


def test_both_critics_are_pulled_to_the_target():
    loss = lambda q: losses.critic_loss(q, jnp.array(4.0))
    value, gradient = jax.value_and_grad(loss)((5.0, 2.0))
    np.testing.assert_allclose(value, 0.5 + 2.0)
    np.testing.assert_allclose(gradient, (1.0, -2.0))


def test_actor_loss_by_hand():
    loss = losses.actor_loss((jnp.array(5.0), jnp.array(3.0)), jnp.array(-2.0), 0.5)
    np.testing.assert_allclose(loss, -1.0 - 3.0)


@pytest.mark.parametrize("through", ["alpha", "log_alpha"])
@pytest.mark.parametrize(("log_prob", "rises"), [(2.0, True), (-3.0, False)])
def test_too_little_entropy_raises_the_temperature(through, log_prob, rises):
    """H̄ = −1: entropy −2 is too little, 3 too much. Descent moves against the sign."""
    gradient = jax.grad(losses.temperature_loss)(
        jnp.log(0.1), jnp.array(log_prob), -1.0, through
    )
    assert (gradient < 0) == rises
    factor = 0.1 if through == "alpha" else 1.0
    np.testing.assert_allclose(gradient, -factor * (log_prob - 1.0), rtol=1e-5)


def test_log_prob_of_a_squashed_action_is_stable_at_saturation():
    """log(1 − tanh²u) → 2·(log 2 − |u|); 1 − a² + 1e-6 would stop at −13.8."""
    u = jnp.array([[20.0], [-20.0], [0.5]])
    policy = TanhNormal(u, jnp.ones_like(u))
    found = policy.log_prob(Squashed(jnp.tanh(u), u))
    exact = -0.5 * np.log(2 * np.pi) - 2 * (np.log(2) - 20.0)
    np.testing.assert_allclose(found[:2], [exact, exact], rtol=1e-6)
    near = -0.5 * np.log(2 * np.pi) - np.log(1 - np.tanh(0.5) ** 2)
    np.testing.assert_allclose(found[2], near, rtol=1e-5)
    slope = jax.grad(lambda u: policy.log_prob(Squashed(jnp.tanh(u), u)).sum())(u)
    assert np.isfinite(slope).all()


def test_the_actor_follows_finite_differences_through_its_action():
    """Mean m, log deviation s, Q = −(a − 0.3)², fixed noise."""
    noise, alpha = np.random.default_rng(0).normal(size=(64, 1)), 0.2

    def ours(theta):
        mean = jnp.full((64, 1), theta[0])
        policy = TanhNormal(mean, jnp.exp(theta[1]))
        drawn = policy.sample(jnp.asarray(noise, jnp.float32))
        q = -jnp.square(drawn.action[:, 0] - 0.3)
        return losses.actor_loss((q, q + 1), policy.log_prob(drawn), alpha).mean()

    def theirs(theta):
        u = theta[0] + np.exp(theta[1]) * noise[:, 0]
        normal = -0.5 * noise[:, 0] ** 2 - theta[1] - 0.5 * np.log(2 * np.pi)
        log_prob = normal - np.log(1 - np.tanh(u) ** 2)
        return (alpha * log_prob + (np.tanh(u) - 0.3) ** 2).mean()

    theta, step = np.array([0.4, -0.7]), 1e-5
    expected = [
        (theirs(theta + d) - theirs(theta - d)) / (2 * step) for d in step * np.eye(2)
    ]
    np.testing.assert_allclose(ours(jnp.array(theta)), theirs(theta), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(ours)(jnp.array(theta)), expected, rtol=1e-3)


def test_deviations_stay_within_their_bounds():
    raw = jnp.array([-100.0, 0.0, 100.0])
    clipped, rescaled = stochastic.clipped_std(-5, 2), stochastic.rescaled_std(-5, 2)
    np.testing.assert_allclose(clipped(raw), np.exp([-5.0, 0.0, 2.0]), rtol=1e-5)
    np.testing.assert_allclose(rescaled(raw), np.exp([-5.0, -1.5, 2.0]), rtol=1e-5)
    np.testing.assert_allclose(
        stochastic.softplus_std(raw), [1e-3, np.log(2) + 1e-3, 100.001], rtol=1e-5
    )
