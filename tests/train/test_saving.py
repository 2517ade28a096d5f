"""When to save, and what a save that fails leaves to do."""

import dataclasses
import io
import types

import pytest

from tests.train.test_run import SCHEDULE
from wm.errors import RunError
from wm.train import saving
from wm.train.log import Book, Clock, Display
from wm.train.saving import Saver


class Disk:
    """Checkpoints on a disk that may be full."""

    def __init__(self, path):
        self.path, self.full, self.saved = path / "checkpoints", False, []

    def save(self, step, items, notes):
        self.begun = step

    def wait(self):
        if self.full:
            raise RunError("cannot save: no space left on device")
        self.saved.append(self.begun)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told."""
    now = types.SimpleNamespace(time=0.0, room=0)
    monkeypatch.setattr(saving.time, "monotonic", lambda: now.time)
    usage = lambda path: types.SimpleNamespace(free=now.room)
    monkeypatch.setattr(saving.shutil, "disk_usage", usage)
    return now


def saver_of(tmp_path, schedule):
    display = Display(10, io.StringIO())
    book = Book(tmp_path / "metrics.jsonl", display.line)
    disk = Disk(tmp_path)
    return disk, display, Saver(disk, schedule, display, Clock({}, None), [book])


def test_the_clock_decides_and_never_takes_more_than_a_hundredth(tmp_path, clock):
    schedule = dataclasses.replace(SCHEDULE, save_steps=None, save_minutes=2.0)
    _, _, saver = saver_of(tmp_path, schedule)
    clock.time = 119.0
    assert not saver.due()
    clock.time = 121.0
    assert saver.due()
    saver.save(1, [], {})
    saver.cost = 3.0
    clock.time = 121.0 + 299.0
    assert not saver.due()
    clock.time = 121.0 + 301.0
    assert saver.due()


def test_steps_decide_where_they_are_given(tmp_path, clock):
    _, _, saver = saver_of(tmp_path, SCHEDULE)
    clock.time = 1e9
    assert not saver.due()


def test_a_full_disk_is_said_once_and_tried_again_when_there_is_room(tmp_path, clock):
    disk, display, saver = saver_of(tmp_path, SCHEDULE)
    disk.full = True
    for step in (1, 2):
        saver.save(step, [], {})
        saver.settle()
    assert display.stream.getvalue().count("training goes on") == 1
    assert not saver.due()
    with pytest.raises(RunError, match="no space left"):
        saver.finish()
    disk.full, clock.room = False, 2 << 20
    assert saver.due()
    saver.save(3, [], {})
    saver.finish()
    assert disk.saved == [3]
    assert "there is room again" in display.stream.getvalue()


def test_what_failed_for_another_reason_is_tried_again_by_the_clock(tmp_path, clock):
    schedule = dataclasses.replace(SCHEDULE, save_steps=None, save_minutes=2.0)
    disk, _, saver = saver_of(tmp_path, schedule)
    disk.full = True
    saver.save(1, [], {})
    saver.settle()
    assert not saver.due()
    clock.time = 121.0
    assert saver.due()
