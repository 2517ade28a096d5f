"""How a sweep shows itself: a live table on a terminal, a line per change elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from wm.sweep.pool import Entry
from wm.sweep.standing import Standing

HEAD = ("run", "seeds", "state", "steps", "return", "steps/s", "left", "tries")
MARKS = {
    "waiting": "dim",
    "running": "cyan",
    "done": "green",
    "skipped": "green",
    "failed": "bold red",
    "stopped": "yellow",
}
"""Colours of the states."""
REFRESH_S = 2.0
"""Seconds between two looks at the run directories: every look reads files."""


class Display:
    """Shows entries while they change."""

    def __init__(self, entries: Sequence[Entry], stream: TextIO | None = None):
        """Write to `stream` (default: stdout)."""
        self.entries, self.stream = list(entries), stream or sys.stdout
        self.live: Any = None
        self.looked = 0.0

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Keep the table on the terminal, where there is one."""
        if not getattr(self.stream, "isatty", lambda: False)():
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self.stream)
        with Live(self._table(), console=console, auto_refresh=False) as live:
            self.live = live
            try:
                yield
            finally:
                live.update(self._table(), refresh=True)
                self.live = None

    def changed(self, entry: Entry) -> None:
        """An entry's state is new: a line, where there is no table."""
        if self.live is not None:
            self.looked = 0.0
            return
        text = entry.state
        if entry.state == "running" and entry.tries > 1:
            text = f"running, try {entry.tries}"
        if entry.state == "running" and entry.interruptions:
            text += f", after {entry.interruptions} interruptions"
        line = f"  {text:<14} {entry.unit.name}, seeds {entry.unit.seeds}"
        if entry.over:
            line += f": {said(entry.standing())}"
        self._line(line)

    def watch(self) -> None:
        """Draw the table again if it is time."""
        now = time.monotonic()
        if self.live is not None and now - self.looked >= REFRESH_S:
            self.looked = now
            self.live.update(self._table(), refresh=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in HEAD:
            right = name not in ("run", "state")
            table.add_column(name, justify="right" if right else "left")
        for entry in self.entries:
            cells = row(entry)
            table.add_row(*cells, style=MARKS[entry.state])
        states = [entry.state for entry in self.entries]
        table.caption = summary(states)
        return table

    def _line(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()


def row(entry: Entry) -> list[str]:
    """An entry as cells of the table, in the order of `HEAD`."""
    known = entry.standing()
    left = ""
    if entry.state == "running" and known.rate and known.total:
        left = clock((known.total - known.step) * entry.unit.count / known.rate)
    running = entry.state == "running" and known.rate
    return [
        entry.unit.name,
        entry.unit.seeds,
        entry.state,
        f"{known.step:,}/{known.total:,}" if known.total else "",
        "" if known.score is None else f"{known.score:.3g}",
        f"{known.rate:,.0f}" if running else "",
        left,
        str(entry.tries) if entry.tries else "",
    ]


def said(known: Standing) -> str:
    """`return 0.93 at step 14,000`."""
    score = "" if known.score is None else f"return {known.score:.3g} "
    return f"{score}at step {known.step:,}"


def summary(states: Sequence[str]) -> str:
    """`3 done, 1 running, 22 waiting`."""
    order = ("done", "skipped", "running", "waiting", "stopped", "failed")
    counts = {state: states.count(state) for state in order}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def clock(seconds: float) -> str:
    """`0:27`, `26:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
