"""Scores of several tasks brought to one scale, by group: what aggregates are made of.

A group is a system with a preset (and with its hyperparameters, where one run trains
several), or a published method. Tasks belong to families; only within one are scores
on the same scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from wm.errors import UserError
from wm.report import reference, statistics
from wm.report.protocols import BUDGET
from wm.report.statistics import Interval
from wm.report.summary import Summary

LEAST_TASKS = 2
"""Of a family, for an aggregate."""
HUMAN = {"atari100k": "Atari 100k", "atari_200m": "Atari at 200M frames"}
CONTROL = {
    "dmc_proprio": "the control suite from vectors",
    "dmc_vision": "the control suite from pixels",
}
LARGEST = 1_000.0
"""Return of a control task at best: 1000 steps with rewards up to 1."""
OTHER = "tasks with known levels"


class Group(NamedTuple):
    """What is compared."""

    name: str
    cells: dict[str, np.ndarray]
    """`{task: scores of its runs}`, f64, on the family's scale."""
    published: bool = False
    means_only: bool = False
    """Whether some scores are printed means, so that nothing is known of their runs."""

    def over(self, tasks: Sequence[str]) -> list[np.ndarray]:
        """Scores of these tasks."""
        return [self.cells[task] for task in tasks]


class Family(NamedTuple):
    """Tasks on one scale, and who has scores there."""

    name: str
    scale: str
    """What 0 and 1 are."""
    tasks: tuple[str, ...]
    """That every group of ours has."""
    left_out: tuple[str, ...]
    """That only some have."""
    groups: tuple[Group, ...]
    """Ours first; published ones have all of `tasks`."""
    missing: tuple[str, ...]
    """Methods asked for that lack a task."""
    unscored: tuple[str, ...] = ()
    """Seeds of runs that are left out: their score is no finite number."""
    budgets: tuple[str, ...] = ()
    """Runs that were trained for less than others."""


def labels(summaries: Sequence[Summary]) -> list[dict[int, str]]:
    """The group of every seed of every run: its system, and what sets it apart.

    The preset is said where runs of one system differ in it, hyperparameters where a
    run has several.
    """
    presets: dict[str, set[str]] = {}
    for one in summaries:
        presets.setdefault(one.system, set()).add(one.preset)
    found = []
    for one in summaries:
        name = one.system
        if len(presets[name]) > 1 and one.preset:
            name += f" ({one.preset})"
        members = hypers(one)
        said = lambda seed, members=members: "".join(
            f", {key} {value:g}" for key, value in members.get(seed, {}).items()
        )
        found.append({seed: name + said(seed) for seed in one.per_seed})
    return found


