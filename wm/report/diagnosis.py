"""What `wm diagnose` found, as records, JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wm.report.calibration import Calibration
from wm.report.statistics import LEAST_PAIRS, Interval, spearman

FORMAT = 1
FILE = "diagnosis.json"
MEASURES = {
    "nll": "NLL",
    "mse": "one-step error",
    "open_loop": "open-loop error",
}
"""What is set beside the return; less is better of each."""
KINDS = {"agent": "agents' episodes", "random": "random actions"}
"""Held-out data: none of it was trained on."""


class Point(NamedTuple):
    """One checkpoint of one seed on one kind of data."""

    run: str
    system: str
    seed: int
    step: int
    score: float
    """Mean return of evaluation episodes at this checkpoint."""
    data: str
    """A key of `KINDS`."""
    mse: float
    """One step ahead, in units of the data's variance."""
    open_loop: float
    """Mean distance at the horizon of its kind of data, in units of the data's
    spread."""
    nll: float
    """One step ahead, per entry; NaN where the model states no belief."""
    growth: np.ndarray
    """f64 `[H]`: mean distance 1 … H steps ahead."""
    calibration: Calibration | None


class Correlation(NamedTuple):
    """A measure of the model beside the return, over checkpoints."""

    run: str
    """Empty: all runs together."""
    data: str
    measure: str
    points: int
    rho: Interval
    """Rank correlation; -1 where a smaller error always goes with a larger return."""


class Diagnosis(NamedTuple):
    """All of it."""

    env: str
    horizon: int
    """The longest of `horizons`."""
    points: tuple[Point, ...]
    standing: dict[str, np.ndarray]
    """Per kind of data, f64 `[H]`: distance of 'nothing changes'."""
    correlations: tuple[Correlation, ...]
    page: Path | None = None
    """The page that shows it."""

    @property
    def runs(self) -> list[str]:
        """Names in the order given."""
        return list(dict.fromkeys(point.run for point in self.points))

    @property
    def horizons(self) -> dict[str, int]:
        """Steps of open-loop prediction per kind of data: as many as were asked for, or
        as its longest episode leaves."""
        return {kind: len(still) for kind, still in self.standing.items()}

    def newest(self, data: str, run: str) -> list[Point]:
        """The last checkpoint of every seed."""
        mine = [p for p in self.points if p.data == data and p.run == run]
        last = {p.seed: p for p in sorted(mine, key=lambda p: p.step)}
        return [last[seed] for seed in sorted(last)]

    def lines(self) -> list[str]:
        """The correlations, for a terminal."""
        said = []
        for one in self.correlations:
            if one.run or not one.points:
                continue
            who = f"{MEASURES[one.measure]}, {KINDS[one.data]}"
            if one.points < LEAST_PAIRS:
                return [
                    f"  correlation with the return: needs {LEAST_PAIRS} checkpoints "
                    f"or more, got {one.points} (--train.save_steps N with "
                    "--train.keep_checkpoints none keeps them)"
                ]
            rho = f"{one.rho.value:+.2f} ({one.rho.low:+.2f} to {one.rho.high:+.2f})"
            if math.isnan(one.rho.value):
                rho = "none: one of them is constant"
            said.append(f"  rank correlation with the return: {rho}  {who}")
        return said


def correlate(points: Sequence[Point]) -> tuple[Correlation, ...]:
    """Over all runs together, and over each where there are several."""
    runs = list(dict.fromkeys(point.run for point in points))
    found = []
    for run in ["", *runs] if len(runs) > 1 else [""]:
        for data in KINDS:
            mine = [p for p in points if p.data == data and run in ("", p.run)]
            for measure in MEASURES:
                pairs = [(getattr(p, measure), p.score) for p in mine]
                pairs = [pair for pair in pairs if not any(map(math.isnan, pair))]
                x, y = np.array(pairs).reshape(-1, 2).T
                found.append(Correlation(run, data, measure, len(x), spearman(x, y)))
    return tuple(found)


def save(folder: Path, diagnosis: Diagnosis) -> None:
    """Write `diagnosis.json` and `diagnosis.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, **diagnosis._asdict()}
    del content["page"]
    file = folder / FILE
    file.write_text(json.dumps(_plain(content), indent=1) + "\n", encoding="utf-8")
    numbers = [name for name in Point._fields if name not in ("growth", "calibration")]
    head = [*("return" if x == "score" else x for x in numbers), "miscalibration"]
    with open(folder / "diagnosis.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*head, "confidence"])
        for point in diagnosis.points:
            known, row = point.calibration, [getattr(point, x) for x in numbers]
            row += [known.miscalibration, known.confidence] if known else ["", ""]
            writer.writerow(["" if x != x else x for x in row])


def load(folder: Path) -> Diagnosis | None:
    """Read what `save` wrote; None where there is none, or one of another format."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            return None
        points = tuple(_point(entry) for entry in found["points"])
        return Diagnosis(
            env=found["env"],
            horizon=found["horizon"],
            points=points,
            standing={k: _array(x) for k, x in found["standing"].items()},
            correlations=tuple(
                Correlation(**{**entry, "rho": Interval(**_floats(entry["rho"]))})
                for entry in found["correlations"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _point(entry: dict[str, Any]) -> Point:
    known = entry["calibration"]
    if known is not None:
        arrays = {k: _array(known[k]) for k in ("coverage", "spread", "error")}
        known = Calibration(**{**_floats(known), **arrays})
    numbers = _floats(entry) | {"growth": _array(entry["growth"])}
    return Point(**{**entry, **numbers, "calibration": known})


def _floats(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: float("nan") if x is None else x for k, x in entry.items()}


def _array(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if x is None else x for x in values], np.float64)


def _plain(value: Any) -> Any:
    """As JSON; what is no finite number becomes null."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(x) for name, x in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(x) for x in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
