"""What config.json says, and building from it."""

import types

import pytest

from tests.train.toy import Config, Toy
from wm import envs
from wm.envs.wrappers import action_repeat, time_limit
from wm.errors import RunError
from wm.train import memory, recipes, rundir
from wm.train.schedule import Schedule

ENV = envs.make("probe/recall")


def config_of(env, agent=None):
    return rundir.describe(agent or Toy(env.spec), env, Schedule(), seeds=2, seed=0)


@pytest.mark.parametrize(
    "env",
    [
        ENV,
        envs.make("probe/hidden_point", velocity=True),
        time_limit(envs.make("pixels/catch"), 4),
        action_repeat(envs.make("probe/sparse_point"), 2),
    ],
)
def test_environments_are_rebuilt_with_their_options(env):
    again = recipes.rebuild_env(config_of(env))
    assert again == env
    assert again.spec == env.spec


def test_agents_are_rebuilt_with_their_settings():
    agent = Toy(ENV.spec, Config(rate=0.3))
    again = recipes.rebuild_agent(config_of(ENV, agent), ENV.spec)
    assert again.config == agent.config
    assert again.config.shape == (4,)


def test_settings_of_another_version_are_one_line():
    config = config_of(ENV)
    config["agent"]["config"]["gone"] = 1
    with pytest.raises(RunError, match=r"cannot be built.*gone"):
        recipes.rebuild_agent(config, ENV.spec)


def test_another_format_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"format": 99}')
    with pytest.raises(RunError, match="format 99"):
        rundir.read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("agent.config.rate", "--agent.rate"),
        ("schedule.envs", "--train.envs"),
        ("env.options.size", "--env.size"),
        ("seeds", "--seeds"),
    ],
)
def test_settings_are_named_as_on_the_command_line(name, option):
    assert rundir.option(name) == option


def test_a_continued_run_may_keep_other_checkpoints(tmp_path):
    old, new = config_of(ENV), config_of(ENV)
    rundir.write(tmp_path, old)
    schedule = Schedule(keep_checkpoints=None, total=old["schedule"]["total"] - 1)
    new["schedule"]["keep_checkpoints"] = None
    rundir.compare(tmp_path, old, new)
    rundir.extend(tmp_path, schedule)
    written = rundir.read_config(tmp_path)["schedule"]
    assert written == {**old["schedule"], "keep_checkpoints": None}


def test_a_longer_run_is_continued_by_the_command_that_made_it_longer(tmp_path):
    old = {**config_of(ENV), "command": ["wm", "train", "--steps", "9"]}
    rundir.write(tmp_path, old)
    longer = Schedule(**{**old["schedule"], "total": old["schedule"]["total"] + 1})
    rundir.extend(tmp_path, longer, ["wm", "train", "--steps", "10"])
    rundir.extend(tmp_path, longer, ["wm", "train", "--steps", "8"])
    found = rundir.read_config(tmp_path)
    assert found["command"][-1] == "10"
    assert found["schedule"]["total"] == longer.total


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    with rundir.hold(tmp_path), pytest.raises(RunError, match="another process"):
        rundir.hold(tmp_path)
    rundir.hold(tmp_path).close()


def test_names_are_the_papers_in_snake_case():
    assert rundir.snake("DreamerV3") == "dreamer_v3"
    assert rundir.snake("Toy") == "toy"


def test_a_remedy_fits(monkeypatch):
    need = memory.Need(replay=61 * 10**9, learner=10**9, free=23 * 10**9)
    # On a CPU the host's memory is the device's.
    with pytest.raises(RunError, match=r"needs 61.0 GB .* --train.replay 1400000$"):
        memory.check(need, capacity=5_000_000)
    device = types.SimpleNamespace(platform="gpu")
    monkeypatch.setattr(memory.jax, "devices", lambda: [device])
    with pytest.raises(RunError, match=r"1400000 or --train.replay_tier host$"):
        memory.check(need, capacity=5_000_000)
    memory.check(memory.Need(10, 10, 20), 5)
    memory.check(memory.Need(10, 10, None), 5)
