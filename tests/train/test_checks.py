"""What is refused before anything is compiled."""

import json
import shutil

import jax
import numpy as np
import pytest

import wm
from tests.train.toy import Toy
from wm.errors import RunError, UserError
from wm.train import checks
from wm.train.schedule import Schedule
from wm.train.seeds import seed_keys

ENV = wm.env("probe/step_counter")


@pytest.mark.parametrize(
    ("first", "count", "message"),
    [
        (0, 0, r"--seeds must be in \[1, 4,096\], got 0"),
        (0, 5_000, "--seeds must be in"),
        (-1, 1, "--seed must be in"),
        (2**32, 1, r"--seed must be in \[0, 4,294,967,295\]"),
        (2**32 - 1, 2, "--seed must be in"),
    ],
)
def test_seeds_that_keys_cannot_tell_apart(first, count, message):
    checks.seeds(2**32 - 2, 2)
    with pytest.raises(UserError, match=message):
        checks.seeds(first, count)


def test_keys_of_several_seeds_are_those_of_single_ones():
    for seed in (7, 2**32 - 3):
        several = jax.random.key_data(seed_keys(seed, 3))
        for i in range(3):
            single = jax.random.key_data(jax.random.key(np.uint32(seed + i)))
            np.testing.assert_array_equal(several[i], single)


@pytest.mark.parametrize(
    ("settings", "chunk", "prefill", "message"),
    [
        ({"total": 300}, (1, 1), 400, "learning begins after 400 steps.* at least 401"),
        ({"total": 300, "fit_steps": 50}, (1, 0), 300, "learning begins after 300"),
        ({"total": 300}, (160, 1), 0, "1 update fall.* 2,560 steps.* at least 2,560"),
        ({"total": 3000}, (1, 20_000), 0, "20,000 updates fall due at once"),
    ],
)
def test_a_budget_in_which_nothing_is_learned(settings, chunk, prefill, message):
    schedule = Schedule(envs=16, **settings)
    with pytest.raises(UserError, match=message):
        checks.budget(schedule, chunk, prefill)
    checks.budget(schedule, (1, 1), 0)


def test_without_learning_a_budget_may_be_all_prefill():
    checks.budget(Schedule(total=300), (1, 0), 300)


def train(env=ENV, agent=None, **options):
    return wm.train(agent or Toy(env.spec), env, quiet=True, **options)


def test_what_is_no_environment_is_said():
    class Empty:
        pass

    with pytest.raises(UserError, match="Empty is no environment: it needs `spec`"):
        train(Empty(), Toy(ENV.spec))


def test_an_agent_of_another_environment_is_refused():
    other = wm.env("pixels/catch")
    with pytest.raises(UserError, match=r"built for probe/step_counter, whose obs"):
        train(other, Toy(ENV.spec))


def test_python_settings_are_checked_like_words():
    with pytest.raises(UserError, match=r"imagine_length must be a whole number, got"):
        wm.agent("dreamer_v3", ENV.spec, imagine_length="x")
    with pytest.raises(UserError, match=r"learning_rate must be a number, got inf"):
        wm.agent("dreamer_v3", ENV.spec, learning_rate=float("inf"))
    with pytest.raises(UserError, match=r"must be an EnvSpec, as env\.spec is one"):
        wm.agent("dreamer_v3", ENV)
    with pytest.raises(UserError, match="steps must be a whole number"):
        train(steps="x")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    schedule = Schedule(
        total=60, envs=2, batch_size=2, batch_length=4, prefill=20, log_steps=20,
        eval_episodes=2,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("done") / "run"
    train(schedule=schedule, out=path)
    return path, schedule


def test_a_run_without_its_checkpoints_is_not_begun_anew(done, tmp_path):
    path, schedule = done
    run = shutil.copytree(path, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    before = (run / "scores.jsonl").read_text()
    with pytest.raises(RunError, match="has scores but no checkpoint"):
        train(schedule=schedule, out=run)
    assert (run / "scores.jsonl").read_text() == before


def test_a_broken_row_stops_a_run_before_it_trains(done, tmp_path):
    path, schedule = done
    run = shutil.copytree(path, tmp_path / "run")
    rows = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text('{"step": 7\n' + rows)
    with pytest.raises(RunError, match=r"line 1, is not JSON: remove that line"):
        train(schedule=schedule, out=run, steps=120)
    assert (run / "metrics.jsonl").read_text().endswith(rows)


def test_a_run_cannot_be_shortened(done):
    path, schedule = done
    with pytest.raises(UserError, match=r"for 60 steps; --steps 40 cannot shorten it"):
        train(schedule=schedule, out=path, steps=40)


def test_another_system_is_named(done, tmp_path):
    path, schedule = done
    run = shutil.copytree(path, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["agent"]["name"] = "other"
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="it cannot be continued with toy"):
        train(schedule=schedule, out=run)
    (run / "config.json").write_text("{}")
    with pytest.raises(RunError, match=r"'format' is missing.*Restore it"):
        train(schedule=schedule, out=run)
