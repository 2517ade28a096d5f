"""What the report reads out of a run directory."""

import json

import numpy as np
import pytest

from tests.report import runs
from wm.report.record import read
from wm.report.summary import hardware, published_rows, split, summarize


def test_time_columns_count_from_the_start(tmp_path):
    parts = split(read(runs.fake_run(tmp_path / "a")))
    assert list(parts) == ["train", "rest", "evaluate"]
    assert parts["train"] == pytest.approx(84)
    assert parts["evaluate"] == pytest.approx(1.5)
    assert sum(parts.values()) == pytest.approx(7.6 * 14)


def test_only_the_last_evaluation_counts(tmp_path):
    run = runs.fake_run(tmp_path / "a", seeds=1, episodes=2)
    with (run / "scores.jsonl").open("a") as file:
        for value in (0.1, 0.3):
            entry = {"step": 14_500, "seed": 0, "return": value, "length": 5}
            file.write(json.dumps(entry) + "\n")
    summary = summarize(read(run))
    assert summary.score.value == pytest.approx(0.2)
    assert summary.evaluated


def test_without_evaluation_the_last_training_return_counts(tmp_path):
    run = runs.fake_run(tmp_path / "a")
    (run / "scores.jsonl").unlink()
    summary = summarize(read(run))
    assert not summary.evaluated
    assert summary.score.value == pytest.approx(0.97, abs=0.2)


def test_a_row_cut_short_by_a_kill_is_left_out(tmp_path):
    run = runs.fake_run(tmp_path / "a")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15000, "see')
    assert read(run).steps == 14_000


def test_human_level_stands_in_where_no_optimum_is_known(tmp_path):
    run = runs.fake_run(
        tmp_path / "a",
        env="atari/Pong",
        observation={"image": {"shape": [64, 64, 3], "dtype": "uint8"}},
        action_repeat=4,
        levels=None,
    )
    summary = summarize(read(run))
    assert summary.pixels
    assert summary.frames == 56_000
    assert [level.label for level in summary.levels] == ["random", "human"]
    (row,) = published_rows(summary, ["dreamer_v3"])
    assert row["row"].env_steps == 400_000


def test_percent_tables_become_returns(tmp_path):
    image = {"shape": [64, 64, 3], "dtype": "uint8"}
    run = runs.fake_run(
        tmp_path / "a", env="craftax/classic-pixels", observation=image, levels=None
    )
    (row,) = published_rows(summarize(read(run)), ["dreamer_v3"])
    assert row["value"] == pytest.approx(11.704)


def test_hardware_is_one_phrase():
    assert hardware({"device": "NVIDIA H100", "cores": 16}) == "NVIDIA H100, 16 cores"
    assert hardware({"device": "TPU v4", "devices": 4}) == "4 × TPU v4"
    assert hardware({"device": "cpu", "cpu": "EPYC", "cores": 1}) == "EPYC, 1 core"
    assert hardware({}) == ""


def test_series_leave_out_what_is_not_a_number(tmp_path):
    run = runs.fake_run(tmp_path / "a", seeds=1)
    (run / "metrics.jsonl").write_text(
        '{"step": 1, "seed": 0, "x": null}\n{"step": 2, "seed": 0, "x": NaN}\n'
        '{"step": 3, "seed": 0, "x": 4.5}\n'
    )
    series = read(run).series("x", 0)
    np.testing.assert_array_equal(series.steps, [3])
    np.testing.assert_array_equal(series.values, [4.5])
