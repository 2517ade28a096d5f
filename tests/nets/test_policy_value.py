"""`wm.nets.policy_value`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets.policy_value import PolicyValueConfig, policy_value

KEY = jax.random.key(0)
PLANES = jax.random.bernoulli(KEY, 0.3, (5, 4, 6, 2))


@pytest.mark.parametrize("form", ["residual", "mlp"])
def test_shapes_ranges_and_rows(form):
    config = PolicyValueConfig(form, layers=1, units=8, value_units=4)
    net = policy_value(config, 3, 7)
    params = net.init(KEY, PLANES[:1])
    logits, value = net.apply(params, PLANES)
    assert (logits.shape, value.shape) == ((5, 7), (5,))
    assert logits.dtype == value.dtype == jnp.float32
    assert (jnp.abs(value) < 1).all()
    # Rows do not know of each other, and leading axes are free.
    one = net.apply(params, PLANES[2])
    np.testing.assert_allclose(one[0], logits[2], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one[1], value[2], rtol=1e-4, atol=1e-6)
    # At first nearly uniform, but not blind.
    assert 0 < jnp.abs(logits - logits.mean(1, keepdims=True)).max() < 2
    assert len(np.unique(np.asarray(value))) == 5


def test_parameters_are_those_of_the_layers():
    """Stem 3·3·2·8, two convolutions 3·3·8·8, planes of 2 and 1, heads."""
    config = PolicyValueConfig("residual", layers=1, units=8, value_units=4)
    params = policy_value(config, 3, 7).init(KEY, PLANES[:1])
    count = sum(x.size for x in jax.tree.leaves(params))
    trunk = 3 * 3 * 2 * 8 + 2 * (3 * 3 * 8 * 8) + 3 * (8 + 16)
    heads = (8 * 2 + 2) + (48 * 7 + 7) + (8 + 1) + (24 * 4 + 4) + (4 + 1)
    assert count == trunk + heads


def test_what_does_not_fit_is_an_error():
    with pytest.raises(
        ValueError, match=r"^form must be mlp for observations of rank 1"
    ):
        policy_value(PolicyValueConfig(), 1, 3)
    for field, value in {"form": "conv", "units": 0, "act": "no", "norm": "no"}.items():
        with pytest.raises(ValueError, match=f"^{field} must be"):
            PolicyValueConfig(**{field: value})
