"""`wm/ops/integrate.py`: the rule of Runge and Kutta against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.integrate import rk4

GROWTH = lambda x, u: u * x


def test_one_step_is_the_taylor_series_to_fourth_order():
    found = rk4(GROWTH, jnp.ones(1), jnp.ones(1), 1.0)
    np.testing.assert_allclose(found, 1 + 1 + 1 / 2 + 1 / 6 + 1 / 24, rtol=1e-6)


def test_parts_are_steps_of_their_own():
    half = rk4(GROWTH, jnp.ones(1), jnp.ones(1), 0.5)
    twice = rk4(GROWTH, half, jnp.ones(1), 0.5)
    whole = rk4(GROWTH, jnp.ones(1), jnp.ones(1), 1.0, parts=2)
    np.testing.assert_allclose(whole, twice, rtol=1e-6)
    assert abs(float(whole[0]) - np.e) < 1.0e-3


def test_an_oscillator_turns():
    swing = lambda x, u: jnp.stack([x[1], -x[0]])
    found = rk4(swing, jnp.array([1.0, 0.0]), jnp.zeros(()), np.pi / 2, parts=8)
    np.testing.assert_allclose(found, [0.0, -1.0], atol=1e-4)


def test_it_is_differentiable():
    slope = jax.grad(lambda u: rk4(GROWTH, jnp.ones(1), u, 1.0)[0])(jnp.asarray(1.0))
    # d/du of 1 + u + u²/2 + u³/6 + u⁴/24 at 1.
    assert float(slope) == pytest.approx(1 + 1 + 1 / 2 + 1 / 6, rel=1e-6)
