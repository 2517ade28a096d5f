"""When a run is saved, and what becomes of a save that fails."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from wm.errors import RunError
from wm.train.checkpoint import Checkpoints
from wm.train.log import Book, Clock, Display
from wm.train.schedule import Schedule

SHARE = 0.01
"""Of the wall clock, at most, where the clock decides when to save."""

ROOM = 1 << 20
"""Bytes that must have become free before a save that failed is tried again early."""


class Saver:
    """Saves beside training; a full disk is a warning, and an error only at the end."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        schedule: Schedule,
        display: Display,
        clock: Clock,
        books: Iterable[Book],
    ):
        """Nothing is saved yet.

        Args:
          checkpoints: of the run.
          schedule: says when.
          display: for warnings.
          clock: gets the seconds that training waited.
          books: rows that must be on disk before a state that counts them.
        """
        self.checkpoints, self.display = checkpoints, display
        self.clock, self.books = clock, tuple(books)
        minutes = schedule.save_minutes
        self.by_clock = schedule.save_steps is None and minutes is not None
        self.seconds = 60.0 * (minutes or 0.0)
        self.last = time.monotonic()
        self.cost = 0.0
        """Seconds that training waited for the last save."""
        self.problem = ""
        """Why the newest save failed."""
        self.begun, self.free = False, 0

    def due(self) -> bool:
        """Whether the clock says so, or there is room again after a full disk."""
        if self.problem and self._room() > self.free + ROOM:
            return True
        least = max(self.seconds, self.cost / SHARE)
        return self.by_clock and time.monotonic() - self.last >= least

    def save(self, step: int, items: Any, notes: dict[str, Any]) -> None:
        """Begin to save; `settle` before anything that comes after it is written."""
        self.settle()
        self.last, self.cost = time.monotonic(), 0.0
        stuck = [book for book in self.books if not book.flush()]
        if stuck:
            self._failed(stuck[0].problem)
            return
        begin = time.monotonic()
        try:
            self.checkpoints.save(step, items, notes)
        except RunError as error:
            self._failed(str(error))
        else:
            self.begun = True
        self._book(begin)

    def settle(self) -> None:
        """Wait for the save that was begun; warn where it failed."""
        if not self.begun:
            return
        begin, self.begun = time.monotonic(), False
        try:
            self.checkpoints.wait()
        except RunError as error:
            self._failed(str(error))
        else:
            if self.problem:
                self.display.line("wm: saved: there is room again")
            self.problem = ""
        self._book(begin)

    def finish(self) -> None:
        """What is left to do at the end of a run.

        Raises:
          RunError: the newest state, or rows, could not be written.
        """
        self.settle()
        stuck = [book.problem for book in self.books if not book.flush()]
        problem = self.problem or "".join(stuck[:1])
        if problem:
            raise RunError(problem)

    def _failed(self, line: str) -> None:
        if not self.problem:
            self.display.line(f"wm: {line}; training goes on, and saves when it can")
        self.problem, self.free = line, self._room()

    def _room(self) -> int:
        try:
            return shutil.disk_usage(self.checkpoints.path.parent).free
        except OSError:
            return 0

    def _book(self, begin: float) -> None:
        seconds = time.monotonic() - begin
        self.cost += seconds
        self.clock.add("save", seconds)


def parts(state: Any, seed: int) -> list[tuple[str, Any]]:
    """The items that a seed's state is saved as."""
    return [
        (f"seed_{seed}_learner", state.learner()),
        (f"seed_{seed}_replay", state.buffer),
    ]


def joined(shapes: Any, items: dict[str, Any], seed: int) -> Any:
    """The inverse of `parts`."""
    learner, replay = (items[name] for name, _ in parts(shapes, seed))
    batch = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes.guard.batch)
    return learner.replace(buffer=replay, guard=learner.guard.replace(batch=batch))
