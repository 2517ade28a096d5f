"""`wm.behaviors.meta_gradient`: against the exact meta-gradient of a family of bandits.

One step, one number as the action, reward −(a − g)², g the task's. The return of
N(μ, σ²) is −(μ − g)² − σ², so everything is known.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.behaviors import meta_gradient, stochastic
from wm.behaviors.linear_baseline import baseline
from wm.behaviors.meta_gradient import Samples
from wm.nets.tower import Inputs, TowerConfig
from wm.types import ArraySpec

ACTOR = stochastic.actor(TowerConfig(layers=()), ArraySpec((1,)))
GOALS = jnp.array([1.0, 0.5, 2.0])
RATE, MEAN, SIGMA = 0.1, -0.3, 0.6
N = 100_000


def given(mean=MEAN, sigma=SIGMA):
    """A policy that ignores its observation, which is 0."""
    params = ACTOR.init(jax.random.key(0), Inputs(jnp.zeros((1, 1)), None))
    params["net"]["out"]["bias"] = jnp.array([mean])
    return {**params, "log_std": jnp.log(jnp.array([sigma]))}


def drawn(params, goal, key, count=N):
    """One step of `count` rollouts, the advantage being reward less its exact mean."""
    seen = jnp.zeros((1, count, 1))
    policy = meta_gradient.policy(ACTOR, params, seen)
    action = policy.sample(key)
    mean, sigma = params["net"]["out"]["bias"][0], jnp.exp(params["log_std"][0])
    reward = -jnp.square(action[..., 0] - goal)
    value = -jnp.square(mean - goal) - sigma**2
    return Samples(
        seen, action, policy.log_prob(action), reward - value, jnp.ones((1, count))
    )


def exact(mean, log_sigma):
    """Mean over tasks of the return after one exact step of the policy gradient."""

    def value(at, goal):
        return -jnp.square(at[0] - goal) - jnp.exp(2 * at[1])

    def after(goal):
        at = jnp.stack([mean, log_sigma])
        return value(at + RATE * jax.grad(value)(at, goal), goal)

    return jax.vmap(after)(GOALS).mean()


@jax.jit
def estimate(key):
    """Slopes of the meta-loss in the mean and the log deviation."""
    params, keys = given(), jax.random.split(key, 6).reshape(2, 3)
    before = jax.vmap(lambda goal, key: drawn(params, goal, key))(GOALS, keys[0])
    adapted = jax.vmap(lambda each: meta_gradient.adapt(ACTOR, params, each, RATE))(
        before
    )
    after = jax.vmap(drawn)(adapted, GOALS, keys[1])
    slope = jax.grad(
        lambda p: meta_gradient.meta_loss(ACTOR, p, before, after, RATE, 0.2)
    )(params)
    return -jnp.concatenate([slope["net"]["out"]["bias"], slope["log_std"]])


def test_the_exact_gradient_by_hand():
    """−2 (1 − 2 α)² (μ − g) in the mean, −2 σ'² (1 − 4 α σ²) in the log deviation."""
    found = jax.grad(exact, (0, 1))(jnp.float32(MEAN), jnp.log(SIGMA))
    narrow = SIGMA * np.exp(-2 * RATE * SIGMA**2)
    expected = (
        -2 * (1 - 2 * RATE) ** 2 * (MEAN - float(GOALS.mean())),
        -2 * narrow**2 * (1 - 4 * RATE * SIGMA**2),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_gradient_through_the_step_is_the_exact_one():
    found = estimate(jax.random.key(0))
    expected = jax.grad(exact, (0, 1))(jnp.float32(MEAN), jnp.log(SIGMA))
    np.testing.assert_allclose(found, expected, rtol=0.01)


def test_a_step_is_one_of_the_policy_gradient():
    """In the mean α 2 (g − μ), in the log deviation −α 2 σ²."""
    params = given()
    samples = drawn(params, 1.0, jax.random.key(1))
    found = meta_gradient.adapt(ACTOR, params, samples, RATE)
    moved = float(found["net"]["out"]["bias"][0]) - MEAN
    assert moved == pytest.approx(RATE * 2 * 1.3, rel=0.02)
    narrower = float(found["log_std"][0] - params["log_std"][0])
    assert narrower == pytest.approx(-RATE * 2 * SIGMA**2, rel=0.05)


def test_advantages_are_discounted_sums_less_their_regression():
    """Against plain numpy; the second rollout ends after its third step."""
    T, B, gamma = 5, 4, 0.9
    seen = np.asarray(jax.random.normal(jax.random.key(0), (T, B, 1)))
    reward = np.asarray(jax.random.normal(jax.random.key(1), (T, B)))
    discount, mask = np.ones((T, B), np.float32), np.ones((T, B), np.float32)
    discount[2, 1], mask[3:, 1] = 0.0, 0.0
    returns, after = np.zeros((T, B)), np.zeros(B)
    for t in reversed(range(T)):
        after = reward[t] * mask[t] + gamma * discount[t] * after
        returns[t] = after
    left = returns - np.asarray(baseline(seen, jnp.asarray(returns), jnp.asarray(mask)))
    kept = mask > 0
    expected = (left[kept] - left[kept].mean()) / left[kept].std()
    found = meta_gradient.advantages(seen, reward, discount, mask, gamma)
    np.testing.assert_allclose(np.asarray(found)[kept], expected, atol=1e-4)
    # The regression takes something away, and its sums reach beyond a step.
    assert left[kept].std() < 0.9 * returns[kept].std()
    assert not np.allclose(returns[:-1], reward[:-1])


def test_advantages_leave_out_what_is_masked():
    """Where reward depends on nothing, time explains all; a rollout that ended early is
    masked."""
    T, B = 12, 30
    seen = jax.random.normal(jax.random.key(0), (T, B, 2))
    reward = jax.random.normal(jax.random.key(1), (T, B)) + 5.0
    mask = jnp.ones((T, B)).at[6:, 0].set(0.0)
    found = meta_gradient.advantages(seen, reward, jnp.ones((T, B)), mask, 0.9)
    kept = np.asarray(found)[np.asarray(mask) > 0]
    assert abs(kept.mean()) < 1e-5
    assert kept.std() == pytest.approx(1.0, rel=1e-4)
    other = jnp.where(mask > 0, reward, 77.0)
    again = meta_gradient.advantages(seen, other, jnp.ones((T, B)), mask, 0.9)
    np.testing.assert_allclose(np.asarray(again)[np.asarray(mask) > 0], kept, atol=1e-6)
