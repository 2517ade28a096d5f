"""`wm.nets.latent` and the projections of `wm.nets.prefix`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets.latent import LatentConfig, latent_nets
from wm.nets.prefix import prefix_nets

SMALL = {"units": 8, "latent": 4, "head_units": 4, "norm": "none"}
KEY = jax.random.key(0)


def nets(**settings):
    return latent_nets(LatentConfig(**{**SMALL, **settings}), 3, 3, 5, 5)


@pytest.mark.parametrize("span", [(0.0, 1.0), (-3.0, 3.0)])
def test_latents_fill_their_span_and_no_more(span):
    made, x = nets(span=span), jax.random.normal(KEY, (6, 10))
    latent = made.represent.apply(made.represent.init(KEY, x), x)
    action = jax.nn.one_hot(jnp.arange(6) % 3, 3)
    later = made.dynamics.apply(made.dynamics.init(KEY, latent, action), latent, action)
    for rows in (latent, later):
        np.testing.assert_allclose(rows.min(-1), span[0], atol=1e-5)
        np.testing.assert_allclose(rows.max(-1), span[1], atol=1e-5)


def test_unless_they_are_not_stretched():
    made, x = nets(stretch=False, span=(-3.0, 3.0)), jax.random.normal(KEY, (6, 10))
    latent = made.represent.apply(made.represent.init(KEY, x), x)
    assert float(jnp.max(jnp.abs(latent))) < 3


def test_a_span_must_rise():
    with pytest.raises(ValueError, match=r"span must rise, got \(1.0, 1.0\)"):
        LatentConfig(span=(1.0, 1.0))


def test_projections_of_different_latents_stay_apart():
    """Also where the latents are nearly the same: what a norm over features lets
    collapse."""
    made = prefix_nets(LatentConfig(**SMALL), 4, 5, 16, 4)
    latent = 1.0 + 1e-2 * jax.random.normal(KEY, (32, 4))
    x = made.project.apply(made.project.init(KEY, latent), latent)
    x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    cosine = x @ x.T
    between = (cosine.sum() - jnp.trace(cosine)) / (32 * 31)
    assert abs(between) < 0.1
