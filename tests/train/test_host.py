"""Host environments and host replay: the same run as on the device."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.train.test_loop import SCHEDULE, assert_same, runner_of
from tests.train.test_run import rows, saved, stop_after
from tests.train.toy import Labeller, Toy
from wm import envs
from wm.errors import RunError, UserError
from wm.train import evaluate
from wm.train.host import HostRunner, train_host
from wm.train.host_env import AsHost, host_envs
from wm.train.loop import loop_of
from wm.train.run import load, train
from wm.train.seeds import Seeds, seed_keys
from wm.types import Feedback

ENV = envs.make("probe/step_counter")


class SameStream(AsHost):
    """The stream that the device runner of a seed sees."""

    def __init__(self, seed):
        key_env = jax.random.split(jax.random.key(seed), 3)[1]
        super().__init__(ENV, SCHEDULE.envs, key_env)


def host_runner(agent=Toy, overlap=False, schedule=SCHEDULE):
    loop = loop_of(agent(ENV.spec), schedule)
    axis = Seeds(seed_keys(0, 1), "loop")
    return HostRunner(loop, [SameStream(0)], axis, overlap=overlap)


def run(runner, stretches=(6,)):
    states = runner.prefill(runner.init(), [runner.loop.prefill_chunks])
    for chunks in stretches:
        states, report = runner.interval(states, [chunks], [0])
    return states[0], report


@pytest.fixture(scope="module")
def on_device():
    runner = runner_of("loop", seeds=1)
    states = runner.prefill(runner.init(), [runner.loop.prefill_chunks])
    states, report = runner.interval(states, [6], [0])
    return states[0], report


def test_without_overlap_the_host_equals_the_device(on_device):
    state, report = run(host_runner())
    assert_same(state.train.replace(env=()), on_device[0].replace(env=()), 1e-5)
    assert report["updates"] == on_device[1]["updates"]
    assert report["step"] == on_device[1]["step"]


def test_with_overlap_only_the_newest_updates_are_still_owed(on_device):
    state, report = run(host_runner(overlap=True))
    _, updates = runner_of("loop", seeds=1).loop.chunk
    assert report["updates"] == on_device[1]["updates"] - updates
    again, _ = run(host_runner(overlap=True), (2, 4))
    assert_same(state.train, again.train)


def test_replay_on_the_host_learns_from_the_same_number_of_batches():
    schedule = dataclasses.replace(SCHEDULE, replay_tier="host")
    runner = host_runner(schedule=schedule)
    state, report = run(runner)
    again, _ = run(host_runner(schedule=schedule), (1, 5))
    assert report["updates"] == 6 * runner.loop.chunk[1]
    assert_same(state.train, again.train)
    assert_same(state.replay.steps, again.replay.steps)
    assert np.any(np.asarray(state.replay.steps.extras["latent"], np.float32) != 0)


class Timed(Labeller):
    """Says of every record how long ago it was, counted from the newest."""

    def label(self, state, batch):
        W = batch.timestep.reward.shape[1]
        age = jnp.broadcast_to(jnp.arange(W)[::-1], batch.timestep.reward.shape)
        mask = jnp.ones_like(batch.timestep.is_first)
        return Feedback(batch.index, {"score": 100.0 + age}, mask)


@pytest.fixture(scope="module")
def labelled():
    """The stored labels of the device runner."""
    runner = runner_of("loop", seeds=1, agent=Timed(ENV.spec))
    states = runner.prefill(runner.init(), [runner.loop.prefill_chunks])
    state = runner.interval(states, [6], [0])[0][0]
    data = runner.loop.buffer.dataset(state.buffer).steps
    return np.asarray(data.extras["score"])


@pytest.mark.parametrize("tier", ["device", "host"])
def test_labels_are_those_of_the_device_record_by_record(labelled, tier):
    """Of the prefill too: a label is 100 plus the age that a record had last."""
    runner = host_runner(
        Timed, schedule=dataclasses.replace(SCHEDULE, replay_tier=tier)
    )
    state, _ = run(runner)
    kept = state.train.buffer if tier == "device" else state.replay
    score = np.asarray(runner.loop.buffer.dataset(kept).steps.extras["score"])
    stored = (runner.loop.prefill_chunks + 6) * runner.loop.chunk[0]
    assert (score[:, :stored] >= 100).all()
    np.testing.assert_array_equal(score, labelled)


def test_saved_states_continue(tmp_path):
    runner = host_runner(schedule=dataclasses.replace(SCHEDULE, replay_tier="host"))
    state, _ = run(runner)
    saved = jax.tree.map(lambda x: x, runner.saved([state], 0))
    shapes = runner.shapes()
    assert jax.tree.structure(saved) == jax.tree.structure(shapes)
    for a, b in zip(jax.tree.leaves(saved), jax.tree.leaves(shapes), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    restored = runner.restore([saved], runner.notes())[0]
    assert_same(restored.train.agent, state.train.agent)
    assert restored.replay.count == state.replay.count
    assert_same(restored.train.timestep, state.train.timestep)
    anew = runner.restore([saved], {"environments": [None]})[0]
    assert jnp.all(anew.train.timestep.is_first)


def test_runs_in_host_environments_have_directories_too(tmp_path):
    keys = [jax.random.key(9), jax.random.key(10)]
    make = lambda seed: AsHost(ENV, SCHEDULE.envs, keys[seed])
    options = {"seeds": 2, "out": tmp_path, "quiet": True}
    run = train(Toy(ENV.spec), make, SCHEDULE, **options)
    assert run.scores.shape == (2, SCHEDULE.eval_episodes)
    longer = train(Toy(ENV.spec), make, SCHEDULE, steps=200, **options)
    assert int(longer.learner(1).step) >= 200


def test_the_last_updates_are_paid_when_the_run_ends():
    env = AsHost(ENV, SCHEDULE.envs, jax.random.key(0))
    args = (Toy(ENV.spec), env, None, SCHEDULE, jax.random.key(0), lambda rows: None)
    runner, states = train_host(*args)
    train = states[0].train
    assert train.updates == train.chunks * runner.loop.chunk[1] > 0


def test_a_resumed_run_with_replay_on_the_host_continues_exactly(tmp_path, monkeypatch):
    schedule = dataclasses.replace(SCHEDULE, replay_tier="host", total=160)
    go = lambda out: train(Toy(ENV.spec), ENV, schedule, out=out, quiet=True)
    whole = go(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(wm.Stopped):
            go(tmp_path / "run")
    resumed = go(tmp_path / "run")
    assert saved(resumed) == saved(whole)
    assert rows(resumed) == rows(whole)


class Seeded(AsHost):
    """Has a stream of its own, but no state to continue from."""

    state = property()  # as if it were not there
    seeds: ClassVar = []

    def reseed(self, seed):
        self.seeds.append(seed)
        super().reseed(seed)


def test_a_resumed_run_in_an_environment_without_state_sees_other_episodes(tmp_path):
    make = lambda seed: Seeded(ENV, SCHEDULE.envs, jax.random.key(9))
    seeds = []
    for total in (80, 120, 160):
        Seeded.seeds = []
        schedule = dataclasses.replace(SCHEDULE, total=total)
        train(Toy(ENV.spec), make, schedule, out=tmp_path, quiet=True)
        seeds.append(Seeded.seeds[0])
    assert len(set(seeds)) == 3
    run = train(Toy(ENV.spec), make, schedule, out=tmp_path, quiet=True)
    anew = [row["step"] for row in run.metrics() if "episode/restarted" in row]
    assert len(anew) == 3
    assert anew == sorted(anew)
    with pytest.raises(RunError, match="cannot save its state"):
        load(tmp_path, env=make(0)).check()


def test_evaluations_on_the_host_depend_on_the_key_alone():
    env = envs.make("probe/recall")
    agent = Toy(env.spec)
    play = evaluate.evaluator(agent, AsHost(env, 4, jax.random.key(0)), 8)
    state = agent.init(jax.random.key(1))
    first, again, other = (
        play(state, jax.random.key(seed)).returns for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_train_host_needs_an_environment_per_seed():
    env = AsHost(ENV, SCHEDULE.envs, jax.random.key(0))
    with pytest.raises(UserError, match="2 seeds need as many host environments"):
        host_envs(env, [0, 1])
    rows = []
    train_host(Toy(ENV.spec), env, None, SCHEDULE, jax.random.key(0), rows.extend)
    assert rows[-1]["step"] >= SCHEDULE.total


def test_another_number_of_instances_is_refused():
    env = AsHost(ENV, 3, jax.random.key(0))
    with pytest.raises(UserError, match=r"--train\.envs is 4, the environment has 3"):
        HostRunner(loop_of(Toy(ENV.spec), SCHEDULE), [env], Seeds(seed_keys(0, 1)))
