"""Aggregates over tasks: groups, scales, tables, and what is not comparable."""

import csv
import json

import numpy as np
import pytest

from tests.report import runs
from wm import report
from wm.errors import UserError
from wm.report import aggregate, protocols, reference, statistics
from wm.report.hyper_section import best, section
from wm.report.record import read
from wm.report.summary import summarize

IMAGE = {"shape": [64, 64, 3], "dtype": "uint8"}
ATARI = {
    "steps": 100_000,
    "low": 0.0,
    "high": 10.0,
    "observation": IMAGE,
    "action_repeat": 4,
    "levels": None,
}


def change(run, **settings):
    """A run whose config says otherwise."""
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | settings))
    return run


def summaries(*paths):
    return [summarize(read(path)) for path in paths]


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    """Two systems on two games, one of them in two programs, and a third game."""
    root = tmp_path_factory.mktemp("games")
    make = lambda name, game, system, seeds, first=0: runs.fake_run(
        root / name, f"atari/{game}", seeds, system=system, first=first, **ATARI
    )
    return [
        make("Pong-seeds0-1", "Pong", "dreamer_v3", 2),
        make("Pong-seed2", "Pong", "dreamer_v3", 1, first=2),
        make("Boxing", "Boxing", "dreamer_v3", 3),
        make("Alien", "Alien", "dreamer_v3", 3),
        make("Pong-iris", "Pong", "iris", 2),
        make("Boxing-iris", "Boxing", "iris", 2),
    ]


def test_programs_of_one_cell_are_pooled_and_tasks_shared(games):
    found = aggregate.families(summaries(*games), ["dreamer_v3", "BBF"])
    (family,) = found
    assert family.name == "Atari 100k"
    assert family.tasks == ("Boxing", "Pong")
    assert family.left_out == ("Alien",)
    ours, theirs, published, means = family.groups
    assert (ours.name, theirs.name) == ("dreamer_v3", "iris")
    assert [len(ours.cells[task]) for task in family.tasks] == [3, 3]
    assert len(theirs.cells["Pong"]) == 2
    # Published runs where there are some, else printed means.
    assert published.name == "DreamerV3 (2024)"
    assert not published.means_only
    assert len(published.cells["Boxing"]) > 1
    assert means.means_only
    assert len(means.cells["Boxing"]) == 1


def game(path, name, seeds=2, **options):
    return runs.fake_run(path, f"atari/{name}", seeds, **{**ATARI, **options})


def spoil(run, seed):
    """A run one of whose seeds has a return that is no number: null in the file."""
    file = run / "scores.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["return"] = None if row["seed"] == seed else row["return"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_a_score_that_is_no_number_is_left_out_by_name(tmp_path):
    made = [
        spoil(game(tmp_path / "pong", "Pong", 3), 1),
        game(tmp_path / "boxing", "Boxing", 3),
    ]
    (family,) = aggregate.families(summaries(*made), [])
    assert [len(family.groups[0].cells[task]) for task in family.tasks] == [3, 2]
    assert family.unscored == ("pong, seed 1",)
    ((_, known),) = aggregate.aggregates(family)
    assert all(np.isfinite(one).all() for one in known.values())
    file = report.write(made, out=tmp_path / "report")
    said = "Left out, since their score is no finite number: pong, seed 1."
    assert said in file.read_text()
    table = lambda name: list(
        csv.DictReader((tmp_path / "report" / name).read_text().splitlines())
    )
    (row,) = (row for row in table("scores.csv") if row["note"])
    assert (row["run"], row["seed"]) == ("pong", "1")
    (row,) = (r for r in table("aggregates.csv") if r["statistic"] == "left_out")
    assert row["other"] == "pong, seed 1"


def test_a_game_without_any_score_is_not_shared(tmp_path):
    made = [game(tmp_path / "a", "Pong", 1), game(tmp_path / "b", "Boxing", 1)]
    assert aggregate.families(summaries(spoil(made[0], 0), made[1]), []) == []


def test_a_seed_in_two_runs_is_not_two_runs(tmp_path):
    made = [
        game(tmp_path / "a", "Pong"),
        game(tmp_path / "b", "Boxing"),
        game(tmp_path / "c", "Pong", first=1),
    ]
    with pytest.raises(UserError, match="seed 1 of dreamer_v3 on Pong is in two") as e:
        aggregate.families(summaries(*made), [])
    assert f"{tmp_path}/a and {tmp_path}/c: give one" in str(e.value)
    # Side by side, without aggregates, they may stand.
    assert aggregate.families(summaries(made[0], made[2]), []) == []


def test_budgets_that_differ_are_said(tmp_path):
    made = [
        game(tmp_path / "a", "Pong"),
        game(tmp_path / "b", "Boxing"),
        game(tmp_path / "c", "Pong", first=2, steps=50_000),
    ]
    (family,) = aggregate.families(summaries(*made), [])
    short = summaries(made[2])[0].frames
    longest = summaries(made[0])[0].frames
    assert family.budgets == (f"c has {short:,} of {longest:,} simulator steps",)
    page = report.write(made, out=tmp_path / "report").read_text()
    assert f"Budgets differ: {family.budgets[0]}." in page
    # Tasks outside a benchmark have budgets of their own.
    other = [
        runs.fake_run(tmp_path / "x", "grid/x", steps=1400),
        runs.fake_run(tmp_path / "y", "grid/y", steps=14_000),
    ]
    (family,) = aggregate.families(summaries(*other), [])
    assert family.budgets == ()


