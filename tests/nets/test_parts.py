"""Gradients that are walked part by part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets import parts


def loss(params, rows):
    """Of a line, with a weight per row."""
    guess = params["slope"] * rows["x"] + params["offset"]
    error = jnp.square(guess - rows["y"])
    total = jnp.mean(rows["weight"] * error)
    return total, ({"loss": total}, {"error": error, "guess": guess[:, None]})


@pytest.fixture
def given():
    x, y, weight = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    rows = {"x": x, "y": y, "weight": weight}
    return {"slope": jnp.float32(0.5), "offset": jnp.float32(-1.0)}, rows


@pytest.mark.parametrize("limit", [8, 12, 100])
def test_the_gradient_of_parts_is_that_of_the_whole(given, monkeypatch, limit):
    """By hand, in double precision; parts of 4 rows, of 6, and all at once."""
    monkeypatch.setattr(parts, "WALKED_ELEMENTS", limit)
    gradient = jax.jit(parts.mean_gradient(loss, 2))
    slope, (means, of_rows) = gradient(*given)
    _, rows = given
    x, y, weight = (rows[name].astype(np.float64) for name in ("x", "y", "weight"))
    error = 0.5 * x - 1.0 - y
    np.testing.assert_allclose(slope["slope"], np.mean(2 * weight * error * x), 1e-5)
    np.testing.assert_allclose(slope["offset"], np.mean(2 * weight * error), 1e-5)
    np.testing.assert_allclose(means["loss"], np.mean(weight * error**2), 1e-5)
    np.testing.assert_allclose(of_rows["error"], error**2, 1e-4, 1e-6)
    assert of_rows["guess"].shape == (12, 1)
    scans = str(jax.make_jaxpr(gradient)(*given)).count("scan[")
    assert scans == (limit < 24)


def test_seeds_in_one_program_are_walked_together(given, monkeypatch):
    monkeypatch.setattr(parts, "WALKED_ELEMENTS", 8)
    gradient = parts.mean_gradient(loss, 2)
    twice = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), given)
    both = jax.jit(jax.vmap(gradient))(*twice)
    for n in range(2):
        alone = gradient(*jax.tree.map(lambda x, n=n: x[n], twice))
        jax.tree.map(
            lambda x, y, n=n: np.testing.assert_allclose(x[n], y, 1e-5), both, alone
        )
