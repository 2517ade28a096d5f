"""Aggregates over tasks: tables and profiles for the page, the same as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wm.report import aggregate, plots, statistics
from wm.report.aggregate import Family, Group
from wm.report.markup import Raw, plural, swatch, table, text
from wm.report.plots import Line, number
from wm.report.protocols import differences
from wm.report.statistics import Interval
from wm.report.summary import Summary, published_rows

POINTS = 121
"""Thresholds of a performance profile."""
HEAD = {
    "iqm": "IQM",
    "mean": "Mean",
    "median": "Median",
    "optimality_gap": "Optimality gap",
}


class Figures(NamedTuple):
    """What page and tables say of a family; its bootstraps take seconds."""

    family: Family
    aggregates: list[tuple[Group, dict[str, Interval]]]
    improvements: list[tuple[Group, Group, Interval]]
    thresholds: np.ndarray
    """f64 `[P]`"""
    profiles: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    """Value and ends of every group, `[P]` each."""


def figures(family: Family) -> Figures:
    """Compute them."""
    steps = thresholds(family)
    return Figures(
        family,
        aggregate.aggregates(family),
        aggregate.improvements(family),
        steps,
        [
            statistics.profile_band(group.over(family.tasks), steps)
            for group in family.groups
        ],
    )


def section(found: Sequence[Figures]) -> str:
    """A heading per family: aggregates, profiles, chances of improvement."""
    return "".join(_family(one, index) for index, one in enumerate(found))


def _family(known: Figures, index: int) -> str:
    family = known.family
    title = f"{family.name}: {plural(len(family.tasks), 'task')} together"
    said = (
        f"Scores: {family.scale}. Brackets: 95 % intervals, runs resampled within "
        "tasks (stratified bootstrap). The interquartile mean (IQM) leaves out the "
        "best and the worst quarter of all runs; the optimality gap is what is "
        "missing up to 1."
    )
    if family.left_out:
        said += f" Left out, since not all have them: {', '.join(family.left_out)}."
    if family.unscored:
        said += " Left out, since their score is no finite number: "
        said += f"{'; '.join(family.unscored)}."
    if family.budgets:
        said += f" Budgets differ: {'; '.join(family.budgets)}."
    if family.missing:
        said += f" No numbers on all of these tasks: {', '.join(family.missing)}."
    if any(group.means_only for group in family.groups):
        said += " *: printed means, each counted as one run."
    page = (
        f"<h2>{text(title)}</h2>"
        f'<div class="card">{_table(known)}</div>'
        f'<p class="note">{text(said)}</p>'
        f'<figure class="card">{_profiles(known, index)}</figure>'
        '<p class="note">Performance profiles: the share of runs, averaged over tasks, '
        "whose score is above a threshold.</p>"
    )
    return page + _chances(known)


def _table(known: Figures) -> str:
    rows = [
        [
            Raw(f"{swatch(i)}{text(_name(group))}"),
            _runs(group, known.family),
            *(_bracketed(values[name]) for name in HEAD),
        ]
        for i, (group, values) in enumerate(known.aggregates)
    ]
    return table(["", "Runs", *HEAD.values()], rows, range(1, 6))


def _name(group: Group) -> str:
    return group.name + ("*" if group.means_only else "")


def _runs(group: Group, family: Family) -> int:
    return sum(len(scores) for scores in group.over(family.tasks))


def _bracketed(value: Interval) -> str:
    return f"{number(value.value)} [{number(value.low)}, {number(value.high)}]"


def _profiles(known: Figures, index: int) -> str:
    pairs = zip(known.family.groups, known.profiles, strict=True)
    lines = [
        Line(_name(group), known.thresholds, *band, i)
        for i, (group, band) in enumerate(pairs)
    ]
    return plots.curves(
        lines,
        x_label="score above",
        y_label="share of runs",
        name=f"performance profiles {index}",
        size=(plots.PAGE_WIDTH, 3.2),
    )


def thresholds(family: Family) -> np.ndarray:
    """From 0, or the lowest score if that is below, to nearly the highest, `[P]`."""
    pooled = [x for group in family.groups for x in group.over(family.tasks)]
    scores = np.concatenate(pooled)
    # A single run far above all others would press the rest into a corner.
    return np.linspace(min(scores.min(), 0.0), np.quantile(scores, 0.98), POINTS)


def _chances(known: Figures) -> str:
    rows = [
        [_name(ours), _name(other), _bracketed(chance)]
        for ours, other, chance in known.improvements
    ]
    if not rows:
        return ""
    head = ["A run of", "beats one of", "Chance"]
    return (
        f'<div class="card">{table(head, rows, (2,))}</div>'
        '<p class="note">Probability of improvement: on a task drawn at random, ties '
        "count half. Where the bracket holds 0.5, the order is open.</p>"
    )


def comparability(summaries: Sequence[Summary], against: Sequence[str]) -> str:
    """What is not comparable, run by run and method by method."""
    found: dict[tuple[str, str], list[str]] = {}
    for summary in summaries:
        for entry in published_rows(summary, against):
            for line in differences(summary, entry["row"]):
                key = entry["row"].method, line
                found.setdefault(key, []).append(summary.record.name)
    if not found:
        return ""
    rows = [
        [method, line, _some(names, len(summaries))]
        for (method, line), names in found.items()
    ]
    head = ["Published", "Differs from ours", "Runs"]
    return f'<h2>What is not comparable</h2><div class="card">{table(head, rows)}</div>'


def _some(names: Sequence[str], whole: int) -> str:
    names = list(dict.fromkeys(names))
    if len(names) == whole and whole > 1:
        return f"all {whole}"
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")


def export(
    summaries: Sequence[Summary], found: Sequence[Figures], folder: Path
) -> None:
    """`scores.csv` (one row per seed) and `aggregates.csv` (one per statistic)."""
    _write(folder / "scores.csv", SCORES, _score_rows(summaries))
    _write(folder / "aggregates.csv", AGGREGATES, _aggregate_rows(found))


UNSCORED = "left out of aggregates: no finite number"
SCORES = (
    "run",
    "group",
    "system",
    "preset",
    "env",
    "benchmark",
    "task",
    "seed",
    "step",
    "frames",
    "episodes",
    "kind",
    "return",
    "score",
    "scale",
    "note",
)
AGGREGATES = (
    "family",
    "scale",
    "tasks",
    "group",
    "published",
    "runs",
    "statistic",
    "other",
    "at",
    "value",
    "low",
    "high",
)


def _score_rows(summaries: Sequence[Summary]) -> list[list[Any]]:
    rows = []
    for one, names in zip(summaries, aggregate.labels(summaries), strict=True):
        scale, task = aggregate.scale_of(one), one.task
        for seed, values in one.per_seed.items():
            mean = float(np.mean(values))
            rows.append(
                [
                    one.record.name,
                    names[seed],
                    one.system,
                    one.preset,
                    one.env,
                    "" if task is None else task.benchmark,
                    "" if task is None else task.task,
                    seed,
                    one.record.steps,
                    one.frames,
                    len(values),
                    "evaluation" if one.evaluated else "training",
                    mean,
                    "" if scale is None else float(scale.of(mean)),
                    "" if scale is None else scale.text,
                    "" if np.isfinite(mean) else UNSCORED,
                ]
            )
    return rows


def _aggregate_rows(found: Sequence[Figures]) -> list[list[Any]]:
    rows = []
    for known in found:
        family = known.family
        head = [family.name, family.scale, len(family.tasks)]
        who = lambda group, head=head, family=family: [
            *head,
            group.name,
            "means" if group.means_only else "runs" if group.published else "",
            _runs(group, family),
        ]
        for group, values in known.aggregates:
            rows += [[*who(group), name, "", "", *x] for name, x in values.items()]
        for note in (*family.unscored, *family.budgets):
            kind = "left_out" if note in family.unscored else "budget"
            rows.append([*head, "", "", "", kind, note, "", "", "", ""])
        for ours, other, chance in known.improvements:
            name = "probability_of_improvement"
            rows.append([*who(ours), name, other.name, "", *chance])
        for group, band in zip(family.groups, known.profiles, strict=True):
            for at, *values in zip(known.thresholds, *band, strict=True):
                rows.append([*who(group), "profile", "", at, *values])
    return rows


def _write(file: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
