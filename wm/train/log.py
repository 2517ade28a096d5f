"""What a run writes while it goes: rows into files, a line onto the terminal."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from wm.errors import RunError

BARS = "▁▂▃▄▅▆▇█"


def counted(count: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def json_line(row: Mapping[str, Any]) -> str:
    """One JSON line; numbers that JSON does not know become null."""

    def value(x: Any) -> Any:
        if isinstance(x, np.generic | np.ndarray):
            x = x.item()
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps({name: value(x) for name, x in row.items()}) + "\n"


def append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows in a single write, so that a reader never sees half a line.

    Raises:
      RunError: it cannot be written.
    """
    data = "".join(map(json_line, rows)).encode()
    if not data:
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(handle).st_size
            written = os.write(handle, data)
            if written < len(data):
                os.ftruncate(handle, size)
                raise OSError(errno.ENOSPC, "no space left on device")
        finally:
            os.close(handle)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def read(path: Path) -> list[dict[str, Any]]:
    """All rows; a last line cut short by a kill is left out.

    Raises:
      RunError: another line is not JSON.
    """
    if not path.is_file():
        return []
    lines, rows = path.read_text(encoding="utf-8").splitlines(), []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines) or not torn(path):
                raise RunError(
                    f"{path}, line {number}, is not JSON: remove that line"
                ) from error
    return rows


def cut(path: Path, steps: Mapping[int, int], first: int | None = None) -> None:
    """Drop rows of seeds beyond the step they were restored at.

    Args:
      path: of the rows.
      steps: by seed.
      first: rows that there were when it was saved; later ones go too.
    """
    rows = read(path)
    kept = [row for row in rows[:first] if row["step"] <= steps.get(row["seed"], -1)]
    if len(kept) == len(rows) and not torn(path):
        return
    part = path.with_suffix(".part")
    part.write_text("".join(map(json_line, kept)), encoding="utf-8")
    part.replace(path)


def torn(path: Path) -> bool:
    """Whether the last line has no end: the next row would join it."""
    data = path.read_bytes() if path.is_file() else b""
    return bool(data) and not data.endswith(b"\n")


class Book:
    """A file of rows that outlives a full disk: rows wait until there is room."""

    def __init__(self, path: Path, warn: Callable[[str], None]):
        """Of the file at `path`; `warn` gets a line when rows begin to wait."""
        self.path, self._warn = path, warn
        self.waiting: list[Mapping[str, Any]] = []
        self.problem = ""
        """Why rows wait."""

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows, those that wait first."""
        self.waiting += rows
        self.flush()

    def cut(self, *after: Any) -> None:
        """As the function `cut`; rows that wait came after it."""
        cut(self.path, *after)
        self.waiting, self.problem = [], ""

    def flush(self) -> bool:
        """Try to write what waits; whether nothing does any more."""
        try:
            append(self.path, self.waiting)
        except RunError as error:
            if not self.problem:
                self._warn(f"{error}; rows wait for room")
            self.problem = str(error)
            return False
        self.waiting, self.problem = [], ""
        return True


class Clock:
    """Wall time and rates between rows, under `time/` and `rate/` only."""

    def __init__(
        self,
        inside: dict[str, float],
        imagined_per_update: int | None,
        before: float = 0.0,
    ):
        """Start.

        Args:
          inside: wall seconds inside each program so far, kept up to date by others;
            rates are steps and updates per second inside `train`.
          imagined_per_update: steps, where the agent knows.
          before: seconds of the run before it was interrupted.
        """
        self.inside = inside
        self.imagined = imagined_per_update
        self.start = time.perf_counter() - before
        self.last: dict[int, tuple[float, int, int]] = {}
        self.spent: dict[str, float] = {}
        """Wall seconds by name, of what is no program."""

    def add(self, name: str, seconds: float) -> None:
        """Book seconds for `time/<name>_s` of the next rows."""
        self.spent[name] = self.spent.get(name, 0.0) + seconds

    def begin(self, seed: int, step: int, updates: int) -> None:
        """Where a seed stands when timing starts: after the prefill."""
        self.last[seed] = (self.inside.get("train", 0.0), step, updates)

    def stamp(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its wall-clock columns."""
        now = self.inside.get("train", 0.0)
        then, step, updates = self.last.get(row["seed"], (now, row["step"], 0))
        stamped = {
            **row,
            "time/wall_s": time.perf_counter() - self.start,
            **{f"time/{name}_s": x for name, x in (self.inside | self.spent).items()},
        }
        if row["step"] <= step:
            return stamped
        seconds, count = max(now - then, 1e-9), row.get("updates", updates)
        self.last[row["seed"]] = (now, row["step"], count)
        stamped["rate/steps_per_s"] = (row["step"] - step) / seconds
        stamped["rate/updates_per_s"] = (count - updates) / seconds
        if self.imagined:
            rate = stamped["rate/updates_per_s"] * self.imagined
            stamped["rate/imagined_per_s"] = rate
        return stamped


