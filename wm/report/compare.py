"""The parts of the page about several runs: one chart per environment, one table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wm.report import plots
from wm.report.markup import Raw, duration, swatch, table, text
from wm.report.plots import Line, number
from wm.report.sections import PROTOCOL, published_line
from wm.report.summary import Summary, evaluations, published_rows, returns


def overview(summaries: Sequence[Summary], folder: Path) -> str:
    """One row per run, with a link to its own page where that exists."""
    rows = []
    for summary in summaries:
        score, share = summary.score, None
        if score is not None:
            share = summary.fraction(score.value)
        rows.append(
            [
                _link(summary, folder),
                summary.system,
                summary.env,
                len(summary.seeds),
                f"{summary.record.steps:,}",
                "–" if score is None else score.value,
                "–"
                if score is None
                else f"{number(score.low)} to {number(score.high)}",
                "–" if share is None else f"{share:.0%}",
                duration(summary.seconds),
            ]
        )
    head = ["Run", "System", "Environment", "Seeds", "Steps", "Return"]
    head += ["95 % interval", "Of the way", "Time"]
    return f'<div class="card">{table(head, rows, range(3, 9))}</div>'


def _link(summary: Summary, folder: Path) -> str:
    page = summary.record.path / "report" / "index.html"
    name = text(summary.record.name)
    if not page.is_file():
        return summary.record.name
    address = Path(os.path.relpath(page, folder)).as_posix()
    return Raw(f'<a href="{text(address)}">{name}</a>')


def environments(summaries: Sequence[Summary], against: Sequence[str]) -> list[str]:
    """A chart per environment with a curve per run."""
    names = dict.fromkeys(summary.env for summary in summaries)
    return [
        _environment([s for s in summaries if s.env == name], against) for name in names
    ]


def _environment(summaries: Sequence[Summary], against: Sequence[str]) -> str:
    first = summaries[0]
    stretch = any(summary.frames_per_step > 1 for summary in summaries)
    lines: list[Line] = []
    for index, summary in enumerate(summaries):
        curves = returns(summary) or evaluations(summary)
        label = summary.record.name
        for line in plots.seed_lines(list(curves.values()), label, index, False):
            lines.append(line._replace(steps=line.steps * summary.frames_per_step))
    notes = []
    for index, method in enumerate(against):
        line, note = published_line(first, method, len(summaries) + index)
        lines += line
        notes.append(note)
    if not lines:
        return f"<h2>{text(first.env)}</h2><p>Nothing was logged yet.</p>"
    unit = "frames (steps × action repeat)" if stretch else "environment steps"
    chart = plots.curves(lines, first.levels, unit, name=f"curves of {first.env}")
    said = "Bands span the seeds. "
    if against:
        said += f"{PROTOCOL} {' '.join(filter(None, notes))}"
    return (
        f'<h2>{text(first.env)}</h2><figure class="card">{chart}</figure>'
        f'<p class="note">{text(said)}</p>{_scores(summaries, against)}'
    )


def _scores(summaries: Sequence[Summary], against: Sequence[str]) -> str:
    rows = []
    for index, summary in enumerate(summaries):
        if summary.score is None:
            continue
        low, high = summary.score.low, summary.score.high
        name = Raw(f"{swatch(index)}{text(summary.record.name)}")
        between = f"{number(low)} to {number(high)}"
        rows.append([name, summary.score.value, between, len(summary.per_seed)])
    for index, entry in enumerate(published_rows(summaries[0], against)):
        row = entry["row"]
        name = Raw(f"{swatch(len(summaries) + index)}{text(row.method)}")
        spread = "–" if row.spread is None else f"± {number(row.spread)}"
        rows.append([name, float(entry["value"]), spread, row.seeds or "–"])
    head = ["", "Return", "Interval or spread", "Runs"]
    return f'<div class="card">{table(head, rows, (1, 2, 3))}</div>' if rows else ""
