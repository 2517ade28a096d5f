"""`wm/ops/distributions.py`: densities against scipy and by hand, gradients, edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from wm.ops.distributions import (
    Bernoulli,
    BoundedNormal,
    Categorical,
    Normal,
    OneHot,
    Squashed,
    TanhNormal,
    TruncatedNormal,
    legal_categorical,
)

HALVES = jnp.log(jnp.array([0.5, 0.25, 0.25]))


def test_the_uniform_share_goes_to_legal_classes_only():
    legal = jnp.array([True, False, True, True])
    logits = jnp.log(jnp.array([0.5, 0.9, 0.25, 0.25]))
    dist = legal_categorical(logits, legal, 0.3)
    expected = [0.7 * 0.5 + 0.1, 0, 0.7 * 0.25 + 0.1, 0.7 * 0.25 + 0.1]
    np.testing.assert_allclose(dist.probs, expected, rtol=1e-5)
    gradient = jax.grad(
        lambda x: legal_categorical(x, legal, 0.3).log_prob(jnp.array(0))
    )(logits)
    assert np.isfinite(gradient).all()
    assert gradient[1] == 0


def test_categorical_matches_hand_values():
    dist = Categorical(HALVES)
    np.testing.assert_allclose(dist.log_prob(jnp.array(1)), np.log(0.25), rtol=1e-6)
    np.testing.assert_allclose(dist.entropy(), 1.5 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(
        dist.kl(Categorical(jnp.zeros(3))), np.log(3) - 1.5 * np.log(2), rtol=1e-5
    )
    assert dist.mode() == 0
    assert dist.mode().dtype == dist.sample(jax.random.key(0)).dtype == jnp.int32


def test_categorical_uniform_mix_matches_hand_values():
    dist = Categorical(jnp.array([100.0, 0.0]), 0.02)
    np.testing.assert_allclose(dist.probs, [0.99, 0.01], rtol=1e-6)
    np.testing.assert_allclose(dist.log_prob(jnp.array(1)), np.log(0.01), rtol=1e-5)


def test_categorical_with_illegal_actions_has_finite_entropy_and_gradient():
    logits = jnp.array([0.0, -jnp.inf, 0.0])

    def objective(x):
        dist = Categorical(jnp.where(jnp.isinf(logits), -jnp.inf, x))
        return dist.entropy() + dist.log_prob(jnp.array(2)) + dist.kl(dist)

    value, gradient = jax.value_and_grad(objective)(jnp.zeros(3))
    assert value == pytest.approx(np.log(2) - np.log(2), abs=1e-6)
    np.testing.assert_allclose(gradient, [-0.5, 0, 0.5], atol=1e-6)
    assert Categorical(logits).log_prob(jnp.array(1)) == -jnp.inf


def test_one_hot_sums_over_groups():
    dist = OneHot(jnp.stack([HALVES, HALVES]))
    sample = jax.nn.one_hot(jnp.array([0, 2]), 3)
    np.testing.assert_allclose(dist.log_prob(sample), 3 * np.log(0.5), rtol=1e-6)
    np.testing.assert_allclose(dist.entropy(), 3 * np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(dist.mode(), [[1, 0, 0]] * 2)


def test_straight_through_has_the_gradient_of_probs_for_every_index():
    weights = jax.random.normal(jax.random.key(0), (4,))
    logits = jax.random.normal(jax.random.key(1), (1, 4))

    @jax.jit
    def gradients(logits, index):
        probs = lambda x: (weights * OneHot(x, 0.1).probs).sum()
        sample = lambda x: (weights * OneHot(x, 0.1).straight_through(index)).sum()
        return jax.grad(probs)(logits), jax.grad(sample)(logits)

    index = jnp.arange(4)[:, None]
    through_probs, through_sample = jax.vmap(gradients, (None, 0))(logits, index)
    for gradient, expected in zip(through_sample, through_probs, strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-6)
        assert jnp.abs(gradient).max() > 1e-3


def test_one_hot_sample_is_exactly_one_hot_and_forced_by_noise():
    logits = jnp.broadcast_to(HALVES, (4, 2, 3))
    noise = jnp.array([[0.1, 0.6], [0.8, 0.3], [0.55, 0.99], [0.0, 0.7]])
    sample = OneHot(logits).sample(noise)
    np.testing.assert_array_equal(sample.argmax(-1), [[0, 1], [2, 0], [1, 2], [0, 1]])
    assert set(np.unique(sample)) == {0.0, 1.0}
    assert sample.dtype == jnp.float32


def test_distributions_cross_scan_vmap_and_jit_with_their_options():
    logits = jnp.stack([jnp.array([100.0, 0.0])] * 3)
    _, stacked = jax.lax.scan(lambda c, x: (c, OneHot(x[None], 0.02)), 0, logits)
    assert stacked.unimix == 0.02
    probs = jax.jit(jax.vmap(lambda dist: dist.probs))(stacked)
    np.testing.assert_allclose(probs[:, 0], [[0.99, 0.01]] * 3, rtol=1e-6)


def test_bernoulli_takes_soft_targets():
    dist = Bernoulli(jnp.log(jnp.array(3.0)))
    np.testing.assert_allclose(dist.mean, 0.75, rtol=1e-6)
    expected = 0.9 * np.log(0.75) + 0.1 * np.log(0.25)
    np.testing.assert_allclose(dist.log_prob(jnp.array(0.9)), expected, rtol=1e-6)
    np.testing.assert_allclose(dist.entropy(), stats.bernoulli(0.75).entropy(), 1e-6)
    assert dist.mode()
    assert dist.sample(jnp.array(0.74))
    assert not dist.sample(jnp.array(0.76))


def test_bernoulli_is_finite_at_huge_logits():
    dist = Bernoulli(jnp.array([-1e4, 1e4]))
    np.testing.assert_array_equal(dist.log_prob(jnp.array([0.0, 1.0])), 0)
    np.testing.assert_array_equal(dist.log_prob(jnp.array([1.0, 0.0])), -1e4)


MEAN, STD = jnp.array([[0.5, -0.3]]), jnp.array([[0.4, 1.5]])


def test_normal_matches_scipy():
    dist, x = Normal(MEAN, STD), jnp.array([[0.1, 2.0]])
    oracle = stats.norm(MEAN, STD)
    np.testing.assert_allclose(dist.log_prob(x), oracle.logpdf(x).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(dist.entropy(), oracle.entropy().sum(-1), rtol=1e-5)
    np.testing.assert_allclose(dist.sample(jnp.ones((1, 2))), MEAN + STD)
    np.testing.assert_array_equal(dist.mode(), MEAN)


def test_normal_of_one_std_for_all_counts_it_in_every_dimension():
    dist = Normal(jnp.zeros((4, 3)), jnp.float32(2.0))
    np.testing.assert_allclose(dist.entropy(), [3 * stats.norm(0, 2).entropy()] * 4)


def test_bounded_normal_reaches_its_bounds():
    raw = jnp.array([-100.0, 0.0, 100.0])
    dist = BoundedNormal(raw, raw)
    np.testing.assert_allclose(dist.mode(), [-1, 0, 1])
    middle = 0.9 / (1 + np.exp(-2)) + 0.1
    np.testing.assert_allclose(dist.normal.std, [0.1, middle, 1], rtol=1e-6)
    np.testing.assert_allclose(dist.kl(dist), 0, atol=1e-6)
    assert dist.sample(jnp.ones(3))[2] == 2  # not clipped
    assert dist.entropy() == dist.normal.entropy()


@pytest.mark.parametrize(("u", "expected"), [(8.0, -18.305), (20.0, -162.305)])
def test_tanh_normal_log_prob_is_finite_far_out(u, expected):
    dist = TanhNormal(jnp.zeros(1), jnp.ones(1))
    sample = dist.sample(jnp.array([u]))
    # Without optimization, tanh is exactly 1 from 20 on only.
    np.testing.assert_allclose(sample.action, 1, rtol=3e-7)
    assert dist.log_prob(sample) == pytest.approx(expected, abs=2e-3)


def test_tanh_normal_matches_the_change_of_variables_nearby():
    u = jnp.array([[-1.0, 0.3]])
    dist = TanhNormal(MEAN, STD)
    jacobian = np.log(1 - np.tanh(u) ** 2).sum(-1)
    expected = stats.norm(MEAN, STD).logpdf(u).sum(-1) - jacobian
    result = dist.log_prob(Squashed(jnp.tanh(u), u))
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    np.testing.assert_allclose(dist.mode().action, np.tanh(MEAN), rtol=1e-6)


def test_truncated_normal_matches_scipy():
    dist, x = TruncatedNormal(MEAN, STD), jnp.array([[0.9, -0.99]])
    oracle = stats.truncnorm((-1 - MEAN) / STD, (1 - MEAN) / STD, MEAN, STD)
    np.testing.assert_allclose(dist.log_prob(x), oracle.logpdf(x).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(dist.entropy(), oracle.entropy().sum(-1), rtol=1e-4)
    quantile = jnp.array([[0.2, 0.7]])
    np.testing.assert_allclose(dist.sample(quantile), oracle.ppf(quantile), rtol=1e-4)
    np.testing.assert_array_equal(dist.mode(), MEAN)


def test_truncated_normal_stays_inside_with_finite_gradient():
    noise = jnp.array([[0.0], [0.5], [1 - 2**-24]])
    mean = jnp.array([[-1.0, 0.0, 1.0]]) + 0 * noise
    std = jnp.array([[0.1, 2.1, 0.1]]) + 0 * noise

    @jax.jit
    def draw(mean, std):
        dist = TruncatedNormal(mean, std)
        sample, pull = jax.vjp(lambda d: d.sample(noise + 0 * mean), dist)
        return sample, pull(jnp.ones_like(sample))

    sample, slopes = draw(mean, std)
    assert (jnp.abs(sample) <= 1 - 9e-7).all()
    assert all(jnp.isfinite(slope).all() for slope in jax.tree.leaves(slopes))


@pytest.mark.parametrize(
    "dist",
    [
        Categorical(jnp.zeros((2, 3), jnp.bfloat16), 0.1),
        Bernoulli(jnp.zeros(2, jnp.bfloat16)),
        Normal(jnp.zeros((2, 1), jnp.bfloat16), jnp.ones((2, 1), jnp.bfloat16)),
        BoundedNormal(jnp.zeros((2, 1), jnp.bfloat16), jnp.ones((2, 1), jnp.bfloat16)),
        TruncatedNormal(jnp.zeros((2, 1), jnp.bfloat16), jnp.ones((2, 1))),
        OneHot(jnp.zeros((2, 1, 3), jnp.bfloat16)),
    ],
)
def test_entropy_of_bfloat16_parameters_is_float32(dist):
    assert dist.entropy().dtype == jnp.float32
    assert dist.entropy().shape == (2,)
