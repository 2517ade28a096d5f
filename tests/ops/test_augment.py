"""`wm.ops.augment`: shifts by hand, and brightness within its bounds."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.ops.augment import random_intensity, random_shift

KEY = jax.random.key(0)


def test_shifts_repeat_the_border_and_move_frames_alike():
    image = jax.random.randint(KEY, (50, 2, 5, 6, 3), 0, 256).astype(jnp.uint8)
    moved = random_shift(KEY, image, 2)
    assert moved.dtype == jnp.uint8
    width = ((0, 0), (2, 2), (2, 2), (0, 0))
    seen = set()
    for before, after in zip(np.asarray(image), np.asarray(moved), strict=True):
        padded = np.pad(before, width, "edge")
        fits = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if (padded[:, i : i + 5, j : j + 6] == after).all()
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) > 15
    np.testing.assert_array_equal(random_shift(KEY, image, 0), image)


def test_brightness_is_one_factor_per_row_at_most_twice_the_scale_away():
    image = jnp.ones((1_000, 2, 3))
    bright = random_intensity(KEY, image, 0.05)
    assert (bright == bright[:, :1, :1]).all()
    factor = bright[:, 0, 0]
    np.testing.assert_allclose((factor.min(), factor.max()), (0.9, 1.1), atol=1e-6)
    # Clipped at two deviations: 0.88 of the variance is left (normal tables).
    np.testing.assert_allclose(factor.std(), 0.05 * 0.959, rtol=0.1)
