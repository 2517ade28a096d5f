"""The part of the page that shows a diagnosis."""

from __future__ import annotations

import math

import numpy as np

from wm.report import plots
from wm.report.calibration import NOMINAL
from wm.report.diagnosis import KINDS, MEASURES, Correlation, Diagnosis, Point
from wm.report.markup import plural, swatch, table, text
from wm.report.plots import Line
from wm.report.record import Series
from wm.report.scatter import Cloud, scatters
from wm.report.statistics import LEAST_PAIRS

TOO_FAR = 5.0
"""Distance, in spreads of the data, from which growth is drawn in powers of ten."""


def section(found: Diagnosis | None) -> str:
    """Three answers: does it matter, how far does it see, does it know its errors."""
    if found is None or not found.points:
        return ""
    last = max(point.step for point in found.points)
    checkpoints = [p for p in found.points if p.data == found.points[0].data]
    intro = (
        f"{plural(len(checkpoints), 'checkpoint')}, the newest of step {last:,}, on "
        "episodes that none was trained on: of the newest agents, and of random "
        "actions. Errors are in units of the data's spread: 1 is as wrong as always "
        "saying the mean."
    )
    return (
        f"<h2>The model, diagnosed</h2><p>{intro}</p>"
        f"{_mismatch(found)}{_growth(found)}{_calibration(found)}"
        '<p class="note">As numbers: <a href="diagnosis.csv" download>diagnosis.csv'
        '</a>, <a href="diagnosis.json" download>diagnosis.json</a>.</p>'
    )


def _mismatch(found: Diagnosis) -> str:
    """Does a better model make a better agent?"""
    page = "<h3>Does a better model make a better agent?</h3>"
    overall = [c for c in found.correlations if not c.run and c.points]
    if max((c.points for c in overall), default=0) < LEAST_PAIRS:
        return page + (
            f"<p>A correlation needs at least {LEAST_PAIRS} checkpoints; there "
            f"{_are(max((c.points for c in overall), default=0))}. Train with "
            "--train.save_steps and --train.keep_checkpoints none, or diagnose several "
            "runs at once.</p>"
        )
    panels = {}
    for one in overall:
        title = f"{MEASURES[one.measure]} ({one.data}): {_rho(one)}"
        panels[title] = _clouds(found, one)
    columns = len({c.measure for c in overall})
    chart = scatters(
        panels, columns, "error of the model", "return", "mismatch", log="x"
    )
    measures = [x for x in MEASURES if any(c.measure == x for c in overall)]
    head = ["Runs", "Data", "Checkpoints", *(MEASURES[x] for x in measures)]
    rows: dict[tuple[str, str], list] = {}
    for one in found.correlations:
        if one.measure in measures:
            begun = [one.run or "all", KINDS[one.data], one.points]
            rows.setdefault((one.run, one.data), begun).append(_interval(one))
    key = _key(
        found,
        "A point is a checkpoint of a seed; later ones are darker. Above: agents' "
        "episodes; below: random actions.",
    )
    return page + (
        f'<figure class="card">{chart}<figcaption>{key}</figcaption></figure>'
        f'<div class="card">{table(head, list(rows.values()), (2, 3, 4, 5))}</div>'
        f'<p class="note">Rank correlation (Spearman) of the error with the return: −1 '
        "means that the better model always belongs to the better agent. The open-loop "
        f"error is that after {_horizons(found)}. In brackets: 95 % "
        "interval, as if checkpoints were independent; those of one seed are not.</p>"
    )


def _horizons(found: Diagnosis) -> str:
    """Of both kinds of data, where they differ each."""
    if len(set(found.horizons.values())) == 1:
        return plural(found.horizon, "step")
    return " and ".join(
        f"{plural(steps, 'step')} ({KINDS[kind]})"
        for kind, steps in found.horizons.items()
    )


def _clouds(found: Diagnosis, one: Correlation) -> list[Cloud]:
    clouds, last = [], max(point.step for point in found.points)
    for color, run in enumerate(found.runs):
        mine = [p for p in found.points if p.run == run and p.data == one.data]
        mine = [p for p in mine if math.isfinite(getattr(p, one.measure))]
        x = np.array([getattr(p, one.measure) for p in mine])
        y = np.array([p.score for p in mine])
        shade = np.array([p.step / max(last, 1) for p in mine])
        clouds.append(Cloud(x, y, color, shade))
    return clouds


