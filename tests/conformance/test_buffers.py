"""Every buffer against its contract: being listed is being tested."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.streams import counting_steps, example, filled, last_of, stamps
from wm.data.host_replay import HostReplay
from wm.data.priority import PrioritizedReplay
from wm.data.replay import Replay
from wm.data.rollout import Rollout
from wm.data.twofold import Twofold
from wm.types import Buffer, Feedback

ROWS, L = 2, 4
DEVICE = {
    "replay": Replay(capacity=ROWS * 12, length=L),
    "replay uniform": Replay(capacity=ROWS * 12, length=L, newest_first=False),
    "prioritized": PrioritizedReplay(capacity=ROWS * 12, length=L),
    "rollout": Rollout(T=11),
    "twofold": Twofold(Replay(ROWS * 12, L, newest_first=False), Rollout(T=11)),
}
HOST = {"host": HostReplay(capacity=ROWS * 12, length=L)}
EVERY = DEVICE | HOST

on_device = pytest.mark.parametrize("buffer", DEVICE.values(), ids=DEVICE.keys())
everywhere = pytest.mark.parametrize("buffer", EVERY.values(), ids=EVERY.keys())


def once(buffer, state, key):
    """The runner's order: add, sample, write what depends on the sample."""
    steps = jax.tree.map(jnp.asarray, counting_steps(ROWS, 30, 3))
    state = buffer.add(state, steps, last_of(steps))
    state, batch = buffer.sample(state, key, 3, L)
    mask = np.ones((3, L), bool)
    mask[:, 0] = False
    fields = {"value": batch.extras["value"] + 1}
    return buffer.write(state, Feedback(batch.index, fields, mask)), batch


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@everywhere
def test_is_a_hashable_buffer(buffer):
    assert isinstance(buffer, Buffer)
    assert hash(buffer) == hash(buffer)


@everywhere
def test_init_takes_arrays_or_shapes(buffer):
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), example(ROWS)
    )
    a, b = buffer.init(example(ROWS)), buffer.init(shapes)
    assert_same(buffer.dataset(a), buffer.dataset(b))
    assert int(buffer.size(a)) == 0


@everywhere
def test_samples_have_the_promised_form(buffer):
    state = filled(buffer, ROWS, 30, 10)
    _, batch = buffer.sample(state, jax.random.key(0), 3, L)
    assert batch.timestep.private is None
    assert batch.timestep.legal is None
    assert batch.index.row.shape == batch.index.time.shape == (3, L)
    assert batch.index.row.dtype == batch.index.time.dtype == np.int32
    assert batch.probability.shape == (3,)
    assert batch.probability.dtype == np.float32
    assert ((batch.probability > 0) & (batch.probability <= 1)).all()
    row, time = stamps(batch)
    np.testing.assert_array_equal(row, np.broadcast_to(row[:, :1], (3, L)))
    np.testing.assert_array_equal(time, time[:, :1] + np.arange(L))
    np.testing.assert_array_equal(batch.index.row, row)
    np.testing.assert_array_equal(batch.index.time, time)
    assert batch.timestep.discount.dtype == np.float32


@everywhere
def test_what_is_sampled_can_be_read_again(buffer):
    state = filled(buffer, ROWS, 30, 10)
    state, batch = buffer.sample(state, jax.random.key(0), 3, L)
    again = buffer.read(state, batch.index)
    assert_same(batch._replace(probability=0), again._replace(probability=0))


@everywhere
def test_written_extras_are_read_back_and_nothing_else_changes(buffer):
    state = filled(buffer, ROWS, 30, 10)
    before = jax.tree.map(np.array, buffer.newest(state, 12))
    fields = {"value": np.full((ROWS, 2), -1, np.float32)}
    index = jax.tree.map(lambda x: x[:, 3:5], before.index)
    state = buffer.write(state, Feedback(index, fields, np.ones((ROWS, 2), bool)))
    after = buffer.newest(state, 12)
    assert (np.asarray(after.extras["value"])[:, 3:5] == -1).all()
    before.extras["value"][:, 3:5] = -1
    assert_same(before, after)


