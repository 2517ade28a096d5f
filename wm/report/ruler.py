"""The answer as a picture: a scale from random to optimal with the score on it."""

from __future__ import annotations

import html
from collections.abc import Sequence

from wm.report.plots import number
from wm.report.summary import Summary

WIDTH, LEFT, RIGHT, AXIS = 860, 24, 24, 46


def ruler(summary: Summary, published: Sequence[dict] = ()) -> str:
    """An SVG with the interval, one dot per seed, the levels and published values.

    Empty where there is nothing to compare the score with.
    """
    marks = [(level.label, level.value) for level in summary.levels]
    marks += [(entry["row"].method, entry["value"]) for entry in published]
    if summary.score is None or not marks:
        return ""
    means = [float(values.mean()) for values in summary.per_seed.values()]
    values = [value for _, value in marks] + means
    values += [summary.score.low, summary.score.high]
    low, high = min(values), max(values)
    if low == high:
        return ""
    scale = (WIDTH - LEFT - RIGHT) / (high - low)
    x = lambda value: LEFT + (value - low) * scale
    parts = [_line(LEFT, WIDTH - RIGHT, "var(--line)", 6)]
    parts.append(_line(x(summary.score.low), x(summary.score.high), "var(--accent)", 6))
    parts += [_dot(x(mean), 4, 0.55) for mean in means]
    parts.append(_dot(x(summary.score.value), 8, 1.0))
    parts.append(_text(x(summary.score.value), 20, number(summary.score.value), True))
    rows: list[float] = []
    for label, value in sorted(marks, key=lambda mark: mark[1]):
        row = _free_row(rows, x(value))
        parts.append(_tick(x(value), row))
        parts.append(_text(x(value), AXIS + 30 + 17 * row, f"{label} {number(value)}"))
    height = AXIS + 22 + 17 * max(len(rows), 1)
    return (
        f'<svg class="ruler" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="score between the levels">{"".join(parts)}</svg>'
    )


def _free_row(rows: list[float], x: float) -> int:
    """The first row of labels whose last label ends left of this one."""
    for row, end in enumerate(rows):
        if x - end > 150:
            rows[row] = x
            return row
    rows.append(x)
    return len(rows) - 1


def _line(x1: float, x2: float, color: str, width: float) -> str:
    return (
        f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{AXIS}" y2="{AXIS}" '
        f'style="stroke:{color};stroke-width:{width};stroke-linecap:round"/>'
    )


def _tick(x: float, row: int) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{AXIS - 9}" y2="{AXIS + 15 + 17 * row}" '
        f'style="stroke:var(--soft);stroke-width:1.2"/>'
    )


def _dot(x: float, radius: float, opacity: float) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{AXIS}" r="{radius}" style="fill:var(--accent);'
        f'stroke:var(--card);stroke-width:2;opacity:{opacity}"/>'
    )


def _text(x: float, y: float, words: str, bold: bool = False) -> str:
    anchor = "start" if x < 90 else "end" if x > WIDTH - 90 else "middle"
    style = "font-size:13px;fill:var(--soft)"
    if bold:
        style = "font-size:17px;font-weight:650;fill:var(--ink)"
    return (
        f'<text x="{x:.1f}" y="{y}" style="{style};text-anchor:{anchor}">'
        f"{html.escape(words)}</text>"
    )
