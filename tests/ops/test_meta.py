"""`wm.ops.meta`: gradients through a step, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.meta import adapted


def test_a_step_on_a_parabola():
    """2 w² at 3 has slope 12: 3 − 0.1 · 12."""
    found = adapted(lambda w: 2 * w["a"] ** 2, {"a": jnp.array(3.0)}, 0.1)
    assert float(found["a"]) == pytest.approx(1.8)


@pytest.mark.parametrize(("first_order", "slope"), [(False, 1.296), (True, 3.24)])
def test_the_gradient_goes_through_the_step(first_order, slope):
    """w' = w − 0.1 · 2 w³ at w = 1 is 0.8; d w' / d w = 1 − 0.6 w² = 0.4. Of 1.5 w'³ +
    0.36 w': 3.24, times 0.4 with the second derivatives."""
    loss = lambda w: 0.5 * w**4
    judge = lambda w: 1.5 * w**3 + 0.36 * w
    total = lambda w: judge(adapted(loss, w, 0.1, first_order))
    np.testing.assert_allclose(jax.grad(total)(jnp.array(1.0)), slope, rtol=1e-5)


def test_a_rate_of_nothing_changes_nothing():
    w = jnp.array([1.0, -2.0])
    np.testing.assert_array_equal(adapted(lambda w: (w**2).sum(), w, 0.0), w)
