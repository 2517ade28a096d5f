import jax
import numpy as np
import pytest

from tests.data.streams import counting_steps, example, jitted, stamps
from wm.data.rollout import Rollout

ROWS, T = 3, 6
buffer = jitted(Rollout(T))


def rolled(total, chunk):
    """A state after `total` steps, with the true step after them as `last`."""
    state = buffer.init(example(ROWS))
    for begin in range(0, total, chunk):
        steps = counting_steps(ROWS, begin, chunk + 1)
        last = jax.tree.map(lambda x: x[:, -1], steps.timestep)
        steps = jax.tree.map(lambda x: x[:, :-1], steps)
        state = buffer.add(state, steps, last)
    return state


@pytest.mark.parametrize(("total", "chunk"), [(6, 6), (18, 6), (8, 2), (7, 1)])
def test_sample_of_all_rows_is_everything_up_to_last(total, chunk):
    state = rolled(total, chunk)
    _, batch = buffer.sample(state, jax.random.key(0), ROWS, T + 1)
    row, time = stamps(batch)
    np.testing.assert_array_equal(row[:, 0], np.arange(ROWS))
    np.testing.assert_array_equal(time, [np.arange(total - T, total + 1)] * ROWS)
    want = counting_steps(ROWS, 0, total + 1)
    np.testing.assert_array_equal(
        batch.timestep.reward, want.timestep.reward[:, total - T :]
    )
    np.testing.assert_array_equal(batch.action[:, :-1], want.action[:, total - T : -1])
    assert not np.asarray(batch.action[:, -1]).any()
    assert int(buffer.size(state)) == T * ROWS


def test_last_gives_way_to_the_step_it_became():
    batch = buffer.newest(rolled(8, 2), 4)
    action = counting_steps(ROWS, 5, 3).action
    np.testing.assert_array_equal(batch.action[:, :3], action)


def test_dataset_counts_every_transition_into_last_once():
    data = buffer.dataset(rolled(9, 3))
    stamp = np.asarray(data.steps.timestep.observation["stamp"])
    got = {(s // 1000, s % 1000) for s in stamp[np.asarray(data.mask)]}
    last = counting_steps(ROWS, 0, 10).timestep.is_last
    want = {(r, t) for r in range(ROWS) for t in range(3, 9) if not last[r, t]}
    assert got == want
    assert int(data.size) == T * ROWS


def test_size_before_and_while_filling():
    assert int(buffer.size(buffer.init(example(ROWS)))) == 0
    assert int(buffer.size(rolled(4, 2))) == 4 * ROWS


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="T must be at least 1"):
        Rollout(0)
