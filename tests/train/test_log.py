"""Rows and the terminal."""

import io
import json

import numpy as np
import pytest

from wm.errors import RunError
from wm.train import log


def test_numbers_that_json_does_not_know_become_null():
    row = {"step": np.int64(3), "a": float("nan"), "b": np.float32("inf"), "c": 0.5}
    assert json.loads(log.json_line(row)) == {"step": 3, "a": None, "b": None, "c": 0.5}


def test_a_torn_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log.append(path, [{"step": 1, "seed": 0}, {"step": 2, "seed": 0}])
    with open(path, "a") as file:
        file.write('{"step": 3, "se')
    assert [row["step"] for row in log.read(path)] == [1, 2]


def test_cutting_keeps_rows_up_to_the_step_of_each_seed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": step, "seed": seed} for step in (1, 2, 3) for seed in (0, 1)]
    log.append(path, rows)
    log.cut(path, {0: 2, 1: 1})
    kept = [(row["step"], row["seed"]) for row in log.read(path)]
    assert kept == [(1, 0), (1, 1), (2, 0)]


def test_cutting_drops_rows_that_came_after_the_save(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log.append(path, [{"step": 1, "seed": 0}, {"step": 2, "seed": 0, "fits": 1}])
    log.append(path, [{"step": 2, "seed": 0, "fits": 2}])
    log.cut(path, {0: 2}, first=2)
    assert [row.get("fits") for row in log.read(path)] == [None, 1]


def test_a_torn_last_line_does_not_join_the_next_row(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log.append(path, [{"step": 1, "seed": 0}])
    with open(path, "a") as file:
        file.write('{"step": 2, "se')
    log.cut(path, {0: 1})
    log.append(path, [{"step": 2, "seed": 0}])
    assert [row["step"] for row in log.read(path)] == [1, 2]
    assert path.read_text().count("\n") == 2


def test_an_unwritable_file_is_one_line(tmp_path):
    with pytest.raises(RunError, match="cannot write"):
        log.append(tmp_path / "no" / "metrics.jsonl", [{"step": 1}])


def test_half_a_row_is_taken_back(tmp_path, monkeypatch):
    path, write = tmp_path / "metrics.jsonl", log.os.write
    log.append(path, [{"step": 1}])
    monkeypatch.setattr(log.os, "write", lambda handle, data: write(handle, data[:4]))
    with pytest.raises(RunError, match="no space left"):
        log.append(path, [{"step": 2}])
    assert path.read_text() == '{"step": 1}\n'


def test_rows_wait_for_room_in_order(tmp_path):
    lines, folder = [], tmp_path / "run"
    book = log.Book(folder / "metrics.jsonl", lines.append)
    book.add([{"step": 1}])
    book.add([{"step": 2}])
    assert len(lines) == 1
    assert "rows wait for room" in lines[0]
    folder.mkdir()
    book.add([{"step": 3}])
    assert [row["step"] for row in log.read(book.path)] == [1, 2, 3]


def test_rates_are_per_second_inside_the_program():
    inside = {"train": 2.0}
    clock = log.Clock(inside, imagined_per_update=10)
    clock.begin(0, step=100, updates=4)
    inside["train"] = 4.0
    row = clock.stamp({"step": 300, "seed": 0, "updates": 8})
    assert row["rate/steps_per_s"] == 100.0
    assert row["rate/updates_per_s"] == 2.0
    assert row["rate/imagined_per_s"] == 20.0


def test_off_a_terminal_there_is_a_line_per_row_and_no_escape():
    stream = io.StringIO()
    display = log.Display(total=1000, stream=stream)
    for step in (250, 500):
        display.rows([{"step": step, "seed": 0, "episode/return": step / 1000}])
        display.progress([step])
    display.progress([510])
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert len(text.splitlines()) == 2
    assert "250/1,000 steps" in text


def test_a_stream_that_fails_does_not_end_the_run():
    with open("/dev/full", "w") as stream:
        display = log.Display(total=1000, stream=stream)
        display.line("nobody reads this")
        display.rows([{"step": 250, "seed": 0}])
        display.close()


def test_rows_that_wait_go_with_what_came_after_a_save(tmp_path):
    book = log.Book(tmp_path / "rows.jsonl", lambda line: None)
    book.add([{"step": 1, "seed": 0}])
    book.waiting = [{"step": 9, "seed": 0}]
    book.cut({0: 4})
    book.add([{"step": 5, "seed": 0}])
    assert [row["step"] for row in log.read(book.path)] == [1, 5]


def test_sparklines_span_the_range():
    assert log.sparkline([0.0, 1.0]) == "▁█"
    assert log.sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert log.sparkline([2.0, 2.0]) == "▁▁"
    assert len(log.sparkline(list(range(100)))) == 8


def test_durations():
    assert log.clock(27) == "0:27"
    assert log.clock(3723) == "1:02:03"
