"""What a run amounts to: names, scores with intervals, levels, time, hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wm.report import reference, statistics, tasks
from wm.report.plots import Level
from wm.report.record import Record, Series
from wm.report.statistics import Interval

LEARNED = 0.9
"""A seed has learned when it is this far from random to optimal."""
TRAINING = "episode/return"
LENGTH = "episode/length"


class Summary(NamedTuple):
    """One run in figures."""

    record: Record
    system: str
    env: str
    preset: str
    pixels: bool
    frames_per_step: int
    seeds: tuple[int, ...]
    score: Interval | None
    """Mean over seeds and episodes of the last evaluation; None where nothing ended."""
    per_seed: dict[int, np.ndarray]
    """Returns behind the score, `{seed: [episodes]}`."""
    evaluated: bool
    """Whether the score is of evaluation episodes; else of training episodes."""
    levels: tuple[Level, ...]
    """Random first, then the best known or human score; either may be missing."""
    task: tasks.Task | None
    """The published task, if there is one."""
    seconds: float | None
    hardware: str
    command: str

    @property
    def frames(self) -> int:
        """Simulator steps of the run."""
        return self.record.steps * self.frames_per_step

    def fraction(self, score: float) -> float | None:
        """How far from random (0) to the upper level (1); None without both."""
        if len(self.levels) < 2 or self.levels[0].value == self.levels[1].value:
            return None
        low, high = self.levels[0].value, self.levels[1].value
        return (score - low) / (high - low)

    def best_seed(self) -> int:
        """The seed with the highest score, or the first."""
        if not self.per_seed:
            return self.seeds[0] if self.seeds else 0
        return max(self.per_seed, key=lambda seed: float(self.per_seed[seed].mean()))

    def learned(self) -> int | None:
        """Seeds at `LEARNED` or above; None without levels."""
        shares = [self.fraction(float(x.mean())) for x in self.per_seed.values()]
        if not shares or shares[0] is None:
            return None
        return sum(share is not None and share >= LEARNED for share in shares)


def summarize(record: Record) -> Summary:
    """Everything the first screen of the page says."""
    env = str(_first(record, ("env", "name"), ("run", "env"), ("env",), default="?"))
    spec = record.setting("env", "spec", default=record.setting("spec", default={}))
    repeat = _whole(spec, "action_repeat") or 1
    pixels = _pixels(spec.get("observation")) if isinstance(spec, Mapping) else False
    task = tasks.published(env, pixels, record.steps * repeat)
    per_seed, evaluated = _per_seed(record)
    return Summary(
        record=record,
        system=str(_first(record, ("agent", "name"), ("system",), default="agent")),
        env=env,
        preset=str(_first(record, ("preset",), ("run", "preset"), default="") or ""),
        pixels=pixels,
        frames_per_step=repeat,
        seeds=tuple(record.seeds),
        score=statistics.mean_interval(list(per_seed.values())) if per_seed else None,
        per_seed=per_seed,
        evaluated=evaluated,
        levels=_levels(spec, task),
        task=task,
        seconds=_wall(record),
        hardware=hardware(record.versions),
        command=_command(record),
    )


def returns(summary: Summary) -> dict[int, Series]:
    """Training returns per seed; steps are environment steps."""
    return training(summary, TRAINING)


def lengths(summary: Summary) -> dict[int, Series]:
    """Steps per training episode and seed; none where all episodes are equally long."""
    found = training(summary, LENGTH)
    values = [one.values for one in found.values()]
    return found if values and np.ptp(np.concatenate(values)) else {}


def training(summary: Summary, name: str) -> dict[int, Series]:
    """A metric per seed, where it was logged."""
    series = {seed: summary.record.series(name, seed) for seed in summary.seeds}
    return {seed: one for seed, one in series.items() if len(one.steps)}


def evaluations(summary: Summary) -> dict[int, Series]:
    """Mean evaluation return per seed."""
    scores = summary.record.scores
    curves = {int(seed): scores.curve(seed) for seed in np.unique(scores.seed)}
    return {seed: one for seed, one in curves.items() if len(one.steps)}


def published_rows(summary: Summary, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Published final values of `methods` on the run's task, in units of its return.

    Of several budgets the one nearest to the run's is taken.

    Raises:
      UserError: a method that no table has.
    """
    rows = []
    for method in methods:
        reference.method_name(method)
        if summary.task is None:
            continue
        task = summary.task
        found = reference.lookup(task.benchmark, task.task, method, task.metric)
        if not found:
            continue
        best = min(found, key=lambda row: abs((row.env_steps or 0) - summary.frames))
        rows.append({"row": best, "value": best.value / task.scale})
    return rows


