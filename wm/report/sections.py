"""The parts of the page about one run, in the order they are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wm.report import plots, reference, statistics
from wm.report.markup import (
    Raw,
    bar,
    duration,
    plural,
    settings,
    swatch,
    table,
    text,
    tiles,
)
from wm.report.plots import Line, number
from wm.report.ruler import ruler
from wm.report.summary import (
    Summary,
    evaluations,
    lengths,
    published_rows,
    returns,
    split,
)

PROTOCOL = (
    "Published numbers follow their own protocols: DreamerV3 reports training episodes "
    "with exploration, most others separate evaluation episodes."
)


def title(summary: Summary) -> str:
    """`dreamer_v3 on pixels/catch`."""
    return f"{summary.system} on {summary.env}"


def answer(summary: Summary, against: Sequence[str]) -> str:
    """The first screen: what was trained, how well, how long, on what."""
    published = published_rows(summary, against)
    graphic = ruler(summary, published)
    return (
        f'<p class="answer">{_sentence(summary)}</p>'
        + (f'<div class="card">{graphic}</div>' if graphic else "")
        + tiles(_tiles(summary))
    )


def _sentence(summary: Summary) -> str:
    trained = f"{plural(len(summary.seeds), 'seed')} of {text(summary.system)}"
    if summary.preset:
        trained += f" (preset {text(summary.preset)})"
    trained += f" trained for {plural(summary.record.steps, 'environment step')}"
    trained += "" if len(summary.seeds) == 1 else " each"
    if summary.score is None:
        return f"{trained}. No episode has ended yet, so there is no score."
    score = summary.score
    line = (
        f"{trained} reach{'es' if len(summary.seeds) == 1 else ''} a mean return of "
        f"<b>{number(score.value)}</b> "
        f"(95 % interval {number(score.low)} to {number(score.high)})"
    )
    share = summary.fraction(score.value)
    if share is not None:
        low, high = summary.levels
        line += (
            f": {share:.0%} of the way from {low.label} ({number(low.value)}) to "
            f"{high.label} ({number(high.value)})"
        )
    return f"{line}."


def _tiles(summary: Summary) -> list[tuple[str, object, object]]:
    boxes: list[tuple[str, object, object]] = []
    if summary.score is not None:
        episodes = sum(len(values) for values in summary.per_seed.values())
        kind = "evaluation" if summary.evaluated else "training, last logged"
        below = f"{plural(episodes, 'episode')}, {kind}"
        if not summary.evaluated:
            below = kind
        boxes.append(("Return", number(summary.score.value), below))
    learned = summary.learned()
    if learned is not None:
        boxes.append(
            (
                "Seeds that learned",
                f"{learned} of {len(summary.per_seed)}",
                "≥ 90 % of the way",
            )
        )
    frames = ""
    if summary.frames_per_step > 1:
        frames = f"{summary.frames:,} frames"
    played = summary.record.scores
    if played.length.size and lengths(summary):
        newest = played.length[played.step == played.step.max()]
        boxes.append(("Steps per episode", number(newest.mean()), "newest evaluation"))
    boxes.append(("Environment steps", f"{summary.record.steps:,}", frames))
    boxes.append(("Time", duration(summary.seconds), _speed(summary)))
    machine, _, cores = summary.hardware.partition(", ")
    boxes.append(("Hardware", machine or "not recorded", cores))
    return boxes


def _speed(summary: Summary) -> str:
    if not summary.seconds:
        return ""
    total = summary.record.steps * len(summary.seeds) / summary.seconds
    return f"{number(total)} steps/s over all seeds"


def learning(summary: Summary, against: Sequence[str]) -> str:
    """Curves of training and evaluation with levels and published curves."""
    scale = summary.frames_per_step
    lines = _stretched(
        plots.seed_lines(list(returns(summary).values()), "train"), scale
    )
    marks = evaluations(summary)
    if any(len(one.steps) > 1 for one in marks.values()) or not lines:
        lines += _stretched(
            plots.seed_lines(list(marks.values()), "evaluation", 1), scale
        )
    if not lines:
        return ""
    notes = []
    for index, method in enumerate(against):
        line, note = published_line(summary, method, index + 2)
        lines += line
        notes.append(note)
    unit = "frames (steps × action repeat)" if scale > 1 else "environment steps"
    chart = plots.curves(lines, summary.levels, unit, name="learning curves")
    chart = f'<figure class="card">{chart}</figure>{_lengths(summary, unit)}'
    said = "Thin lines are seeds, the thick one their mean. "
    if len(summary.seeds) == 1:
        said = ""
    if against:
        said += f"{PROTOCOL} {' '.join(filter(None, notes))}"
    return (
        f"<h2>Learning curves</h2>{chart}"
        f'<p class="note">{text(said)} The same as numbers: '
        f'<a href="curves.csv" download>curves.csv</a>.</p>'
    )


def _lengths(summary: Summary, unit: str) -> str:
    """Steps per episode: where reaching a goal is all that earns, this is the score."""
    series = list(lengths(summary).values())
    if not series:
        return ""
    lines = _stretched(plots.seed_lines(series, ""), summary.frames_per_step)
    chart = plots.curves(
        lines, (), unit, "steps per episode", "episode lengths", (plots.PAGE_WIDTH, 2.5)
    )
    return f'<figure class="card">{chart}</figure>'


def _stretched(lines: list[Line], scale: int) -> list[Line]:
    return [line._replace(steps=line.steps * scale) for line in lines]


def published_line(summary: Summary, method: str, color: int) -> tuple[list[Line], str]:
    """A published curve, or its final value as a dot; and what to know about it."""
    if summary.task is None:
        return [], f"No published table covers {summary.env}."
    task, rows = summary.task, published_rows(summary, [method])
    curve = reference.curve(task.benchmark, task.task, method)
    if curve is not None and curve.metric == task.metric:
        line = _curve_line(curve, summary, color)
        said = f"{curve.method}: {curve.note or 'learning curve'}, from {curve.source}."
        return [line], f"{said} {_difference(summary)}"
    if rows:
        row = rows[0]["row"]
        at = np.array([row.env_steps or summary.frames])
        value = np.array([rows[0]["value"]])
        line = Line(row.method, at, value, color=color, dots=True)
        return [line], f"{row.method}: final value, from {row.source}. " + _difference(
            summary
        )
    return [], f"No published number of {method} on {task.benchmark} {task.task}."


def _curve_line(curve: reference.Curve, summary: Summary, color: int) -> Line:
    """A published curve in units of the run's return, as far as the run goes."""
    scale = summary.task.scale if summary.task else 1.0
    # A run of a few steps still shows two points to compare with.
    size = max(2, int(np.searchsorted(curve.env_steps, 1.02 * summary.frames)))
    values, low, high = curve.values[:size] / scale, None, None
    if curve.spreads is not None:
        spread = curve.spreads[:size] / scale
        low, high = values - spread, values + spread
    return Line(curve.method, curve.env_steps[:size], values, low, high, color)


