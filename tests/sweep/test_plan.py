"""Which programs a sweep consists of, and how they are found again."""

import dataclasses
import json

import pytest

from wm import cli, cli_cost
from wm.errors import RunError, UserError
from wm.report.experiment import Experiment, Group
from wm.sweep import packing, plan
from wm.sweep.packing import Cost
from wm.sweep.standing import Standing, last_line, standing

TABLE = Experiment(
    name="tiny",
    groups=(Group("", ("grid/dyna_maze", "grid/blocking"), False, 300),),
    system="q_learning",
    seeds=5,
    against=(),
)
CELL = ("dyna_maze", "")


def test_a_table_is_tasks_times_presets():
    assert plan.cells(TABLE, [], []) == [("dyna_maze", ""), ("blocking", "")]
    both = plan.cells(TABLE, ["blocking"], ["+fast", "slow"])
    assert both == [("blocking", "fast"), ("blocking", "slow")]
    with pytest.raises(UserError, match="Did you mean blocking"):
        plan.cells(TABLE, ["blockin"], [])
    with pytest.raises(UserError, match="--task names blocking twice"):
        plan.cells(TABLE, ["blocking", "dyna_maze", "blocking"], [])
    with pytest.raises(UserError, match="--preset names fast twice"):
        plan.cells(TABLE, [], ["+fast", "slow", "fast"])


def test_a_table_that_has_a_task_twice_is_refused():
    twice = ("grid/dyna_maze", "other/dyna_maze")
    with pytest.raises(ValueError, match="tiny has the task dyna_maze twice"):
        dataclasses.replace(TABLE, groups=(Group("", twice, False, 300),))
    # With presets of their own they are two tasks.
    one, other = (Group(name, twice[:1], False, 300) for name in "ab")
    both = dataclasses.replace(TABLE, groups=(one, other))
    assert both.tasks == ("a:dyna_maze", "b:dyna_maze")


def test_seeds_that_fit_are_one_program(tmp_path):
    (unit,) = plan.split(TABLE, CELL, range(5), None, tmp_path, ["--agent.rate", "1"])
    assert " ".join(unit.words) == (
        "train q_learning --env grid/dyna_maze --seeds 5 --seed 0 --steps 300 "
        f"--out {tmp_path}/dyna_maze --agent.rate 1"
    )
    assert unit.seeds == "0-4"


def test_seeds_that_do_not_fit_are_spread_evenly(tmp_path):
    units = plan.split(TABLE, ("dyna_maze", "fast"), range(3, 8), 2, tmp_path)
    assert [(one.first, one.count) for one in units] == [(3, 2), (5, 2), (7, 1)]
    assert [one.name for one in units] == [
        "dyna_maze+fast-seeds3-4",
        "dyna_maze+fast-seeds5-6",
        "dyna_maze+fast-seed7",
    ]
    line = units[2].words
    assert line[line.index("--seed") + 1] == "7"
    assert line[line.index("--preset") + 1] == "fast"


def test_options_of_the_table_cannot_be_given_twice(tmp_path):
    with pytest.raises(UserError, match="--seeds is the sweep's"):
        plan.split(TABLE, CELL, range(5), None, tmp_path, ["--seeds=3"])


def test_a_plan_is_kept_when_memory_has_changed(tmp_path):
    cells, seeds = plan.cells(TABLE, [], []), range(5)
    first = plan.units(TABLE, cells, seeds, dict.fromkeys(cells, 2), tmp_path)
    assert len(first) == 6
    plan.remember(tmp_path, "tiny", first)
    again = plan.units(TABLE, cells, seeds, dict.fromkeys(cells, 5), tmp_path)
    assert again == first
    # Other seeds are another plan; a part of the table leaves the rest remembered.
    fewer = plan.units(TABLE, cells, range(2), dict.fromkeys(cells, 5), tmp_path)
    assert len(fewer) == 2
    plan.remember(tmp_path, "tiny", fewer[:1])
    assert plan.remembered(tmp_path)[cells[0]] == [(0, 2)]
    assert plan.remembered(tmp_path)[cells[1]] == [(0, 2), (2, 2), (4, 1)]
    (tmp_path / plan.PLAN).write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        plan.remembered(tmp_path)


