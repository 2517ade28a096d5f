"""The course of a sweep: what is waiting, running, done and failed, and what is next.

Decisions depend on exit codes only. A program that was interrupted and has saved
(code 75) goes on without that being a failure; a wrong command line (2) is not tried
again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from wm.sweep.backends import Backend, Job
from wm.sweep.plan import Unit
from wm.sweep.standing import Standing, last_line, standing

State = Literal["waiting", "running", "done", "skipped", "failed", "stopped"]
WRONG, INTERRUPTED = 2, 75
"""Exit codes of `wm train`."""
CODES = {-1: "its machine went away", 137: "killed, perhaps for lack of memory"}
"""What exit codes mean that no program of ours gives."""
INTERRUPTIONS = 100
"""Times a program may be interrupted (preempted) and go on, before it is a failure."""


@dataclasses.dataclass
class Entry:
    """A unit and what has become of it."""

    unit: Unit
    log: Path
    state: State = "waiting"
    tries: int = 0
    """Programs started, interruptions aside."""
    interruptions: int = 0
    code: int | None = None
    """Of the last program that ended."""
    handle: Any = None

    def standing(self) -> Standing:
        """How far its run directory is."""
        return standing(self.unit.out)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "skipped", "failed", "stopped")

    @property
    def reason(self) -> str:
        """Why it failed: `exit code 1 after 2 tries: wm: …`."""
        tries = f"{self.tries} tr{'y' if self.tries == 1 else 'ies'}"
        known = f" ({CODES[self.code]})" if self.code in CODES else ""
        return f"exit code {self.code}{known} after {tries}: {last_line(self.log)}"


class Pool:
    """Runs units on a backend until each is done or has failed for good."""

    def __init__(
        self,
        entries: Sequence[Entry],
        backend: Backend,
        jobs: int | None,
        retries: int,
        changed: Callable[[Entry], None] = lambda entry: None,
    ):
        """Set up; starts nothing.

        Args:
          entries: what to run; those that are over are left alone.
          backend: where.
          jobs: programs at a time; None leaves it to the backend.
          retries: of a program that failed.
          changed: called whenever an entry's state has changed.
        """
        self.entries, self.backend = list(entries), backend
        self.jobs, self.retries, self.changed = jobs, retries, changed

    def step(self) -> bool:
        """Look at what runs, start what may; False when all is over."""
        for entry in self.entries:
            if entry.state == "running":
                code = self.backend.poll(entry.handle)
                if code is not None:
                    self._ended(entry, code)
        waiting = [entry for entry in self.entries if entry.state == "waiting"]
        running = sum(entry.state == "running" for entry in self.entries)
        if self.jobs is not None:
            waiting = waiting[: max(self.jobs - running, 0)]
        if waiting:
            self._start(waiting)
        return not all(entry.over for entry in self.entries)

    def run(self, watch: Callable[[], None] = lambda: None, pause: float = 0.5) -> None:
        """Step until all is over.

        Args:
          watch: called after every step.
          pause: seconds between steps.
        """
        while self.step():
            watch()
            time.sleep(pause)
        watch()

    def stop(self, patience: float = 120.0) -> None:
        """Ask everything that runs to save and end, and wait for it.

        What has not ended after `patience` seconds is left `running`.
        """
        for entry in self.entries:
            if entry.state == "running":
                self.backend.stop(entry.handle)
            elif entry.state == "waiting":
                self._become(entry, "stopped")
        until = time.monotonic() + patience
        while time.monotonic() < until:
            running = [entry for entry in self.entries if entry.state == "running"]
            if not running:
                return
            for entry in running:
                entry.code = self.backend.poll(entry.handle)
                if entry.code is not None:
                    self._become(entry, "stopped" if entry.code else "done")
            time.sleep(0.1)

    def failed(self) -> list[Entry]:
        """What did not succeed, in the table's order."""
        return [entry for entry in self.entries if entry.state == "failed"]

    def _start(self, entries: Sequence[Entry]) -> None:
        jobs = [Job(entry.unit.words, entry.log) for entry in entries]
        for entry, handle in zip(entries, self.backend.start(jobs), strict=True):
            entry.handle, entry.tries = handle, entry.tries + 1
            self._become(entry, "running")

    def _ended(self, entry: Entry, code: int) -> None:
        entry.code, entry.handle = code, None
        if code == 0:
            self._become(entry, "done")
        elif code == INTERRUPTED and entry.interruptions < INTERRUPTIONS:
            entry.interruptions += 1
            entry.tries -= 1
            self._become(entry, "waiting")
        elif code == WRONG or entry.tries > self.retries:
            self._become(entry, "failed")
        else:
            self._become(entry, "waiting")

    def _become(self, entry: Entry, state: State) -> None:
        entry.state = state
        self.changed(entry)