def _difference(summary: Summary) -> str:
    if summary.task is None or not summary.task.note:
        return ""
    return f"Ours is {summary.task.note}."


def seeds(summary: Summary, against: Sequence[str]) -> str:
    """One row per seed, then published values on the same task."""
    if not summary.per_seed:
        return ""
    rows = []
    for seed, values in summary.per_seed.items():
        share = summary.fraction(float(values.mean()))
        one = statistics.mean_interval([values])
        rows.append(
            [
                seed,
                one.value,
                f"{number(one.low)} to {number(one.high)}" if len(values) > 1 else "–",
                float(values.min()),
                float(values.max()),
                len(values),
                "–" if share is None else f"{share:.0%}",
            ]
        )
    head = ["Seed", "Mean", "95 % interval", "Worst", "Best", "Episodes", "Of the way"]
    page = f'<h2>Seeds</h2><div class="card">{table(head, rows, range(1, 7))}</div>'
    others = published_rows(summary, against)
    if not others:
        return page
    body = [
        [
            entry["row"].method,
            float(entry["value"]),
            "–" if entry["row"].spread is None else float(entry["row"].spread),
            entry["row"].seeds or "–",
            f"{entry['row'].env_steps:,}" if entry["row"].env_steps else "–",
            entry["row"].source,
        ]
        for entry in others
    ]
    head = ["Published", "Value", "Spread", "Runs", "Simulator steps", "Source"]
    return page + f'<div class="card">{table(head, body, range(1, 5))}</div>'


def losses(summary: Summary) -> str:
    """Small charts of every loss, the other metrics folded away."""
    names = [n for n in summary.record.metrics() if "/" in n]
    main = [name for name in names if name.startswith("loss/")]
    rest = [n for n in names if n.split("/")[0] in ("model", "behavior", "plan", "opt")]
    page = ""
    for group, chosen in (("Losses", main), ("Other metrics", rest)):
        panels = {
            name: plots.seed_lines(
                [summary.record.series(name, seed) for seed in summary.seeds], ""
            )
            for name in chosen
        }
        panels = {name: lines for name, lines in panels.items() if lines}
        if not panels:
            continue
        chart = f'<figure class="card">{plots.grid(panels, name=group)}</figure>'
        if group == "Losses":
            page += f"<h2>Losses</h2>{chart}"
        else:
            page += f"<details><summary>{group}</summary>{chart}</details>"
    return page


def time(summary: Summary) -> str:
    """Where the seconds went, and the rates."""
    parts = split(summary.record)
    rates = [name for name in summary.record.metrics() if name.startswith("rate/")]
    if not parts and not rates:
        return ""
    page = "<h2>Where the time went</h2>"
    whole = sum(parts.values())
    if parts:
        rows = [
            [Raw(f"{swatch(i)}{text(name)}"), duration(value), f"{value / whole:.1%}"]
            for i, (name, value) in enumerate(parts.items())
        ]
        head = ["Part", "Time", "Share"]
        page += f'<div class="card">{bar(parts)}{table(head, rows, (1, 2))}</div>'
    lines = {}
    for name in rates:
        series = summary.record.series(name, summary.seeds[0])
        if len(series.steps):
            label = name.removeprefix("rate/").replace("_", " ").replace(" per ", "/")
            lines[label] = [Line("", series.steps, series.values)]
    if lines:
        chart = plots.grid(lines, columns=min(4, len(lines)), name="rates")
        page += f'<figure class="card">{chart}</figure>'
    return page


def again(summary: Summary) -> str:
    """The command, the configuration and the versions."""
    page = ""
    if summary.command:
        page += (
            "<h2>Make it again</h2>"
            f'<div class="command"><pre>{text(summary.command)}</pre>'
            '<button type="button">Copy</button></div>'
        )
    for name, values in (
        ("Configuration", summary.record.config),
        ("Versions", summary.record.versions),
    ):
        if values:
            page += (
                f"<details><summary>{name}</summary>"
                f'<div class="card">{settings(values)}</div></details>'
            )
    return page
