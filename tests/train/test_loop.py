"""The compiled loop: counts, order, memory, and the seed axis."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.toy import FitOnly, Labeller, Toy
from wm import envs
from wm.data.replay import Replay
from wm.train.device import DeviceRunner, train_device
from wm.train.loop import loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, default_mode, seed_keys

SCHEDULE = Schedule(
    total=160,
    envs=4,
    batch_size=2,
    batch_length=4,
    train_ratio=4.0,
    prefill=32,
    replay=256,
    log_steps=40,
    eval_episodes=5,
)


def runner_of(
    mode, seeds=2, seed=0, schedule=SCHEDULE, env=None, agent=None, layout=None
):
    env = env or envs.make("probe/step_counter")
    axis = Seeds(seed_keys(seed, seeds), mode, mesh=layout)
    return DeviceRunner(loop_of(agent or Toy(env.spec), schedule), env, axis)


@pytest.fixture(scope="module")
def runners():
    """One runner per mode; their programs are shared by the tests of this file."""
    return {mode: runner_of(mode) for mode in ("loop", "vmap", "shard")}


def run(runner, stretches=(6,)):
    """States after the prefill and these stretches, and the last report."""
    count, report = runner.seeds.count, {}
    states = runner.prefill(runner.init(), [runner.loop.prefill_chunks] * count)
    for chunks in stretches:
        states, report = runner.interval(states, [chunks] * count, [0] * count)
    return states, report


def leaves(tree):
    data = lambda x: jax.random.key_data(x) if is_key(x) else x
    return [np.asarray(data(x)) for x in jax.tree.leaves(tree)]


def is_key(x):
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def assert_same(a, b, tolerance=0.0):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        if tolerance:
            x, y = x.astype(np.float64), y.astype(np.float64)
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(x, y)
    assert all(
        np.isfinite(x).all() for x in leaves(a.agent if hasattr(a, "agent") else ())
    )


def test_stretches_of_any_length_give_the_same_state(runners):
    whole, _ = run(runners["loop"], (6,))
    parts, _ = run(runners["loop"], (1, 0, 3, 2))
    assert_same(whole, parts)


def test_loop_equals_single_runs_bit_for_bit(runners):
    together, _ = run(runners["loop"])
    for seed in range(2):
        alone, _ = run(runner_of("loop", seeds=1, seed=seed))
        assert_same(together[seed], alone[0])


@pytest.mark.parametrize("mode", ["vmap", "shard"])
def test_one_program_for_all_seeds_equals_loop(runners, mode):
    together, report = run(runners[mode])
    one_by_one, expected = run(runners["loop"])
    for seed in range(2):
        assert_same(runners[mode].seeds.pick(together, seed), one_by_one[seed], 1e-5)
    np.testing.assert_array_equal(report["step"], expected["step"])


def test_seeds_differ(runners):
    states, _ = run(runners["loop"])
    assert np.any(states[0].agent.params["model"] != states[1].agent.params["model"])


def test_updates_follow_the_train_ratio_exactly(runners):
    states, report = run(runners["loop"])
    T, updates = runners["loop"].loop.chunk
    assert updates / (T * 4) == 4.0 / (2 * 4)
    np.testing.assert_array_equal(report["updates"], 6 * updates)
    assert int(states[0].agent.updates) == 6 * updates


def test_steps_are_the_records_that_begin_no_episode(runners):
    states, report = run(runners["loop"])
    stored = runners["loop"].loop.buffer.dataset(states[0].buffer).steps.timestep
    count = int(states[0].buffer.ring.count)
    first = np.asarray(stored.is_first)[:, :count]
    # The newest record has arrived and is not stored yet; the first was no step.
    newest = np.asarray(states[0].timestep.is_first)
    assert report["step"][0] == (~first).sum() + (~newest).sum()


def test_the_stored_stream_is_continuous(runners):
    states, _ = run(runners["loop"])
    steps = runners["loop"].loop.buffer.dataset(states[0].buffer).steps.timestep
    count = int(states[0].buffer.ring.count)
    observation = np.asarray(steps.observation)[:, :count]
    time, is_first = observation[..., 2], np.asarray(steps.is_first)[:, :count]
    is_last = np.asarray(steps.is_last)[:, :count]
    np.testing.assert_array_equal(time == 0, is_first)
    np.testing.assert_array_equal(is_last[:, :-1], is_first[:, 1:])
    follows = ~is_first[:, 1:]
    assert np.all(np.diff(time)[follows] == 1)


def test_latents_are_written_back(runners):
    states, _ = run(runners["loop"])
    steps = runners["loop"].loop.buffer.dataset(states[0].buffer).steps
    trace, score = steps.extras["latent"], steps.extras["score"]
    assert trace.dtype == jnp.bfloat16
    assert np.any(np.asarray(trace.astype(jnp.float32)).sum(-1) != 0)
    assert score.dtype == jnp.float32


def test_second_call_traces_nothing():
    env = envs.make("probe/trace_counter")
    runner = runner_of("loop", seeds=1, env=env)
    states, _ = run(runner)
    traces = env.traces
    runner.interval(states, [4], [1])
    assert traces > 0
    assert env.traces == traces


@pytest.mark.parametrize("mode", ["loop", "vmap"])
def test_a_larger_buffer_adds_nothing_to_the_temporaries(mode):
    def sizes(capacity):
        schedule = dataclasses.replace(SCHEDULE, replay=capacity)
        runner = runner_of(mode, schedule=schedule)
        key = runner.seeds.keys
        states = [runner.shapes()] * 2
        if mode == "vmap":
            states = jax.eval_shape(
                jax.vmap(lambda k: runner.loop.init(runner.env, k)), key
            )
        program = runner.program("train", runner.stretch, states, 2)
        buffer = sum(x.size * x.dtype.itemsize for x in leaves_of(states, mode))
        return buffer, program.executable.memory_analysis().temp_size_in_bytes

    def leaves_of(states, mode):
        return jax.tree.leaves((states[0] if mode == "loop" else states).buffer)

    small, temp_small = sizes(40_000)
    large, temp_large = sizes(80_000)
    assert temp_large - temp_small <= 0.01 * (large - small)


def test_averages_cover_the_updates_since_the_last_row():
    rows = []
    env = envs.make("probe/step_counter")
    _, states = train_device(
        Toy(env.spec), env, None, SCHEDULE, jax.random.key(0), rows.extend
    )
    updates = [row["updates"] for row in rows]
    assert updates == sorted(updates)
    assert rows[-1]["step"] >= SCHEDULE.total
    total, before = 0.0, 0
    for row in rows:
        total += row["model/noise"] * (row["updates"] - before)
        before = row["updates"]
    np.testing.assert_allclose(total, states[0].agent.noise, rtol=1e-4)


def test_runs_end_within_one_chunk_of_the_total():
    env = envs.make("probe/step_counter")
    schedule = dataclasses.replace(SCHEDULE, log_steps=1000)
    rows = []
    train_device(Toy(env.spec), env, None, schedule, seed_keys(0, 2), rows.extend)
    assert [row["seed"] for row in rows] == [0, 1]
    for row in rows:
        assert 160 <= row["step"] < 160 + 4 * 2


def test_a_host_buffer_is_chosen_by_the_schedule():
    env = envs.make("probe/recall")
    schedule = dataclasses.replace(SCHEDULE, replay_tier="host")
    assert not isinstance(loop_of(Toy(env.spec), schedule).buffer, Replay)
    assert isinstance(loop_of(Toy(env.spec), SCHEDULE).buffer, Replay)


def test_prefill_covers_what_the_buffer_needs():
    schedule = dataclasses.replace(SCHEDULE, prefill=0, batch_length=8)
    loop = loop_of(Toy(envs.make("probe/recall").spec), schedule)
    assert loop.prefill_chunks * loop.chunk_steps >= 4 * 9


def test_fit_runs_once_before_learning_and_then_on_its_interval():
    env = envs.make("probe/recall")
    schedule = dataclasses.replace(SCHEDULE, fit_steps=40)
    rows = []
    train_device(FitOnly(env.spec), env, None, schedule, jax.random.key(0), rows.extend)
    sizes = [row["fit/size"] for row in rows if "fit/size" in row]
    assert sizes[0] == 32
    np.testing.assert_array_equal(np.diff(sizes), 40)


def test_labels_and_reanalysed_targets_reach_the_buffer():
    env = envs.make("probe/recall")
    schedule = dataclasses.replace(SCHEDULE, reanalyse_steps=40)
    runner, states = train_device(
        Labeller(env.spec), env, None, schedule, jax.random.key(0), lambda rows: None
    )
    score = runner.loop.buffer.dataset(states[0].buffer).steps.extras["score"]
    assert np.any(np.asarray(score) == Labeller.LABEL)
    assert np.any(np.asarray(score) == Labeller.FRESH)
    assert int(states[0].reanalyses) >= 2


def test_default_modes():
    assert default_mode(4, "cpu") == "loop"
    assert default_mode(1, "gpu") == "loop"
    assert default_mode(4, "gpu") == "vmap"


def test_intervals_of_what_is_not_done_are_no_targets():
    schedule = dataclasses.replace(SCHEDULE, eval_steps=8, save_steps=8)
    env, rows = envs.make("probe/step_counter"), []
    args = (Toy(env.spec), env, None, schedule, jax.random.key(0), rows.extend)
    _, states = train_device(*args, mode="loop")
    assert int(states[0].step) >= schedule.total
