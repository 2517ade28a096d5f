"""L-BFGS: to the bottom, within its limits, row by row."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.ops.lbfgs import minimize


def valley(point):
    """Rosenbrock's: lowest, 0, at (1, 1)."""
    return (1 - point["a"]) ** 2 + 100 * (point["b"] - point["a"] ** 2) ** 2


def test_the_bottom_of_the_valley_is_found():
    with jax.enable_x64(True):
        start = {"a": jnp.asarray(-1.2), "b": jnp.asarray(1.0)}
        search = jax.jit(lambda at: minimize(valley, at, 200, tolerance=1e-12))
        found = search(start)
        np.testing.assert_allclose(found.point["a"], 1, atol=1e-4)
        np.testing.assert_allclose(found.value, valley(found.point))
        assert 5 < found.iterations < 200
        assert found.iterations.dtype == jnp.int32


def test_no_iterations_leave_the_start():
    start = {"a": jnp.zeros(()), "b": jnp.ones(())}
    found = minimize(valley, start, 0)
    assert found.point == start
    assert found.value == 101
    assert found.iterations == 0


def test_rows_end_by_themselves():
    with jax.enable_x64(True):
        starts = {"a": jnp.array([1.0, -1.0]), "b": jnp.array([1.0, 2.0])}
        together = jax.jit(jax.vmap(lambda at: minimize(valley, at, 100)))(starts)
        assert together.iterations[0] == 1
        assert together.iterations[1] > 5
        for row in range(2):
            alone = minimize(valley, jax.tree.map(lambda x, i=row: x[i], starts), 100)
            np.testing.assert_allclose(together.value[row], alone.value, atol=1e-9)
