import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.streams import counting_steps, example, filled, jitted, last_of, stamps
from wm.data.replay import Replay
from wm.data.ring import holds
from wm.errors import UserError
from wm.types import Feedback, Index

ROWS = 3
uniform = jitted(Replay(capacity=ROWS * 16, length=4, newest_first=False))
queued = jitted(Replay(capacity=ROWS * 16, length=4))


def expected(batch):
    """The steps that a batch should hold, by its index."""
    row, time = np.asarray(batch.index.row), np.asarray(batch.index.time)
    steps = counting_steps(ROWS, 0, 200)
    return jax.tree.map(
        lambda x: x[row, time],
        steps._replace(timestep=steps.timestep._replace(private=None)),
    )


@pytest.mark.parametrize(("total", "chunk"), [(16, 1), (23, 1), (40, 5), (48, 16)])
def test_windows_are_consecutive_stored_steps_of_one_row(total, chunk):
    state = filled(uniform, ROWS, total, chunk)
    _, batch = uniform.sample(state, jax.random.key(0), 64, 4)
    row, time = stamps(batch)
    assert (row == row[:, :1]).all()
    assert (np.diff(time, axis=1) == 1).all()
    assert time.min() == max(total - 16, 0)
    assert time.max() == total - 1
    np.testing.assert_array_equal(batch.index.row, row)
    np.testing.assert_array_equal(batch.index.time, time)
    assert len({(r, t) for r, t in zip(row[:, 0], time[:, 0], strict=True)}) > 20


def test_every_column_comes_back_bit_for_bit():
    state = filled(uniform, ROWS, 37, 3)
    _, batch = uniform.sample(state, jax.random.key(1), 8, 4)
    want = expected(batch)
    assert batch.timestep.private is None
    assert batch.extras["latent"]["h"].dtype == jnp.bfloat16
    assert batch.timestep.observation["image"].dtype == jnp.uint8
    got = (batch.timestep._replace(is_last=None), batch.action, batch.extras)
    want = (want.timestep._replace(is_last=None), want.action, want.extras)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_probability_is_that_of_one_uniform_window():
    state = filled(uniform, ROWS, 10)
    _, batch = uniform.sample(state, jax.random.key(0), 5, 4)
    np.testing.assert_allclose(batch.probability, 1 / (3 * 7))


def test_is_first_only_where_episodes_begin_and_ends_are_kept():
    state = filled(uniform, ROWS, 30)
    _, batch = uniform.sample(state, jax.random.key(0), 32, 4)
    want = expected(batch).timestep
    np.testing.assert_array_equal(batch.timestep.is_first, want.is_first)
    np.testing.assert_array_equal(batch.timestep.is_last, want.is_last)
    np.testing.assert_array_equal(batch.timestep.discount, want.discount)


def test_abandoned_episode_becomes_a_truncation():
    buffer = jitted(Replay(capacity=8, length=4))
    steps = counting_steps(1, 0, 8, episode=100)
    first = np.zeros((1, 8), bool)
    first[0, [0, 5]] = True
    steps = steps._replace(timestep=steps.timestep._replace(is_first=first))
    state = buffer.add(buffer.init(example(1)), steps, last_of(steps))
    batch = buffer.newest(state, 8)
    np.testing.assert_array_equal(np.flatnonzero(batch.timestep.is_last), [4])
    np.testing.assert_array_equal(batch.timestep.discount, np.ones((1, 8)))
    single = buffer.read(state, Index(jnp.array([[0, 0]]), jnp.array([[4, 6]])))
    assert not single.timestep.is_last.any()


def test_queue_serves_each_window_once_oldest_first():
    state = filled(queued, ROWS, 13)
    state, batch = queued.sample(state, jax.random.key(0), 7, 4)
    row, time = stamps(batch)
    assert list(zip(row[:, 0], time[:, 0], strict=True)) == [
        (0, 0), (1, 0), (2, 0), (0, 4), (1, 4), (2, 4), (0, 8),
    ]  # fmt: skip
    state, batch = queued.sample(state, jax.random.key(1), 9, 4)
    row, time = stamps(batch)
    assert list(zip(row[:2, 0], time[:2, 0], strict=True)) == [(1, 8), (2, 8)]
    assert int(state.served) == 9
    steps = counting_steps(ROWS, 13, 3)
    state = queued.add(state, steps, last_of(steps))
    state, batch = queued.sample(state, jax.random.key(2), 4, 4)
    row, time = stamps(batch)
    np.testing.assert_array_equal(row[:3, 0], [0, 1, 2])
    np.testing.assert_array_equal(time[:3, 0], [12, 12, 12])


def test_queue_skips_overwritten_windows():
    state = filled(queued, ROWS, 16 + 5)
    _, batch = queued.sample(state, jax.random.key(0), 3, 4)
    assert (stamps(batch)[1][:, 0] == 8).all()