class Display:
    """The terminal: announcements, and one line of progress.

    On a terminal the line is rewritten in place; elsewhere there is one per row.
    """

    def __init__(self, total: int, stream: TextIO | None = None, quiet: bool = False):
        """Write to `stream` (default: stdout) about a run of `total` steps."""
        self.total = total
        self.stream = stream or sys.stdout
        self.quiet = quiet
        self.live = bool(getattr(self.stream, "isatty", lambda: False)())
        self.returns: list[float] = []
        self.latest: dict[int, float] = {}
        self.rates: dict[int, dict[str, float]] = {}
        self.open = False
        self.fresh = False

    def say(self, heading: str, text: str) -> None:
        """An announcement, `  compile      train 14.2 s`."""
        self._end()
        self._print(f"  {heading:<12} {text}\n")

    def line(self, text: str) -> None:
        """A whole line."""
        self._end()
        self._print(f"{text}\n")

    def rows(self, rows: list[dict[str, Any]]) -> None:
        """Remember returns and rates of new rows."""
        self.fresh = self.fresh or bool(rows)
        for row in rows:
            value = row.get("episode/return")
            if value is not None and math.isfinite(value):
                self.latest[row["seed"]] = value
            rates = {k: v for k, v in row.items() if k.startswith("rate/")}
            if rates:
                self.rates[row["seed"]] = rates
        if rows and self.latest:
            self.returns.append(float(np.mean(list(self.latest.values()))))

    def progress(self, steps: list[int]) -> None:
        """Redraw the line; off a terminal print one if there are new rows."""
        text = self.text(steps)
        if self.live:
            self._print(f"\r\x1b[2K{text}")
            self.open = True
        elif self.fresh:
            self._print(f"{text}\n")
        self.fresh = False

    def text(self, steps: list[int]) -> str:
        """`9,216/14,000 steps  720 steps/s … return 0.93 ▁▃█ seeds … left 0:27`."""
        step = min(steps)
        total = lambda name: sum(r.get(name, 0.0) for r in self.rates.values())
        parts = [f"{bar(step / self.total)} {step:,}/{self.total:,} steps"]
        speed = total("rate/steps_per_s")
        if speed > 0:
            rates = (
                f"{speed:,.0f} steps/s · {total('rate/updates_per_s'):,.1f} updates/s"
            )
            imagined = total("rate/imagined_per_s")
            if imagined:
                rates += f" · {imagined / 1000:,.0f}k imagined steps/s"
            parts.append(rates)
        if self.returns:
            parts.append(f"return {self.returns[-1]:.2f} {sparkline(self.returns)}")
            if len(self.latest) > 1:
                each = " ".join(
                    f"{self.latest[s]:.2f}" for s in sorted(self.latest)[:8]
                )
                parts.append(f"seeds {each}")
        if speed > 0:
            left = max(self.total - step, 0) * len(steps) / speed
            parts.append(f"left {clock(left)}")
        return "  " + "   ".join(parts)

    def close(self) -> None:
        """End the line."""
        self._end()

    def _end(self) -> None:
        if self.open:
            self._print("\n")
            self.open = False

    def _print(self, text: str) -> None:
        if self.quiet:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            # The reader has left, or the disk behind the stream is full. What is
            # buffered would raise again, at exit at the latest.
            self.quiet = True
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


def bar(share: float, width: int = 20) -> str:
    """A bar of `width` characters."""
    full = int(min(max(share, 0.0), 1.0) * width)
    return "━" * full + "╌" * (width - full)


def sparkline(values: list[float], width: int = 8) -> str:
    """The course of a curve in `width` characters."""
    picks = np.linspace(0, len(values) - 1, min(width, len(values)))
    shown = np.asarray(values)[picks.round().astype(int)]
    low, high = shown.min(), shown.max()
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((x - low) * scale)] for x in shown)


def clock(seconds: float) -> str:
    """`0:27`, `1:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
