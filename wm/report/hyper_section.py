"""The part of the page about a run that trained several hyperparameters at once."""

from __future__ import annotations

import numpy as np

from wm.report import aggregate, plots, statistics
from wm.report.markup import Raw, swatch, table, text
from wm.report.plots import Line, number
from wm.report.summary import Summary, evaluations, returns


def section(summary: Summary) -> str:
    """A row and a curve per combination; empty where there is only one."""
    members = aggregate.hypers(summary)
    if not members:
        return ""
    groups: dict[tuple[float, ...], list[int]] = {}
    for seed, values in members.items():
        if seed in summary.per_seed:
            groups.setdefault(tuple(values.values()), []).append(seed)
    names = list(next(iter(members.values())))
    rows, lines = [], []
    for index, (values, seeds) in enumerate(groups.items()):
        score = statistics.mean_interval([summary.per_seed[i] for i in seeds])
        between = f"{number(score.low)} to {number(score.high)}"
        first = Raw(f"{swatch(index)}{text(f'{values[0]:g}')}")
        rest = [f"{value:g}" for value in values[1:]]
        rows.append([first, *rest, score.value, between, len(seeds)])
        curves = returns(summary) or evaluations(summary)
        label = ", ".join(f"{value:g}" for value in values)
        chosen = [curves[i] for i in seeds if i in curves]
        lines += plots.seed_lines(chosen, label, index, False)
    head = [*names, "Return", "95 % interval", "Seeds"]
    right = np.arange(len(names), len(head)).tolist()
    page = f'<h2>Hyperparameters</h2><div class="card">{table(head, rows, right)}</div>'
    if lines:
        lines = [_stretched(line, summary.frames_per_step) for line in lines]
        chart = plots.curves(lines, summary.levels, name="curves by hyperparameters")
        page += f'<figure class="card">{chart}</figure>'
    return page


def best(summary: Summary) -> str:
    """A sentence below the answer, which is a mean over all combinations."""
    members = aggregate.hypers(summary)
    found: dict[str, list[float]] = {}
    for seed, values in members.items():
        if seed in summary.per_seed:
            name = ", ".join(f"{key} {value:g}" for key, value in values.items())
            score = float(summary.per_seed[seed].mean())
            found.setdefault(name, []).append(score)
    if not found:
        return ""
    means = {name: float(np.mean(scores)) for name, scores in found.items()}
    name = max(means, key=means.__getitem__)
    said = f"This is the mean over {len(found)} combinations of hyperparameters. "
    said += f"The best, {name}, reaches {number(means[name])}."
    return f'<p class="note">{text(said)}</p>'


def _stretched(line: Line, scale: int) -> Line:
    return line._replace(steps=line.steps * scale)