def hypers(summary: Summary) -> dict[int, dict[str, float]]:
    """Hyperparameters of every seed, where the run trained several; else nothing."""
    values = summary.record.setting("hypers", default={})
    if not values:
        return {}
    count = int(summary.record.setting("seeds", default=0))
    first = int(summary.record.setting("seed", default=0))
    grid = np.stack(np.meshgrid(*values.values(), indexing="ij"), -1)
    rows = grid.reshape(-1, len(values))
    rows = np.repeat(rows, count // len(rows), axis=0)
    return {
        first + i: dict(zip(values, map(float, row), strict=True))
        for i, row in enumerate(rows)
    }


class Scored(NamedTuple):
    """The final score of one seed of a run."""

    run: Summary
    group: str
    task: str
    seed: int
    score: float


def families(summaries: Sequence[Summary], against: Sequence[str]) -> list[Family]:
    """Every family of tasks that has enough of them, in the order of the runs.

    Raises:
      UserError: a seed is in two of the runs.
    """
    pooled: dict[tuple[str, str], list[Scored]] = {}
    for summary, names in zip(summaries, labels(summaries), strict=True):
        scale = scale_of(summary)
        if scale is None:
            continue
        rows = pooled.setdefault((scale.family, scale.text), [])
        for seed, values in summary.per_seed.items():
            score = float(scale.of(np.mean(values)))
            rows.append(Scored(summary, names[seed], scale.task, seed, score))
    found = [_family(*kind, rows, against) for kind, rows in pooled.items()]
    return [family for family in found if family is not None]


def _family(
    name: str, scale: str, rows: Sequence[Scored], against: Sequence[str]
) -> Family | None:
    # Scores enter here alone: a NaN would be sorted to the top and trimmed as the best.
    scored = [row for row in rows if np.isfinite(row.score)]
    groups: dict[str, dict[str, list[float]]] = {}
    for row in scored:
        cells = groups.setdefault(row.group, {})
        cells.setdefault(row.task, []).append(row.score)
    seen = [set(cells) for cells in groups.values()]
    tasks = sorted(set.intersection(*seen)) if seen else []
    if len(tasks) < LEAST_TASKS:
        return None
    shared = [row for row in scored if row.task in tasks]
    _check_once(shared)
    frames = max(row.run.frames for row in shared)
    theirs = {method: published(name, method, tasks, frames) for method in against}
    ours = [
        Group(group, {task: np.array(x) for task, x in cells.items()})
        for group, cells in groups.items()
    ]
    return Family(
        HUMAN.get(name) or CONTROL.get(name) or name,
        scale,
        tuple(tasks),
        tuple(sorted(set.union(*seen) - set(tasks))),
        (*ours, *(one for one in theirs.values() if one is not None)),
        tuple(method for method, one in theirs.items() if one is None),
        tuple(
            f"{row.run.record.name}, seed {row.seed}"
            for row in rows
            if not np.isfinite(row.score)
        ),
        _budgets(name, shared),
    )


def _check_once(rows: Sequence[Scored]) -> None:
    """Refuse a seed that would count as two independent runs.

    Raises:
      UserError: there is one.
    """
    known: dict[tuple[str, str, int], Scored] = {}
    for row in rows:
        other = known.setdefault((row.group, row.task, row.seed), row)
        if other is not row:
            raise UserError(
                f"seed {row.seed} of {row.group} on {row.task} is in two of the runs, "
                f"{other.run.record.path} and {row.run.record.path}: give one of them"
            )


def _budgets(name: str, rows: Sequence[Scored]) -> tuple[str, ...]:
    """Runs that are shorter than the longest: of a benchmark, else of their task."""
    place = lambda row: row.task if name == OTHER else ""
    most: dict[str, int] = {}
    for row in rows:
        most[place(row)] = max(most.get(place(row), 0), row.run.frames)
    said = [
        f"{row.run.record.name} has {row.run.frames:,} of {most[place(row)]:,} "
        "simulator steps"
        for row in rows
        if row.run.frames < (1 - BUDGET) * most[place(row)]
    ]
    return tuple(dict.fromkeys(said))


STATISTICS = {
    "iqm": statistics.iqm,
    "mean": statistics.mean,
    "median": statistics.median,
    "optimality_gap": statistics.optimality_gap,
}
"""Aggregates over runs and tasks; all but the last are better when larger."""


def aggregates(family: Family) -> list[tuple[Group, dict[str, Interval]]]:
    """Every statistic with its interval, for every group."""
    return [
        (
            group,
            {
                name: statistics.interval(group.over(family.tasks), statistic)
                for name, statistic in STATISTICS.items()
            },
        )
        for group in family.groups
    ]


def improvements(family: Family) -> list[tuple[Group, Group, Interval]]:
    """The chance that a run of a group of ours beats one of each other group."""
    found = []
    for i, ours in enumerate(family.groups):
        for other in family.groups[i + 1 :]:
            if not ours.published:
                sides = ours.over(family.tasks), other.over(family.tasks)
                chance = statistics.improvement_interval(*sides)
                found.append((ours, other, chance))
    return found


class Scale(NamedTuple):
    """How the scores of a run become comparable with those of other tasks."""

    family: str
    """Benchmark, or `OTHER`."""
    text: str
    """What 0 and 1 are."""
    task: str
    of: Callable[[Any], np.ndarray]
    """Returns, any shape, to scores."""


def scale_of(summary: Summary) -> Scale | None:
    """The scale of a run's task; None where neither 0 nor 1 is known."""
    task = summary.task
    if task is not None and task.benchmark in HUMAN:
        known = {row.method for row in reference.lookup(task.benchmark, task.task)}
        if {"human", "random"} <= known:
            normal = lambda x: reference.human_normalized(task.task, x, task.benchmark)
            text = "0 is random play, 1 is human"
            return Scale(task.benchmark, text, task.task, normal)
    if task is not None and task.benchmark in CONTROL:
        share = lambda x: np.asarray(x, np.float64) / LARGEST
        return Scale(task.benchmark, "1 is a return of 1000", task.task, share)
    if summary.fraction(0.0) is None:
        return None
    low, high = summary.levels
    text = f"0 is {low.label}, 1 is {high.label}"
    along = lambda x: (np.asarray(x, np.float64) - low.value) / (high.value - low.value)
    return Scale(OTHER, text, summary.env, along)


def published(
    benchmark: str, method: str, tasks: Sequence[str], frames: int
) -> Group | None:
    """A method's runs where they are published, else its means; None if it lacks one.

    A printed mean of several runs counts as one run. Of several budgets the one nearest
    to `frames` is taken.
    """
    if benchmark not in reference.FILES:
        return None
    cells, means_only, name = {}, False, method
    runs = reference.seed_scores(method) if benchmark == "atari100k" else {}
    for task in tasks:
        rows = reference.lookup(benchmark, task, method, "episode_score")
        if not rows and task not in runs:
            return None
        name = rows[0].method if rows else name
        scores = runs.get(task)
        if scores is None:
            gap = lambda row: abs((row.env_steps or 0) - frames)
            scores, means_only = np.array([min(rows, key=gap).value]), True
        if benchmark in HUMAN:
            cells[task] = reference.human_normalized(task, scores, benchmark)
        else:
            cells[task] = scores / LARGEST
    return Group(name, cells, True, means_only)
