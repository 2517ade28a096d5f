"""`wm.ops.stopping`: when the authors' average rises."""

import jax.numpy as jnp
import numpy as np

from wm.ops.stopping import rolling


def test_the_average_is_that_of_the_authors_and_stops_where_it_rises():
    """Their loop: average 1.5 v₀, before it 2 v₀; 0.9 of the old stays; stop where the
    one before is less."""
    losses = [1.0, 1.2, 1.44, 1.46, 0.5, 2.0]
    theirs, average, before = [], 1.5, 2.0
    for loss in losses:
        average = 0.9 * average + 0.1 * loss
        theirs.append((average, before < average))
        before = average
    ours, average = [], jnp.zeros(())
    for epoch, loss in enumerate(losses):
        average, rises = rolling(average, jnp.array(loss), jnp.array(epoch), 0.9)
        ours.append((float(average), bool(rises)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert [rises for _, rises in ours] == [False, False, True, True, False, True]


def test_members_stop_apart():
    average, _ = rolling(jnp.zeros(2), jnp.array([1.0, 4.0]), jnp.array(0), 0.99)
    _, rises = rolling(average, jnp.array([2.0, 2.0]), jnp.array(1), 0.99)
    np.testing.assert_array_equal(rises, [True, False])
