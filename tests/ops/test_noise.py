"""`wm/ops/noise.py`: noise in place of keys, and sampling by one uniform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.noise import colored_normal, inverse_cdf, normal, uniform


@pytest.mark.parametrize("draw", [uniform, normal])
def test_noise_of_the_right_shape_is_returned_as_it_is(draw):
    noise = jnp.full((2, 3), 0.25)
    assert draw(noise, (2, 3)) is noise
    with pytest.raises(AssertionError):
        draw(noise, (3, 2))


def test_keys_draw_as_jax_does():
    key = jax.random.key(0)
    np.testing.assert_array_equal(uniform(key, (4,)), jax.random.uniform(key, (4,)))
    np.testing.assert_array_equal(normal(key, (4,)), jax.random.normal(key, (4,)))


def test_inverse_cdf_picks_by_the_edges():
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.2, 0.5, 0.3])), (5, 3))
    noise = jnp.array([0.0, 0.19, 0.21, 0.69, 0.71])
    np.testing.assert_array_equal(inverse_cdf(noise, logits, 0.0), [0, 0, 1, 1, 2])


def test_inverse_cdf_mixes_in_the_uniform_share():
    # Half uniform over two: edges at 0.5·1 + 0.25.
    logits = jnp.broadcast_to(jnp.array([0.0, -1e9]), (2, 2))
    noise = jnp.array([0.74, 0.76])
    np.testing.assert_array_equal(inverse_cdf(noise, logits, 0.5), [0, 1])
    np.testing.assert_array_equal(inverse_cdf(noise, logits, 0.0), [0, 0])


@pytest.mark.parametrize("classes", [6, 300])
def test_classes_of_probability_zero_are_never_picked(classes):
    key_logits, key_legal = jax.random.split(jax.random.key(0))
    logits = 4 * jax.random.normal(key_logits, (500, classes))
    legal = jax.random.bernoulli(key_legal, 0.3, logits.shape).at[:, 2].set(True)
    logits = jnp.where(legal, logits, -jnp.inf)
    sample = jax.jit(inverse_cdf, static_argnums=2)
    for point in (0.0, 0.5, 1 - 2**-24):
        index = sample(jnp.full(500, point), logits, 0.0)
        assert jnp.take_along_axis(legal, index[:, None], 1).all()


@pytest.mark.parametrize("classes", [4, 200])
def test_frequencies_match_probabilities(classes):
    logits = jax.random.normal(jax.random.key(3), (classes,))
    grid = (jnp.arange(20_000) + 0.5) / 20_000
    rows = jnp.broadcast_to(logits, (20_000, classes))
    index = jax.jit(inverse_cdf, static_argnums=2)(grid, rows, 0.1)
    share = jnp.bincount(index, length=classes) / 20_000
    expected = 0.9 * jax.nn.softmax(logits) + 0.1 / classes
    np.testing.assert_allclose(share, expected, atol=2e-4)


@pytest.mark.parametrize(
    ("beta", "deviation", "correlation"),
    [(0.0, 1.03, 0.0), (1.0, 1.08, 0.56), (2.0, 1.15, 0.88), (3.5, 1.20, 0.97)],
)
def test_colored_noise_has_the_spread_and_memory_of_the_package(
    beta, deviation, correlation
):
    """Figures of the package colorednoise at 30 steps, 1e5 rows."""
    noise = np.asarray(colored_normal(jax.random.key(0), (100_000, 30), beta))
    assert abs(noise.std() - deviation) < 0.01
    assert abs(noise.mean()) < 0.02
    neighbours = (noise[:, :-1] * noise[:, 1:]).mean() / noise.var()
    assert abs(neighbours - correlation) < 0.01


def test_colored_noise_of_two_steps_by_hand():
    """T = 2: constant a √2 s₀, alternating ± b √2 s₁; σ = 2 · (s₁ / 2) / 2 = s₁ / 2,
    and the clip makes s₀ = s₁: the steps are √2 a ± √2 b."""
    given = jnp.array([[[0.3, 0.5]], [[9.0, 9.0]]])
    noise = colored_normal(given, (1, 2), 2.0)
    np.testing.assert_allclose(noise, np.sqrt(2) * np.array([[0.8, -0.2]]), rtol=1e-6)


def test_one_step_of_colored_noise_is_a_normal():
    key = jax.random.key(0)
    np.testing.assert_array_equal(
        colored_normal(key, (5, 1), 2.0), jax.random.normal(key, (5, 1))
    )


def test_white_rows_have_a_standard_deviation_of_one_within():
    noise = np.asarray(colored_normal(jax.random.key(1), (50_000, 12), 2.5))
    within = ((noise - noise.mean(1, keepdims=True)) ** 2).mean()
    assert abs(within - 1) < 0.01