def test_other_lengths_leave_the_queue_alone():
    state = filled(queued, ROWS, 12)
    state, batch = queued.sample(state, jax.random.key(0), 8, 3)
    assert int(state.served) == 0
    assert batch.action.shape == (8, 3, 2)


def test_write_is_visible_at_the_next_sample_and_casts_to_the_column():
    state = filled(uniform, ROWS, 20)
    _, batch = uniform.sample(state, jax.random.key(0), 2, 4)
    mask = np.ones((2, 4), bool)
    mask[:, 0] = False
    h = jnp.full((2, 4, 3), 1 / 3, jnp.float32)
    state = uniform.write(
        state,
        Feedback(
            batch.index, {"latent": {"h": h, "z": batch.extras["latent"]["z"]}}, mask
        ),
    )
    again = uniform.read(state, batch.index)
    written = np.asarray(again.extras["latent"]["h"], np.float32)
    np.testing.assert_array_equal(
        written[:, 1:], np.float32(jnp.asarray(1 / 3, jnp.bfloat16))
    )
    np.testing.assert_array_equal(again.extras["value"], batch.extras["value"])
    np.testing.assert_array_equal(
        again.extras["latent"]["z"][:, 0], batch.extras["latent"]["z"][:, 0]
    )


def test_write_to_overwritten_or_future_steps_is_dropped():
    state = filled(uniform, ROWS, 20)
    before = uniform.dataset(state).steps.extras["value"]
    time = jnp.array([[2, 3, 4], [19, 20, -1]])
    index = Index(jnp.array([[1, 1, 1], [2, 2, 2]]), time)
    value = jnp.full((2, 3), -5.0)
    feedback = Feedback(index, {"value": value}, jnp.ones((2, 3), bool))
    state = uniform.write(state, feedback)
    changed = np.argwhere(uniform.dataset(state).steps.extras["value"] != before)
    np.testing.assert_array_equal(changed, [[1, 4], [2, 3]])
    np.testing.assert_array_equal(
        holds(state.ring, index), [[False, False, True], [True, False, False]]
    )


def test_later_batch_row_wins_where_windows_overlap():
    state = filled(uniform, ROWS, 16)
    row = jnp.zeros((3, 4), jnp.int32)
    time = jnp.array([4, 6, 5])[:, None] + jnp.arange(4)
    value = jnp.array([10.0, 20.0, 30.0])[:, None] * jnp.ones((3, 4))
    mask = jnp.ones((3, 4), bool).at[2, 2].set(False)
    state = uniform.write(state, Feedback(Index(row, time), {"value": value}, mask))
    got = uniform.newest(state, 16).extras["value"][0, 4:10]
    np.testing.assert_array_equal(got, [10, 30, 30, 20, 30, 20])


def test_unknown_field_and_other_kind_are_refused():
    state = filled(uniform, ROWS, 16)
    index = Index(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), jnp.int32))
    mask = jnp.ones((1, 1), bool)
    with pytest.raises(ValueError, match="no stored field 'latnet'"):
        uniform.write(state, Feedback(index, {"latnet": jnp.zeros((1, 1))}, mask))
    with pytest.raises(ValueError, match="stored as float32"):
        uniform.write(state, Feedback(index, {"value": mask}, mask))


def test_newest_are_the_last_steps_in_order():
    state = filled(uniform, ROWS, 21, 7)
    row, time = stamps(uniform.newest(state, 6))
    np.testing.assert_array_equal(time, np.tile(np.arange(15, 21), (ROWS, 1)))
    np.testing.assert_array_equal(row[:, 0], np.arange(ROWS))


