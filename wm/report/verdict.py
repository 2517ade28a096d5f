"""Whether a run reproduces a published number: inside or outside its interval.

The published interval is that of the published mean: Student's t over its runs, from
their number and standard deviation. Ours is scored as theirs was: training episodes of
the last part of the run, or evaluation episodes after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wm.errors import UserError
from wm.report.cells import Cell
from wm.report.plots import number
from wm.report.protocols import BUDGET
from wm.report.statistics import Interval, student, t_interval
from wm.report.summary import TRAINING, Summary


class Verdict(NamedTuple):
    """What came out."""

    cell: Cell
    ours: Interval | None
    """In units of the published number; None where no episode counts."""
    seeds: dict[int, float]
    """Score of every seed, in the same units."""
    published: Interval | None
    """None where no spread is published."""
    notes: tuple[str, ...]
    """What weakens the comparison."""

    @property
    def inside(self) -> bool | None:
        """Whether our mean lies in the published interval; None where that is open."""
        if self.ours is None or self.published is None:
            return None
        return self.published.low <= self.ours.value <= self.published.high

    def lines(self) -> list[str]:
        """For the terminal, the verdict last."""
        row = self.cell.row
        lines = [f"  published    {row.method}: {_said(row.value, self.published)}"]
        if self.ours is not None:
            each = " ".join(number(x) for x in self.seeds.values())
            lines.append(f"  ours         {_said(self.ours.value, self.ours)}: {each}")
        lines += [f"  note         {note}" for note in self.notes]
        return [*lines, self.line]

    @property
    def line(self) -> str:
        """The verdict alone."""
        name = f"{self.cell.system} {self.cell.benchmark} {self.cell.task}"
        if self.ours is None:
            return f"open: {name} has no episode that counts yet"
        if self.published is None:
            return f"open: {name} is published without a spread, so without an interval"
        low, high = number(self.published.low), number(self.published.high)
        between = f"the published interval, {low} to {high}"
        ours = number(self.ours.value)
        if self.inside:
            return f"inside: {name} with {ours} lies in {between}"
        side = "below" if self.ours.value < self.published.low else "above"
        return f"outside: {name} with {ours} lies {side} {between}"


def judge(cell: Cell, summaries: Sequence[Summary]) -> Verdict:
    """Compare runs (of one cell, seeds apart) with its published number.

    Raises:
      UserError: a run of something else.
    """
    scores: dict[int, float] = {}
    notes: list[str] = []
    for one in summaries:
        _check(cell, one)
        if abs(one.frames - cell.group.frames) > BUDGET * cell.group.frames:
            notes.append(
                f"{one.record.name} has {one.frames:,} of {cell.group.frames:,} "
                "simulator steps: not the published budget"
            )
        for seed, value in seed_scores(cell, one).items():
            if seed in scores:
                raise UserError(f"seed {seed} is in two of the runs")
            scores[seed] = value * cell.scale
    notes += _notes(cell, summaries, scores)
    values = np.array([scores[seed] for seed in sorted(scores)])
    ours = t_interval(values) if len(values) else None
    ordered = {seed: scores[seed] for seed in sorted(scores)}
    return Verdict(cell, ours, ordered, published_interval(cell), tuple(notes))


def seed_scores(cell: Cell, summary: Summary) -> dict[int, float]:
    """Mean return of every seed over the episodes that the protocol counts."""
    window = cell.protocol.window
    if window is None:
        values = summary.per_seed if summary.evaluated else {}
        return {seed: float(np.mean(x)) for seed, x in values.items()}
    first = cell.steps * (1 - window)
    found = {}
    for seed in summary.seeds:
        returns = summary.record.series(TRAINING, seed)
        counts = summary.record.series("episode/count", seed)
        weight = dict(zip(counts.steps.tolist(), counts.values, strict=True))
        inside = [
            (value, weight.get(step, 1.0))
            for step, value in zip(returns.steps.tolist(), returns.values, strict=True)
            if step > first
        ]
        total = sum(count for _, count in inside)
        if total:
            found[seed] = float(sum(value * count for value, count in inside) / total)
    return found


def published_interval(cell: Cell) -> Interval | None:
    """Of the published mean; one standard deviation where the runs are not counted."""
    row = cell.row
    if row.spread is None or "episodes" in row.spread_kind:
        return None
    reach = row.spread
    runs = int(row.seeds) if row.seeds.isdigit() else 0
    if runs > 1:
        reach = student(runs - 1) * row.spread / math.sqrt(runs)
    return Interval(row.value, row.value - reach, row.value + reach)


def _check(cell: Cell, summary: Summary) -> None:
    what = f"{summary.record.path} is a run of {summary.system} on {summary.env}"
    if (summary.system, summary.env) != (cell.system, cell.env):
        raise UserError(f"{what}, not of {cell.system} on {cell.env}")


def _notes(cell: Cell, summaries: Sequence[Summary], scores: dict) -> list[str]:
    found = []
    for preset in dict.fromkeys(one.preset for one in summaries):
        if preset != cell.group.preset:
            found.append(f"preset {preset or 'none'}, not {cell.group.preset}")
    if len(scores) < cell.seeds:
        found.append(f"{len(scores)} of {cell.seeds} seeds")
    if not cell.protocol.episodes:
        found.append(
            f"theirs follow {cell.protocol.said}; ours are evaluation episodes"
        )
    runs = cell.row.seeds
    if not runs.isdigit() and cell.row.spread is not None:
        found.append("their runs are not counted: the interval is one deviation wide")
    return found


def _said(value: float, around: Interval | None) -> str:
    if around is None:
        return number(value)
    return f"{number(value)} [{number(around.low)}, {number(around.high)}]"