def test_scores_are_human_normalised(games):
    one = summaries(games[2])[0]
    known = {row.method: row.value for row in reference.lookup("atari100k", "Boxing")}
    mean = float(np.mean(one.per_seed[0]))
    expected = (mean - known["random"]) / (known["human"] - known["random"])
    assert aggregate.scale_of(one).of(mean) == pytest.approx(expected)


def test_control_tasks_are_thousandths(tmp_path):
    made = [
        runs.fake_run(
            tmp_path / task,
            f"dmc/{task}",
            steps=250_000,
            high=500.0,
            levels=None,
            observation=runs.VECTOR,
            action_repeat=2,
        )
        for task in ("walker_walk", "cheetah_run")
    ]
    (family,) = aggregate.families(summaries(*made), ["dreamer_v3"])
    assert family.tasks == ("cheetah_run", "walker_walk")
    assert family.groups[0].cells["walker_walk"] == pytest.approx(0.5, abs=0.01)
    assert 0.5 < family.groups[1].cells["walker_walk"].item() < 1


def test_presets_and_hyperparameters_are_groups(tmp_path):
    a = runs.fake_run(tmp_path / "a")
    b = change(runs.fake_run(tmp_path / "b"), preset="size1m")
    c = change(runs.fake_run(tmp_path / "c"), hypers={"rate": [1e-4, 3e-4]})
    first, second, third = aggregate.labels(summaries(a, b, c))
    assert set(first.values()) == {"dreamer_v3 (demo)"}
    assert set(second.values()) == {"dreamer_v3 (size1m)"}
    assert third[0] == third[1] == "dreamer_v3 (demo), rate 0.0001"
    assert third[3] == "dreamer_v3 (demo), rate 0.0003"


def test_a_grid_of_hyperparameters_is_in_the_order_of_the_rows(tmp_path):
    run = change(
        runs.fake_run(tmp_path / "a", seeds=8), hypers={"x": [1, 2], "y": [5, 6]}
    )
    (summary,) = summaries(run)
    found = aggregate.hypers(summary)
    assert [tuple(found[i].values()) for i in range(0, 8, 2)] == [
        (1, 5),
        (1, 6),
        (2, 5),
        (2, 6),
    ]
    assert "mean over 4 combinations" in best(summary)
    page = section(summary)
    assert page.count("<tr>") == 5
    assert "<svg" in page


def test_the_page_and_the_tables_say_the_same(games, tmp_path):
    file = report.write(games, against="dreamer_v3", out=tmp_path)
    page = file.read_text()
    for part in ("2 tasks together", "IQM", "Performance profiles", "Chance"):
        assert part in page
    assert "Left out, since not all have them: Alien" in page
    rows = list(csv.DictReader((tmp_path / "aggregates.csv").read_text().splitlines()))
    kinds = {row["statistic"] for row in rows}
    assert kinds == {*aggregate.STATISTICS, "probability_of_improvement", "profile"}
    (iqm,) = (r for r in rows if r["statistic"] == "iqm" and r["group"] == "iris")
    assert float(iqm["low"]) <= float(iqm["value"]) <= float(iqm["high"])
    scores = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert len(scores) == 3 + 3 + 3 + 4
    assert {row["kind"] for row in scores} == {"evaluation"}


def test_page_and_tables_share_one_computation(games, tmp_path, monkeypatch):
    calls, made = [], statistics.profile_band
    for name in ("aggregates", "improvements"):
        computed = getattr(aggregate, name)
        count = lambda family, name=name, computed=computed: (
            calls.append(name) or computed(family)
        )
        monkeypatch.setattr(aggregate, name, count)
    band = lambda *words: calls.append("profile") or made(*words)
    monkeypatch.setattr(statistics, "profile_band", band)
    report.write(games, out=tmp_path)
    assert sorted(calls) == ["aggregates", "improvements", "profile", "profile"]


def test_numbers_alone_need_no_page(games, tmp_path):
    from wm import cli

    words = ["report", *map(str, games[:2]), "--csv", "--out", str(tmp_path / "x")]
    assert cli.main(words) == 0
    assert {file.name for file in (tmp_path / "x").iterdir()} == {
        "aggregates.csv",
        "curves.csv",
        "scores.csv",
    }


def test_what_is_not_comparable_is_said(games, tmp_path):
    (summary,) = summaries(games[4])
    row = reference.lookup("atari100k", "Pong", "dreamer_v3")[0]
    protocol, seeds = protocols.differences(summary, row)
    assert protocol.startswith("protocol and window: ours are evaluation episodes")
    assert "last 2.5% of the budget" in protocol
    assert seeds == "seeds: ours 2, theirs 4"
    # IRIS reports evaluation episodes too: only its five seeds differ.
    row = reference.lookup("atari100k", "Pong", "iris")[0]
    assert protocols.differences(summary, row) == ["seeds: ours 2, theirs 5"]
    short = runs.fake_run(tmp_path / "s", "atari/Pong", 5, **{**ATARI, "steps": 50_000})
    (line,) = protocols.differences(summaries(short)[0], row)
    assert line == "steps: ours 200,000, theirs 400,000 simulator steps"


def test_another_simulator_is_said(tmp_path):
    run = runs.fake_run(
        tmp_path / "a",
        "playground/CheetahRun",
        5,
        steps=500_000,
        levels=None,
        observation=runs.VECTOR,
    )
    row = reference.lookup("dmc_proprio", "cheetah_run", "dreamer_v3")[0]
    assert any("MJX" in line for line in protocols.differences(summaries(run)[0], row))