def split(record: Record) -> dict[str, float]:
    """Seconds per part of the run, largest first; what no column covers is `rest`.

    The columns `time/…_s` count from the start of the run, so the last value is the
    whole; seeds share the clock.
    """
    parts = {}
    for name in record.metrics():
        label = name.removeprefix("time/").removesuffix("_s")
        if label in TOTALS or f"time/{label}_s" != name:
            continue
        total = max(_last(record, name, seed) for seed in record.seeds)
        if total > 0:
            parts[label] = total
    wall = _wall(record)
    if parts and wall is not None and wall > sum(parts.values()):
        parts["rest"] = wall - sum(parts.values())
    return dict(sorted(parts.items(), key=lambda item: -item[1]))


def _last(record: Record, name: str, seed: int) -> float:
    values = record.series(name, seed).values
    return float(values[-1]) if len(values) else 0.0


def _wall(record: Record) -> float | None:
    for total in TOTALS:
        name = f"time/{total}_s"
        if name in record.metrics():
            return max(_last(record, name, seed) for seed in record.seeds)
    return None


TOTALS = ("wall", "total", "elapsed")
"""Columns of `time/` that hold the whole, cumulated over the run."""


def hardware(versions: Mapping[str, Any]) -> str:
    """One phrase about the machine; empty where the run does not say."""
    device, cpu = (str(versions.get(name) or "") for name in ("device", "cpu"))
    count, cores = versions.get("devices") or 1, versions.get("cores")
    words = [cpu or device if device.lower() in ("", "cpu") else device]
    if count != 1:
        words = [f"{count} × {words[0]}"]
    if cores:
        words.append(f"{cores} core" + ("" if cores == 1 else "s"))
    return ", ".join(filter(None, words))


def _levels(spec: Any, task: tasks.Task | None) -> tuple[Level, ...]:
    spec = spec if isinstance(spec, Mapping) else {}
    low, high = spec.get("random_return"), spec.get("optimal_return")
    name = "optimal"
    if task is not None:
        rows = reference.lookup(task.benchmark, task.task, metric=task.metric)
        known = {row.method: row.value / task.scale for row in rows}
        low = known.get("random") if low is None else low
        if high is None and "human" in known:
            name, high = "human", known["human"]
    pairs = (("random", low), (name, high))
    return tuple(Level(label, float(x)) for label, x in pairs if x is not None)


def _per_seed(record: Record) -> tuple[dict[int, np.ndarray], bool]:
    final = record.scores.final()
    if final:
        return final, True
    last = {seed: record.series(TRAINING, seed).values[-1:] for seed in record.seeds}
    return {seed: values for seed, values in last.items() if len(values)}, False


def _command(record: Record) -> str:
    command = record.setting("command") or record.versions.get("command", "")
    if isinstance(command, str):
        return command
    return " ".join(str(word) for word in command)


def _pixels(observation: Any) -> bool:
    """Whether any array of an observation spec (as JSON) is an image."""
    if not isinstance(observation, Mapping):
        return False
    shape = observation.get("shape")
    if isinstance(shape, list):
        return observation.get("dtype") == "uint8" and len(shape) == 3
    return any(_pixels(value) for value in observation.values())


def _whole(spec: Any, name: str) -> int | None:
    value = spec.get(name) if isinstance(spec, Mapping) else None
    return int(value) if value else None


def _first(record: Record, *paths: tuple[str, ...], default: Any) -> Any:
    for path in paths:
        value = record.setting(*path)
        if value is not None and not isinstance(value, Mapping):
            return value
    return default