def _rho(one: Correlation) -> str:
    return f"ρ = {_two(one.rho.value)}" if math.isfinite(one.rho.value) else "no ρ"


def _interval(one: Correlation) -> str:
    if not math.isfinite(one.rho.value):
        return "–"
    return f"{_two(one.rho.value)} ({_two(one.rho.low)} to {_two(one.rho.high)})"


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def _growth(found: Diagnosis) -> str:
    """How far does it see?"""
    panels, far = {}, 0.0
    for kind, name in KINDS.items():
        still = found.standing[kind]
        steps = np.arange(1, len(still) + 1)
        lines = [Line("still", steps, still, color=7, dashed=True)]
        for color, run in enumerate(found.runs):
            curves = [_finite(p.growth) for p in found.newest(kind, run)]
            far = max([far, *(c.values.max() for c in curves if len(c.values))])
            lines += plots.seed_lines(curves, run, color)
        panels[name] = lines
    chart = plots.grid(
        panels,
        columns=2,
        x_label="steps ahead",
        name="growth",
        from_zero=True,
        log=far > TOO_FAR,
    )
    key = _key(found, f"{swatch(7)}'nothing changes'. Thin: seeds; thick: their mean.")
    return (
        "<h3>How far does it see?</h3><p>From states on the way the model follows the "
        "true actions without seeing. Mean distance from what happened; newest "
        f'checkpoints.</p><figure class="card">{chart}<figcaption>{key}</figcaption>'
        "</figure>"
    )


def _finite(values: np.ndarray) -> Series:
    good = np.isfinite(values)
    return Series(np.arange(1, len(values) + 1)[good], values[good])


def _calibration(found: Diagnosis) -> str:
    """Does it know how wrong it is?"""
    page = "<h3>Does it know how wrong it is?</h3>"
    newest = {
        (kind, run): [p for p in found.newest(kind, run) if p.calibration]
        for kind in KINDS
        for run in found.runs
    }
    if not any(newest.values()):
        return page + (
            "<p>These models state no belief of the next observation, so there is "
            "nothing to compare with their errors.</p>"
        )
    reliability, spread, rows = {}, {}, []
    for kind, name in KINDS.items():
        diagonal = Line("ideal", NOMINAL, NOMINAL, color=7, dashed=True)
        reliability[f"coverage, {name}"] = lines = [diagonal]
        spread[f"spread and error, {name}"] = clouds = []
        for color, run in enumerate(found.runs):
            known = newest[kind, run]
            curves = [
                Series(NOMINAL, p.calibration.coverage) for p in known if p.calibration
            ]
            lines += plots.seed_lines(curves, run, color)
            clouds += [_cloud(p, color) for p in known]
            rows += [_row(p, name) for p in known]
    upper = plots.grid(
        reliability, columns=2, x_label="nominal level", name="reliability"
    )
    lower = scatters(
        spread, 2, "predicted deviation", "error", "spread", log="xy", diagonal=True
    )
    head = ["Run", "Seed", "Data", "|coverage − level|", "Too sure by", "Rank"]
    key = _key(
        found,
        f"{swatch(7)}ideal: below it the model is too sure of itself. Lower plots: "
        "predictions in ten groups by predicted deviation, each with its root mean "
        "square error.",
    )
    return page + (
        f'<figure class="card">{upper}{lower}<figcaption>{key}</figcaption></figure>'
        f'<div class="card">{table(head, rows, (3, 4, 5))}</div>'
        '<p class="note">One step ahead, newest checkpoints. Share of observations '
        "inside the central interval of every level; means over levels. Rank: "
        "correlation of predicted deviation with absolute error.</p>"
    )


def _cloud(point: Point, color: int) -> Cloud:
    known = point.calibration
    assert known is not None
    good = np.isfinite(known.spread) & np.isfinite(known.error)
    return Cloud(known.spread[good], known.error[good], color, joined=True)


def _row(point: Point, data: str) -> list:
    known = point.calibration
    assert known is not None
    return [
        point.run,
        point.seed,
        data,
        known.miscalibration,
        known.confidence,
        known.rank,
    ]


def _key(found: Diagnosis, more: str) -> str:
    """What colours mean; `more` is HTML."""
    runs = [f"{swatch(i)}{text(run)}" for i, run in enumerate(found.runs)]
    return " &nbsp; ".join([*runs, more])
