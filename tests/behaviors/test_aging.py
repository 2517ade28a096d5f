"""`wm.behaviors.aging`: the table of ages, and returns of several lengths."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.behaviors.aging import shrinking_horizon, unrolled_by_age
from wm.behaviors.unrolled import unrolled
from wm.types import TimeStep


def test_horizons_shrink_with_age():
    """n = clip(5 - floor(age / 30000), 1, 5)."""
    age = jnp.array([0, 29_999, 30_000, 59_999, 60_000, 119_999, 120_000, 150_000])
    expected = [5, 5, 4, 4, 3, 2, 1, 1]
    np.testing.assert_array_equal(shrinking_horizon(age, 5, 30_000), expected)


def test_windows_have_their_own_horizons():
    keys = jax.random.split(jax.random.key(0), 3)
    reward, value = jax.random.normal(keys[0], (2, 6, 9))
    last = jax.random.bernoulli(keys[1], 0.2, (6, 9))
    discount = jnp.where(last & jax.random.bernoulli(keys[2], 0.5, (6, 9)), 0.0, 1.0)
    timestep = TimeStep(None, reward, discount, jnp.roll(last, 1, 1), last)
    args = timestep, jnp.full((6, 9, 2), 0.5), value, 3
    horizon = jnp.array([1, 2, 3, 1, 2, 3])
    mixed = jax.jit(lambda: unrolled_by_age(*args, 3, 0.9, horizon))()
    for n in (1, 2, 3):
        alone = jax.jit(lambda n=n: unrolled(*args, n, 0.9))()
        same = mixed.value[horizon == n], alone.value[horizon == n]
        np.testing.assert_array_equal(*same)
        np.testing.assert_array_equal(mixed.known, alone.known)