def test_a_file_without_a_table_says_so(tmp_path):
    file = tmp_path / "x.py"
    with pytest.raises(UserError, match="no such file"):
        plan.experiment(file)
    file.write_text("EXPERIMENT = 3")
    with pytest.raises(UserError, match="defines no EXPERIMENT"):
        plan.experiment(file)
    file.write_text("1 / 0")
    with pytest.raises(UserError, match="ZeroDivisionError"):
        plan.experiment(file)
    # Parentheses without a comma.
    file.write_text(SOURCE.replace(', "grid/blocking"', ""))
    with pytest.raises(UserError, match="envs must be a tuple"):
        plan.experiment(file)


def test_seeds_per_program_follow_from_memory():
    gigabyte = 10**9
    one = Cost(gigabyte, 0, 10 * gigabyte, None, 1)
    assert packing.fitting(one) == 8  # 0.8 of what is free
    assert packing.fitting(one, programs=2) == 4
    assert packing.fitting(one, memory=5 * gigabyte) == 4
    assert packing.fitting(one._replace(devices=4)) == 32
    assert packing.fitting(one._replace(devices=4), programs=4) == 2
    assert packing.fitting(one._replace(device=30 * gigabyte)) == 1
    # Replay on the host bounds too.
    both = Cost(gigabyte, 2 * gigabyte, 10 * gigabyte, 6 * gigabyte, 1)
    assert packing.fitting(both) == 2
    assert packing.fitting(one._replace(device_free=None)) > 100


def test_the_cost_of_a_run_is_the_estimate_of_train():
    words = plan.split(TABLE, CELL, range(5), None, plan.Path("x"))[0].words
    found = cli_cost.cost(words)
    more = cli_cost.cost([*words, "--train.envs", "4"])
    assert found.device_free > found.device > 0
    assert more.device > found.device
    assert cli_cost.cost(["train", "q_learning", "--env", "grid/nowhere"]) is None


