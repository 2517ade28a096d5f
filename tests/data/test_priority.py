import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.streams import counting_steps, filled, jitted, last_of, stamps
from wm.data import priority
from wm.data.priority import PrioritizedReplay
from wm.types import Feedback, Index

ROWS = 2
buffer = jitted(PrioritizedReplay(capacity=ROWS * 8, length=3, exponent=0.5))


def tree_of(values):
    values = jnp.asarray(values, jnp.float32)
    leaf = jnp.arange(len(values))
    tree = priority.tree_empty(len(values))
    return priority.tree_set(tree, leaf, values, jnp.ones(len(values), bool))


def test_tree_sums_its_leaves():
    np.testing.assert_array_equal(tree_of([1, 2, 3, 4, 5]), [
        0, 15, 10, 5, 3, 7, 5, 0, 1, 2, 3, 4, 5, 0, 0, 0,
    ])  # fmt: skip


def test_tree_of_one_leaf():
    tree = tree_of([2])
    assert tree.shape == (4,)
    np.testing.assert_array_equal(tree[1:], [2, 2, 0])


def test_last_valid_value_of_a_leaf_wins():
    tree = priority.tree_set(
        tree_of([1, 1, 1, 1]),
        jnp.array([2, 2, 2, 0]),
        jnp.array([5.0, 6.0, 7.0, 8.0]),
        jnp.array([True, True, False, False]),
    )
    np.testing.assert_array_equal(tree[4:], [1, 1, 6, 1])
    assert float(tree[1]) == 9


def test_find_returns_the_leaf_where_the_running_sum_passes():
    tree = tree_of([1, 0, 3, 0, 2])
    mass = jnp.array([0.0, 0.99, 1.0, 3.9, 4.0, 5.9, 6.0, 100.0])
    np.testing.assert_array_equal(
        priority.tree_find(tree, mass), [0, 0, 2, 2, 4, 4, 4, 4]
    )


def test_only_whole_windows_can_be_drawn():
    state = filled(buffer, ROWS, 11)
    leaves = np.asarray(state.tree[16:]).reshape(ROWS, 8)
    # Times 3…10 are stored; windows begin at 3…8, that is slots 3…7 and 0.
    np.testing.assert_array_equal(leaves, [[1, 0, 0, 1, 1, 1, 1, 1]] * ROWS)
    _, batch = buffer.sample(state, jax.random.key(0), 48, 3)
    row, time = stamps(batch)
    assert set(time[:, 0]) == set(range(3, 9))
    assert set(row[:, 0]) == {0, 1}
    assert (np.diff(time, axis=1) == 1).all()
    np.testing.assert_array_equal(batch.index.time, time)
    np.testing.assert_allclose(batch.probability, 1 / 12)


@pytest.mark.parametrize("chunk", [4, 7, 8])
def test_adding_many_steps_at_once_equals_one_by_one(chunk):
    one, many = filled(buffer, ROWS, 15), filled(buffer, ROWS, 15, chunk)
    jax.tree.map(np.testing.assert_array_equal, one, many)


def test_written_priorities_set_the_odds_and_new_windows_get_the_largest():
    state = filled(buffer, ROWS, 5)  # windows begin at 0, 1, 2 of each row
    row = jnp.array([[0, 0, 0], [1, 1, 1]])
    time = jnp.array([[0, 1, 2], [0, 1, 2]])
    values = jnp.array([[16.0, jnp.nan, 0.0], [-1.0, 4.0, 9.0]])
    mask = jnp.ones((2, 3), bool).at[1, 2].set(False)
    state = buffer.write(state, Feedback(Index(row, time), {"priority": values}, mask))
    leaves = np.asarray(state.tree[16:]).reshape(ROWS, 8)
    np.testing.assert_array_equal(leaves[:, :4], [[4, 1, 0, 0], [1, 2, 1, 0]])
    _, batch = buffer.sample(state, jax.random.key(0), 9, 3)
    got = stamps(batch)
    starts = sorted(zip(got[0][:, 0].tolist(), got[1][:, 0].tolist(), strict=True))
    assert starts.count((0, 0)) == 4
    assert (0, 2) not in starts
    np.testing.assert_allclose(batch.probability[0], 4 / 9, rtol=1e-6)
    steps = counting_steps(ROWS, 5, 1)
    state = buffer.add(state, steps, last_of(steps))
    np.testing.assert_array_equal(state.tree[16:].reshape(ROWS, 8)[:, 3], [4, 4])


def test_priorities_of_overwritten_or_unfinished_windows_are_dropped():
    state = filled(buffer, ROWS, 11)
    time = jnp.array([[2, 9, 10]])
    index = Index(jnp.zeros((1, 3), jnp.int32), time)
    feedback = Feedback(index, {"priority": jnp.full((1, 3), 5.0)}, time >= 0)
    np.testing.assert_array_equal(buffer.write(state, feedback).tree, state.tree)


def test_extras_are_written_along():
    state = filled(buffer, ROWS, 8)
    index = Index(jnp.zeros((1, 1), jnp.int32), jnp.full((1, 1), 2, jnp.int32))
    fields = {"priority": jnp.full((1, 1), 4.0), "value": jnp.full((1, 1), -3.0)}
    state = buffer.write(state, Feedback(index, fields, jnp.ones((1, 1), bool)))
    assert float(buffer.read(state, index).extras["value"][0, 0]) == -3
    assert float(state.tree[18]) == 2


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="exponent must be at least 0"):
        PrioritizedReplay(capacity=8, length=2, exponent=-1.0)
    state = filled(buffer, ROWS, 8)
    with pytest.raises(ValueError, match="L must be length=3, got 2"):
        buffer.sample(state, jax.random.key(0), 1, 2)
