"""The pool: only valid rows are kept, only the newest within the logical size drawn."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.data import pool


def rows(values):
    values = jnp.asarray(values, jnp.float32)
    return {"x": values, "y": jnp.stack([values, values], -1)}


def drawn(held, count=400):
    return sorted(set(np.asarray(pool.sample(held, jax.random.key(0), count)["x"])))


def test_rows_that_are_not_valid_are_never_drawn():
    held = pool.empty(rows([0.0]), 6)
    batch = rows([1.0, jnp.nan, 2.0, jnp.nan])
    held = pool.add(held, batch, jnp.array([True, False, True, False]))
    assert int(held.held) == 2
    assert drawn(held) == [1, 2]


def test_the_newest_overwrite_the_oldest():
    held = pool.empty(rows([0.0]), 4)
    for start in (0, 3, 6):
        batch = rows(jnp.arange(start, start + 3))
        held = pool.add(held, batch, jnp.ones(3, bool))
    assert drawn(held) == [5, 6, 7, 8]
    both = pool.sample(held, jax.random.key(1), 50)
    np.testing.assert_array_equal(both["y"][:, 1], both["x"])


def test_what_a_smaller_size_dropped_does_not_come_back():
    held = pool.add(pool.empty(rows([0.0]), 6), rows(jnp.arange(4)), jnp.ones(4, bool))
    assert drawn(held) == [0, 1, 2, 3]
    held = pool.resized(held, jnp.int32(2))
    assert drawn(held) == [2, 3]
    held = pool.resized(held, jnp.int32(3))
    assert drawn(held) == [2, 3]
    held = pool.add(held, rows(jnp.arange(4, 6)), jnp.ones(2, bool))
    assert drawn(held) == [3, 4, 5]


def test_an_empty_pool_gives_zeros():
    held = pool.empty(rows([0.0]), 3)
    np.testing.assert_array_equal(pool.sample(held, jax.random.key(0), 5)["x"], 0)


def test_draws_are_uniform():
    held = pool.add(pool.empty(rows([0.0]), 4), rows(jnp.arange(4)), jnp.ones(4, bool))
    x = np.asarray(pool.sample(held, jax.random.key(2), 40_000)["x"])
    np.testing.assert_allclose(np.bincount(x.astype(int)) / 40_000, 0.25, atol=0.01)


def test_the_count_of_rows_does_not_overflow():
    held, every = pool.empty(rows([0.0]), 5), jnp.ones(3, bool)
    for start in range(0, 300, 3):
        held = pool.add(held, rows(jnp.arange(start, start + 3)), every)
    assert 5 <= int(held.written) < 10
    assert int(held.held) == 5
    assert drawn(held) == [295, 296, 297, 298, 299]