@pytest.mark.parametrize("total", [0, 6, 16, 21])
def test_dataset_masks_exactly_the_transitions(total):
    state = filled(uniform, ROWS, total)
    data = uniform.dataset(state)
    assert int(data.size) == int(uniform.size(state)) == min(total, 16) * ROWS
    stamp = np.asarray(data.steps.timestep.observation["stamp"])
    got = {(s // 1000, s % 1000) for s in stamp[np.asarray(data.mask)]}
    steps = counting_steps(ROWS, 0, 50)
    want = {
        (r, t)
        for r in range(ROWS)
        for t in range(max(total - 16, 0), total - 1)
        if not steps.timestep.is_last[r, t] and not steps.timestep.is_first[r, t + 1]
    }
    assert got == want


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="holds no sequence of 8: raise --train"):
        Replay(capacity=7, length=8)
    with pytest.raises(ValueError, match="fewer than one sequence of 8"):
        Replay(capacity=20, length=8).init(example(3))
    state = filled(uniform, ROWS, 16)
    with pytest.raises(ValueError, match=r"L must be in 1\.\.16"):
        uniform.sample(state, jax.random.key(0), 1, 17)
    steps = counting_steps(ROWS, 0, 17)
    with pytest.raises(ValueError, match=r"cannot add 17 steps .* raise --train"):
        uniform.add(state, steps, last_of(steps))


def loop(buffer, rows, T, N, L, updates=2):
    """The runner's order: (add → (sample → write) × updates) scanned over chunks."""

    def update(state, key):
        state, batch = buffer.sample(state, key, N, L)
        h = batch.extras["latent"]["h"] + 1
        mask = jnp.ones((N, L), bool).at[:, 0].set(False)
        fields = {"latent": {"h": h, "z": batch.extras["latent"]["z"]}}
        state = buffer.write(state, Feedback(batch.index, fields, mask))
        return state, batch.timestep.observation["stamp"].sum()

    def chunk(state, key):
        steps = jax.tree.map(jnp.asarray, counting_steps(rows, 0, T))
        state = buffer.add(state, steps, last_of(steps))
        return jax.lax.scan(update, state, jax.random.split(key, updates))

    def run(state, key):
        return jax.lax.scan(chunk, state, jax.random.split(key, 3))

    return run


def temporaries(capacity, seeds, T):
    """Bytes of temporaries and of the buffer in the compiled loop."""
    rows = 2
    buffer = Replay(capacity=capacity, length=4)
    run = loop(buffer, rows, T=T, N=2, L=4)
    init = lambda _: buffer.init(example(rows))
    state = jax.eval_shape(init, 0)
    keys = jax.random.key(0)
    if seeds:
        run, keys = jax.vmap(run), jax.random.split(keys, seeds)
        state = jax.eval_shape(jax.vmap(init), jnp.arange(seeds))
    analysis = (
        jax.jit(run, donate_argnums=0).lower(state, keys).compile().memory_analysis()
    )
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert analysis.alias_size_in_bytes >= size
    return analysis.temp_size_in_bytes, size


@pytest.mark.parametrize(("seeds", "T"), [(0, 1), (0, 3), (4, 1)])
def test_compiled_loop_is_in_place(seeds, T):
    small_temp, small = temporaries(20_000, seeds, T)
    large_temp, large = temporaries(40_000, seeds, T)
    assert small_temp < 0.1 * small
    assert large_temp - small_temp <= 0.01 * (large - small)


def test_vmap_over_seeds_equals_a_loop():
    run = loop(queued, ROWS, T=3, N=2, L=4)
    keys = jax.random.split(jax.random.key(0), 2)
    state = queued.init(example(ROWS))
    one = jax.jit(run)
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), state)
    together = jax.jit(jax.vmap(run))(stacked, keys)
    for seed in range(2):
        alone = one(state, keys[seed])
        jax.tree.map(
            lambda a, b, seed=seed: np.testing.assert_array_equal(a, b[seed]),
            alone,
            together,
        )


def test_parts_of_the_rows_give_parts_of_every_batch():
    """As if each part were a replay of its own with a queue of its own."""
    whole = jitted(Replay(capacity=4 * 12, length=3, parts=2))
    half = jitted(Replay(capacity=2 * 12, length=3))
    state, own = filled(whole, 4, 7), filled(half, 2, 7)
    owns = [own, own]
    for number in range(3):  # queued windows of every row, then uniform ones
        key = jax.random.key(number)
        state, batch = whole.sample(state, key, 8, 3)
        row, time = stamps(batch)
        for i, part_key in enumerate(jax.random.split(key, 2)):
            owns[i], wanted = half.sample(owns[i], part_key, 4, 3)
            part = slice(4 * i, 4 * i + 4)
            np.testing.assert_array_equal(row[part], wanted.index.row + 2 * i)
            np.testing.assert_array_equal(time[part], wanted.index.time)
            np.testing.assert_allclose(2 * batch.probability[part], wanted.probability)
        np.testing.assert_array_equal(batch.index.row, row)
    value = 0.5 + jnp.arange(24.0).reshape(8, 3)
    feedback = Feedback(batch.index, {"value": value}, batch.index.time > 0)
    plain = jitted(Replay(capacity=4 * 12, length=3))
    after, wanted = whole.write(state, feedback), plain.write(state, feedback)
    jax.tree.map(np.testing.assert_array_equal, after, wanted)


def test_parts_must_divide_rows_and_batches():
    replay = Replay(capacity=48, length=3, parts=3)
    with pytest.raises(
        UserError, match=r"replay_parts 3 does not divide --train\.envs"
    ):
        replay.init(example(4))
    with pytest.raises(UserError, match=r"does not divide --train\.batch_size 8"):
        replay.sample(replay.init(example(3)), jax.random.key(0), 8, 3)
    with pytest.raises(ValueError, match="parts must be at least 1"):
        Replay(capacity=48, length=3, parts=0)
