"""`wm/ops/losses.py`: KL by hand, the three free-nats rules in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.distributions import Normal, OneHot
from wm.ops.losses import (
    balanced_kl,
    categorical_kl,
    cosine,
    free_nats,
    gaussian_kl,
)


def test_categorical_kl_matches_hand_value_and_sums_over_groups():
    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    one = np.sum(p * np.log(p / q))
    logits = lambda x: jnp.log(jnp.array([x, x]))
    assert categorical_kl(logits(p), logits(q)) == pytest.approx(2 * one, rel=1e-5)


def test_categorical_kl_mixes_both_sides():
    post, prior = jnp.array([[0.0, -50.0]]), jnp.array([[-50.0, 0.0]])
    # Both become (0.95, 0.05) with a tenth uniform, mirrored.
    expected = 0.9 * np.log(19)
    assert categorical_kl(post, prior, 0.1) == pytest.approx(expected, rel=1e-5)


def test_gaussian_kl_matches_hand_value():
    # D = 2: log 2 + (1 + 1)/8 − 1/2, and 0.
    kl = gaussian_kl(
        jnp.array([1.0, 3.0]), jnp.ones(2), jnp.array([0.0, 3.0]), jnp.array([2.0, 1.0])
    )
    assert kl == pytest.approx(np.log(2) + 0.25 - 0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("rule", "value", "gradient"),
    [
        ("element", [0.0, 0.0, 2.0], [0, 0, 1]),
        ("mean", [5 / 3 + 1 / 6] * 3, [1, 1, 1]),
        ("step", [1.0, 1.0, 3.0], [0, 0, 1]),
    ],
)
def test_free_nats_rules_in_value_and_gradient(rule, value, gradient):
    kl = jnp.array([0.5, 0.0, 3.0]) if rule != "mean" else jnp.array([0.5, 2.0, 3.0])
    np.testing.assert_allclose(free_nats(kl, 1.0, rule), value, rtol=1e-6)
    slope = jax.grad(lambda x: free_nats(x, 1.0, rule).sum())(kl)
    np.testing.assert_allclose(slope, gradient, rtol=1e-6)


def test_mean_rule_frees_all_below_the_limit():
    kl = jnp.array([0.1, 0.2, 2.0])
    np.testing.assert_allclose(free_nats(kl, 1.0, "mean"), 1.0)
    slope = jax.grad(lambda x: free_nats(x, 1.0, "mean").sum())(kl)
    np.testing.assert_array_equal(slope, 0)


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="got 'group'"):
        free_nats(jnp.zeros(2), 1.0, "group")


LATENTS = {
    "categorical": (
        lambda x: OneHot(x, 0.01),
        jax.random.normal(jax.random.key(0), (2, 5, 3, 4)),
    ),
    "gaussian": (
        lambda x: Normal(x, 0.5 + jnp.square(x)),
        jax.random.normal(jax.random.key(1), (2, 5, 3)),
    ),
}


@pytest.mark.parametrize("kind", LATENTS)
def test_balance_scales_each_side_of_the_plain_gradient(kind):
    make, (post, prior) = LATENTS[kind]
    plain = lambda post, prior: make(post).kl(make(prior)).sum()

    def balanced(post, prior):
        kl = balanced_kl(make(post), make(prior), 0.0)
        return (0.8 * kl.dynamics + 0.2 * kl.representation).sum()

    both = lambda f: jax.jit(jax.value_and_grad(f, (0, 1)))(post, prior)
    value, (to_post, to_prior) = both(balanced)
    expected, (all_post, all_prior) = both(plain)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(to_post, 0.2 * all_post, atol=1e-6)
    np.testing.assert_allclose(to_prior, 0.8 * all_prior, atol=1e-6)


def test_steps_below_the_free_nats_get_no_gradient():
    # KL of row 0 is 0.005, that of row 1 is 8.
    post = Normal(jnp.array([[0.1], [4.0]]), jnp.ones((2, 1)))
    prior = Normal(jnp.zeros((2, 1)), jnp.ones((2, 1)))
    loss = lambda post: balanced_kl(post, prior, 1.0).representation.sum()
    np.testing.assert_allclose(
        jax.jit(jax.grad(loss))(post).mean, [[0.0], [4.0]], rtol=1e-6
    )
    kl = balanced_kl(post, prior, 1.0)
    np.testing.assert_allclose(kl.dynamics, [1.0, 8.0], rtol=1e-6)
    np.testing.assert_allclose(kl.raw, [0.005, 8.0], rtol=1e-4)
    assert jax.grad(lambda p: balanced_kl(p, prior).raw.sum())(post).mean.max() == 0


def test_cosines_by_hand_and_of_nothing():
    x = jnp.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    y = jnp.array([[4.0, 3.0], [-2.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(cosine(x, y), [0.96, -1.0, 0.0], atol=1e-6)
    assert np.isfinite(jax.grad(lambda x: cosine(x, y).sum())(x)).all()