@everywhere
def test_write_behind_the_ring_is_dropped(buffer):
    state = filled(buffer, ROWS, 30, 10)
    newest = buffer.newest(state, 12)
    before = jax.tree.map(np.array, buffer.dataset(state).steps)
    # A replay inside another buffer may be one step behind the newest record.
    index = newest.index._replace(time=np.asarray(newest.index.time) - 13)
    fields = {"value": np.full((ROWS, 12), -1, np.float32)}
    state = buffer.write(state, Feedback(index, fields, np.ones((ROWS, 12), bool)))
    assert_same(before, buffer.dataset(state).steps)


@everywhere
def test_dataset_and_size_agree(buffer):
    state = filled(buffer, ROWS, 30, 10)
    data = buffer.dataset(state)
    assert int(data.size) == int(buffer.size(state))
    assert data.mask.shape == data.steps.timestep.reward.shape == (ROWS, 12)
    steps = jax.tree.map(lambda x: np.asarray(x)[np.asarray(data.mask)], data.steps)
    assert not steps.timestep.is_last.any()


@everywhere
def test_same_inputs_give_same_outputs(buffer):
    results = [
        once(buffer, filled(buffer, ROWS, 30, 10), jax.random.key(5))[1]
        for _ in range(2)
    ]
    assert_same(*results)


@pytest.mark.parametrize("name", EVERY)
def test_key_matters(name):
    buffer = EVERY[name]
    state = filled(buffer, ROWS, 30, 10)
    times = []
    for seed in range(2):
        state, _ = buffer.sample(state, jax.random.key(9), 32, L)  # empties a queue
        state, batch = buffer.sample(state, jax.random.key(seed), 32, L)
        times.append(np.asarray(batch.index.time))
    assert (times[0] != times[1]).any()


@on_device
def test_jit_changes_nothing_and_compiles_once(buffer):
    traces = []

    @jax.jit
    def compiled(state, key):
        traces.append(1)
        return once(buffer, state, key)

    state = filled(buffer, ROWS, 30, 10)
    key = jax.random.key(2)
    plain = once(buffer, state, key)
    assert_same(compiled(state, key), plain)
    next_state, _ = compiled(state, key)
    assert jax.tree.structure(next_state) == jax.tree.structure(state)
    compiled(next_state, key)
    assert len(traces) == 1


@on_device
def test_vmap_over_seeds_equals_a_loop(buffer):
    state = filled(buffer, ROWS, 30, 10)
    keys = jax.random.split(jax.random.key(3), 4)
    states = jax.tree.map(lambda x: jnp.stack([x] * 4), state)
    run = lambda state, key: once(buffer, state, key)
    together = jax.jit(jax.vmap(run))(states, keys)
    alone = jax.jit(run)
    for seed in range(4):
        assert_same(
            jax.tree.map(lambda x, s=seed: x[s], together), alone(state, keys[seed])
        )


LARGE = {
    "replay": lambda steps: Replay(capacity=ROWS * steps, length=L),
    "prioritized": lambda steps: PrioritizedReplay(capacity=ROWS * steps, length=L),
    "rollout": lambda steps: Rollout(T=steps - 1),
    "twofold": lambda steps: Twofold(
        Replay(ROWS * steps, L, newest_first=False), Rollout(T=steps - 1)
    ),
}


def memory(buffer, seeds):
    """Bytes of temporaries and of the state in a compiled loop over `once`."""

    def run(state, key):
        body = lambda state, key: (once(buffer, state, key)[0], None)
        return jax.lax.scan(body, state, jax.random.split(key, 3))[0]

    init = lambda _: buffer.init(example(ROWS))
    state, key = jax.eval_shape(init, 0), jax.random.key(0)
    if seeds > 1:
        run, key = jax.vmap(run), jax.random.split(key, seeds)
        state = jax.eval_shape(jax.vmap(init), jnp.arange(seeds))
    lowered = jax.jit(run, donate_argnums=0).lower(state, key)
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    return lowered.compile().memory_analysis().temp_size_in_bytes, size


@pytest.mark.parametrize("seeds", [1, 4])
@pytest.mark.parametrize("name", LARGE)
def test_compiled_loop_is_in_place(name, seeds):
    small_temp, small = memory(LARGE[name](5_000), seeds)
    large_temp, large = memory(LARGE[name](10_000), seeds)
    assert small_temp < 0.1 * small
    assert large_temp - small_temp <= 0.01 * (large - small)
