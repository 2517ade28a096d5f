"""Runs with a directory: what is written, continuing, refusing, loading."""

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

import wm
from tests.models.tiny import CONFIG
from tests.train.toy import Config, Toy
from wm import cli, envs
from wm.agents.dreamer_v3 import DreamerV3
from wm.errors import RunError, UserError
from wm.train import checkpoint, log, manifest, rundir, segments
from wm.train import run as run_module
from wm.train.leaves import checksum
from wm.train.run import load, train
from wm.train.schedule import Schedule

ENV = envs.make("probe/recall")
SCHEDULE = Schedule(
    total=240,
    envs=4,
    batch_size=2,
    batch_length=4,
    train_ratio=4.0,
    prefill=32,
    replay=120,
    log_steps=40,
    save_steps=80,
    eval_steps=120,
    eval_episodes=4,
)


def go(out, env=ENV, config=None, schedule=SCHEDULE, **options):
    options = {"seeds": 2, "quiet": True, **options}
    return train(Toy(env.spec, config), env, schedule, out=out, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    return go(tmp_path_factory.mktemp("runs") / "whole")


def rows(run, name="metrics"):
    """Rows without the wall clock, by seed: what must be equal bit for bit."""
    lines = (run.path / f"{name}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    keep = lambda key: not key.startswith(("time/", "rate/"))
    return [{k: v for k, v in row.items() if keep(k)} for row in rows]


def saved(run):
    """Checksums of everything in the newest checkpoint: learner, keys, replay."""
    folder = run.path / "checkpoints"
    body = manifest.read(folder / str(run.saved()[-1]))
    arrays = lambda entry: segments.arrays_of(folder / "segments", entry)
    replay = {
        name: list(map(checksum, arrays(entry)))
        for name, entry in body["replay"].items()
    }
    return {**body["items"], **replay}


def stop_after(monkeypatch, count):
    """Send this process SIGTERM after `count` batches of rows."""
    original, seen = run_module.Session._rows, []

    def counted(self, rows):
        original(self, rows)
        seen.append(rows)
        if len(seen) == count:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(run_module.Session, "_rows", counted)


@pytest.mark.parametrize("count", [1, 4])
def test_a_resumed_run_equals_the_uninterrupted_one(
    whole, tmp_path, monkeypatch, count
):
    with monkeypatch.context() as patch:
        stop_after(patch, count)
        with pytest.raises(wm.Stopped, match="saved"):
            go(tmp_path / "run")
    second = go(tmp_path / "run")
    assert rows(second) == rows(whole)
    assert rows(second, "scores") == rows(whole, "scores")
    assert saved(second) == saved(whole)


@pytest.mark.slow
def test_seeds_in_one_program_resume_exactly_too(tmp_path, monkeypatch):
    whole = go(tmp_path / "whole", seed_mode="vmap")
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(wm.Stopped, match="saved"):
            go(tmp_path / "run", seed_mode="vmap")
    second = go(tmp_path / "run", seed_mode="vmap")
    assert rows(second) == rows(whole)
    assert saved(second) == saved(whole)
    assert load(second.path).check().differences == []


def test_a_resumed_dreamer_v3_equals_the_uninterrupted_one(tmp_path, monkeypatch):
    schedule = dataclasses.replace(SCHEDULE, total=120, save_steps=None)
    agent = lambda: DreamerV3(ENV.spec, CONFIG)
    go = lambda out: train(agent(), ENV, schedule, seeds=2, out=out, quiet=True)
    whole = go(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(wm.Stopped):
            go(tmp_path / "run")
    second = go(tmp_path / "run")
    assert rows(second) == rows(whole)
    assert saved(second) == saved(whole)


def test_a_check_repeats_the_last_stretch_and_leaves_the_run_alone(whole, tmp_path):
    run = Path(shutil.copytree(whole.path, tmp_path / "run"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    found = load(run).check()
    assert found.differences == []
    assert found.start < found.end == whole.saved()[-1]
    assert found.rows > 0
    assert found.scores > 0
    assert found.arrays > 20
    assert "all equal, bit for bit" in found.lines()[0]
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    text = (run / "metrics.jsonl").read_text()
    last = text.splitlines()[-1]
    name = '"model/noise": '
    value = last.split(name)[1].split(",")[0]
    changed = text.replace(name + value, f"{name}0.25")
    (run / "metrics.jsonl").write_text(changed)
    found = load(run).check()
    assert found.differences == [
        f"metrics.jsonl, step {json.loads(last)['step']:,}, seed 1: model/noise was "
        f"0.25, is {value}"
    ]
    assert cli.main(["resume", str(run)]) == 2


def test_a_full_disk_for_a_while_changes_nothing(whole, tmp_path, monkeypatch, capsys):
    written, appended = checkpoint.write_item, log.append
    calls = {"save": 0, "rows": 0}

    def full(name, original, begin, end):
        def call(*args):
            calls[name] += 1
            if begin <= calls[name] < end:
                raise OSError(28, "No space left on device")
            return original(*args)

        return call

    def rows_full(path, rows):
        try:
            return full("rows", appended, 4, 9)(path, rows)
        except OSError as error:
            raise RunError(f"cannot write {path}: no space left on device") from error

    monkeypatch.setattr(checkpoint, "write_item", full("save", written, 1, 3))
    monkeypatch.setattr(log, "append", rows_full)
    run = go(tmp_path / "run", quiet=False)
    text = capsys.readouterr().out
    assert text.count("training goes on, and saves when it can") >= 1
    assert "there is room again" in text
    assert "rows wait for room" in text
    assert rows(run) == rows(whole)
    assert rows(run, "scores") == rows(whole, "scores")
    assert saved(run) == saved(whole)


def test_a_run_killed_after_scores_and_before_a_checkpoint_begins_anew(
    whole, tmp_path, capsys
):
    run = Path(shutil.copytree(whole.path, tmp_path / "run"))
    for path in (run / "checkpoints").iterdir():
        shutil.rmtree(path)
    assert rows(go(run, quiet=False)) == rows(whole)
    text = capsys.readouterr().out
    assert "from step 0" in text
    # Before the first step: the program has been compiled, nothing is evaluated yet.
    at = [text.index(x) for x in ("compile      train", "estimate", "evaluated")]
    assert at == sorted(at)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match="has scores but no checkpoint"):
        go(run)


def test_rows_beyond_the_restored_step_are_cut(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(wm.Stopped):
            go(tmp_path / "run")
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 100000, "seed": 0, "loss/total": 1.0}\n{"step": 3')
    assert rows(go(tmp_path / "run")) == rows(whole)


def test_a_larger_budget_extends_the_run(whole, tmp_path):
    longer = dataclasses.replace(SCHEDULE, total=280)
    go(tmp_path / "run")
    run = go(tmp_path / "run", schedule=longer)
    assert int(run.learner(0).step) >= 280
    assert run.schedule.total == 280
    before = [row for row in rows(run, "scores") if row["step"] < 260]
    assert before == rows(whole, "scores")


def test_starting_a_finished_run_again_changes_nothing(whole):
    before = (whole.path / "metrics.jsonl").read_text()
    again = go(whole.path)
    assert (whole.path / "metrics.jsonl").read_text() == before
    np.testing.assert_array_equal(again.scores, whole.scores)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"env": envs.make("probe/chain20")}, "cannot be continued with --env probe/"),
        ({"config": Config(rate=0.2)}, "--agent.rate 0.1"),
        ({"seeds": 3}, "--seeds 2"),
        ({"seed": 5}, "--seed 0"),
        (
            {"schedule": dataclasses.replace(SCHEDULE, batch_size=3)},
            "--train.batch_size 2",
        ),
    ],
)
def test_any_other_contradiction_names_the_setting(whole, options, line):
    before = sorted(x.name for x in whole.path.rglob("*"))
    with pytest.raises(UserError, match=line):
        go(whole.path, **options)
    assert sorted(x.name for x in whole.path.rglob("*")) == before


def test_a_foreign_directory_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run"):
        go(tmp_path)
    assert [x.name for x in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "thesis.txt").rename(tmp_path / "config.json.part")
    assert not rundir.prepare(tmp_path, {})  # killed amid its first file


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        go(tmp_path / "file" / "run")


def test_the_directory_says_what_was_run(whole):
    config = json.loads((whole.path / "config.json").read_text())
    assert config["env"]["name"] == "probe/recall"
    assert config["env"]["spec"]["optimal_return"] == 1.0
    assert config["agent"]["config"]["rate"] == 0.1
    assert config["schedule"]["total"] == 240
    versions = json.loads((whole.path / "versions.json").read_text())
    assert {"python", "jax", "device", "cores", "cpu"} <= versions.keys()
    assert (whole.path / "report").is_dir()


def test_wall_clock_is_under_time_and_rate_only(whole):
    for row in whole.metrics():
        assert row["step"] > 0
        assert row["seed"] in (0, 1)
        assert row["frames"] == row["step"]
        assert "time/wall_s" in row


def test_scores_have_an_entry_per_seed_and_episode(whole):
    entries = rows(whole, "scores")
    assert {tuple(row) for row in entries} == {("step", "seed", "return", "length")}
    assert len(entries) == 2 * 2 * 4
    assert whole.scores.shape == (2, 4)


def test_a_run_is_rebuilt_from_its_directory(whole):
    run = load(whole.path)
    assert run.agent.config == Config()
    assert run.env == ENV
    for a, b in zip(
        jax.tree.leaves(run.state(1)), jax.tree.leaves(whole.state(1)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match="no seed 7"):
        run.state(7)


def test_more_episodes_are_new_ones(tmp_path, whole, capsys):
    run = go(tmp_path / "run")
    count = len(rows(run, "scores"))
    returns = load(run.path).evaluate(episodes=6)
    assert returns.shape == (2, 6)
    assert len(rows(run, "scores")) == count + 12
    assert "2 seeds × 6 episodes" in capsys.readouterr().out


def test_own_environments_need_no_registration(tmp_path):
    class Mine:
        spec = dataclasses.replace(ENV.spec, name="mine")

        def reset(self, key):
            return ENV.reset(key)

        def step(self, state, action):
            return ENV.step(state, action)

    env = Mine()
    run = wm.train(Toy(env.spec), env, SCHEDULE, steps=80, out=tmp_path, quiet=True)
    assert run.scores.shape == (1, 4)
    with pytest.raises(RunError, match="pass env="):
        _ = load(tmp_path).env
    assert load(tmp_path, env=env).state().updates > 0


def test_too_much_replay_is_refused_before_anything_is_made(tmp_path):
    schedule = dataclasses.replace(
        SCHEDULE, replay=2**31 - 1, envs=1024, total=10**6, prefill=0
    )
    with pytest.raises(RunError, match=r"Use --train\.replay \d+$"):
        go(tmp_path / "run", schedule=schedule)
    assert not (tmp_path / "run").exists()
