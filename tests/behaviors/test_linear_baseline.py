"""`wm.behaviors.linear_baseline`: features, and what least squares finds."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.behaviors.linear_baseline import baseline, features


def test_features_by_hand():
    seen = jnp.array([[[2.0, -30.0]], [[0.5, 1.0]]])
    np.testing.assert_allclose(
        features(seen)[:, 0],
        [
            [2.0, -10.0, 4.0, 100.0, 0.0, 0.0, 0.0, 1.0],
            [0.5, 1.0, 0.25, 1.0, 0.01, 1e-4, 1e-6, 1.0],
        ],
        rtol=1e-6,
    )


def test_returns_that_are_linear_in_the_features_are_found():
    seen = jax.random.normal(jax.random.key(0), (50, 20, 3))
    weights = jnp.arange(10.0) - 4
    returns = features(seen) @ weights
    found = baseline(seen, returns, jnp.ones((50, 20)))
    np.testing.assert_allclose(found, returns, atol=0.05)


def test_what_is_masked_is_not_fitted():
    seen = jax.random.normal(jax.random.key(0), (50, 20, 3))
    returns = seen[..., 0]
    mask = jnp.ones((50, 20)).at[30:].set(0.0)
    found = baseline(seen, jnp.where(mask > 0, returns, 1e3), mask)
    np.testing.assert_allclose(found[:30], returns[:30], atol=0.01)
