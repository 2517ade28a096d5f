"""`wm/ops/noise.py`: noise in place of keys, and sampling by one uniform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.noise import inverse_cdf, normal, uniform


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