def run_of(path, total=100, seeds=2, reached=100, scores=True, first=3, words=()):
    path.mkdir(parents=True)
    config = {"schedule": {"total": total}, "seeds": seeds, "seed": first}
    config["command"] = ["wm", *words]
    (path / "config.json").write_text(json.dumps(config))
    row = lambda seed: {"step": reached, "seed": seed, "rate/steps_per_s": 4.0}
    lines = [json.dumps(row(first + i) | {"episode/return": i}) for i in range(seeds)]
    (path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 1')
    if scores:
        lines = [
            json.dumps({"step": reached, "seed": first + i, "return": 2.0, "length": 1})
            for i in range(seeds)
        ]
        (path / "scores.jsonl").write_text("\n".join(lines) + "\n")
    return path


def test_standing_is_read_from_the_files(tmp_path):
    assert standing(tmp_path / "none") == Standing()
    done = standing(run_of(tmp_path / "done"))
    assert done == Standing(100, 100, 2.0, 8.0, True, 3, 2)
    half = standing(run_of(tmp_path / "half", reached=50, scores=False))
    assert half == Standing(50, 100, 0.5, 8.0, False, 3, 2)
    # Evaluated on the way, and not at the end.
    assert not standing(run_of(tmp_path / "way", reached=50)).finished
    # One seed lacks its scores.
    part = run_of(tmp_path / "part")
    text = (part / "scores.jsonl").read_text()
    (part / "scores.jsonl").write_text(text.splitlines()[0] + "\n")
    assert not standing(part).finished


def test_the_reason_of_a_failure_is_our_own_line(tmp_path):
    log = tmp_path / "x.log"
    assert last_line(log) == "nothing was said"
    log.write_text("wm: no such thing\nsome warning at exit\n")
    assert last_line(log) == "wm: no such thing"
    log.write_text("Traceback\nValueError: x\n\n")
    assert last_line(log) == "ValueError: x"


def test_dry_shows_the_plan_and_writes_nothing(tmp_path, capsys):
    file = tmp_path / "tiny.py"
    file.write_text(SOURCE)
    root = tmp_path / "runs"
    words = ["sweep", str(file), "--out", str(root), "--dry", "--seeds_per_run", "3"]
    done_of(root / "blocking")
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "waiting"
    assert lines[1].split()[0] == "skipped"
    assert lines[-1] == "2 programs, 4 seeds: 1 skipped, 1 waiting"
    assert not (root / plan.PLAN).exists()
    assert cli.main(["sweep", str(file), "--jobs", "-1"]) == 2
    assert "--jobs must be at least 0" in capsys.readouterr().err


def done_of(path, first=0, seeds=2, rest=()):
    """A finished run of `blocking` as a sweep begins it."""
    unit = plan.split(
        TABLE, ("blocking", ""), range(first, first + seeds), None, path.parent, rest
    )[0]
    return run_of(path, 300, seeds, 300, first=first, words=unit.words)


def dry(tmp_path, *words):
    """Code of `wm sweep --dry` on the task `blocking`."""
    file = tmp_path / "tiny.py"
    file.write_text(SOURCE)
    head = ["sweep", str(file), "--out", str(tmp_path / "runs"), "--dry"]
    return cli.main([*head, "--task", "blocking", "--seeds_per_run", "9", *words])


def test_a_finished_run_of_other_seeds_is_not_the_one_asked_for(tmp_path, capsys):
    root = tmp_path / "runs"
    done_of(root / "blocking", seeds=3)
    assert dry(tmp_path, "--seeds", "5") == 2
    assert capsys.readouterr().err == (
        f"wm: {root}/blocking holds seeds 0-2, not 0-4: give --seed 0 --seeds 3, "
        "--seed 3 --seeds 2 for those it lacks, or another --out\n"
    )
    # What it lacks has a directory of its own; some of its seeds are there.
    assert dry(tmp_path, "--seed", "3", "--seeds", "2") == 0
    out = capsys.readouterr().out
    assert "waiting" in out
    assert f"--out {root}/blocking-seeds3-4" in out
    assert dry(tmp_path, "--seed", "5", "--seeds", "1") == 0
    assert f"--out {root}/blocking-seed5\n" in capsys.readouterr().out
    assert dry(tmp_path, "--seeds", "2") == 0
    assert "1 skipped" in capsys.readouterr().out


def test_seeds_that_began_elsewhere_are_refused_before_anything_runs(tmp_path, capsys):
    run_of(tmp_path / "runs/blocking", total=300, reached=20, seeds=2)
    assert dry(tmp_path, "--seeds", "2") == 2
    assert "holds seeds 3-4, not 0-1: give --seed 3" in capsys.readouterr().err


def test_a_finished_run_of_other_words_is_not_the_one_asked_for(tmp_path, capsys):
    done_of(tmp_path / "runs/blocking", rest=("--agent.rate", "0.5"))
    for words, state in (
        (["--", "--agent.rate=0.5"], "skipped"),
        (["--", "--agent.rate", "0.5", "--steps=200"], "skipped"),
        (["--", "--agent.rate", "0.5", "--steps=400"], "waiting"),
        (["--", "--agent.rate", "0.1"], "waiting"),
        ([], "waiting"),
    ):
        assert dry(tmp_path, *words) == 0
        assert capsys.readouterr().out.split()[0] == state, words


def test_combinations_of_hyperparameters_are_no_seeds(tmp_path):
    run = run_of(tmp_path / "a", seeds=6, first=0)
    config = json.loads((run / "config.json").read_text())
    config["hypers"] = {"rate": [0.1, 0.2, 0.3]}
    (run / "config.json").write_text(json.dumps(config))
    assert standing(run).count == 2
    assert not standing(run).holds(0, 3)


SOURCE = """
from wm.report.experiment import Experiment, Group

EXPERIMENT = Experiment(
    name="tiny",
    groups=(Group("", ("grid/dyna_maze", "grid/blocking"), False, 300),),
    system="q_learning",
    seeds=2,
    against=(),
)
"""


def test_units_are_values():
    unit = plan.Unit("a", "", 0, 1, plan.Path("x"), ())
    assert dataclasses.replace(unit) == unit
    assert unit.seeds == "0"
