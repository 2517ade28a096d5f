"""`wm.nets.norms` against numbers worked out by hand, and against linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets import norms


def test_over_features_and_over_rows():
    x = jnp.array([[1.0, 3.0], [5.0, -1.0]])
    one, zero = jnp.ones(2), jnp.zeros(2)
    by_row = norms.layer_norm(x, one, zero, 0.0)
    np.testing.assert_allclose(by_row, [[-1, 1], [1, -1]], atol=1e-6)
    by_feature = norms.batch_norm(x, 2 * one, one, 0.0)
    np.testing.assert_allclose(by_feature, [[-1, 3], [3, -1]], atol=1e-6)
    root = norms.rms_norm(x, one, 0.0)
    np.testing.assert_allclose(root[0], np.array([1, 3]) / np.sqrt(5), atol=1e-6)


def test_batch_norm_is_that_of_linen():
    x = jax.random.normal(jax.random.key(0), (4, 6, 3)) * 3 + 1
    module = nn.BatchNorm(use_running_average=False, epsilon=1e-5)
    expected, _ = module.init_with_output(jax.random.key(1), x)
    found = norms.batch_norm(x, jnp.ones(3), jnp.zeros(3))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_config_may_ask_for_a_norm_over_the_batch():
    with pytest.raises(ValueError, match="norm must be one of rms, layer, none"):
        norms.check_norm("batch")
