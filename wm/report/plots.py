"""Charts as inline SVG whose colours follow the page's light or dark theme.

matplotlib draws with marker colours (`#1234…`), which become CSS variables of the
page. No `pyplot`: figures are objects, so nothing global is touched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wm.report.record import Series

INK, MUTED, GRID, SURFACE = "#1234a0", "#1234a1", "#1234a2", "#1234a3"
SERIES = tuple(f"#1234c{index}" for index in range(8))
"""Colours of runs, seeds and methods, in order; more than eight start again."""
PAGE_WIDTH = 9.6
"""Inches: at this width 10 point text is as large as the page's small print."""
MAX_POINTS = 240
"""A curve is averaged down to this many points: more cannot be told apart."""


class Line(NamedTuple):
    """One curve of a chart."""

    label: str
    steps: np.ndarray
    values: np.ndarray
    low: np.ndarray | None = None
    """Lower edge of a band, same shape."""
    high: np.ndarray | None = None
    color: int = 0
    """Index into `SERIES`."""
    faint: bool = False
    dashed: bool = False
    dots: bool = False


class Level(NamedTuple):
    """A horizontal line with a name: a score to compare with."""

    label: str
    value: float


def curves(
    lines: Sequence[Line],
    levels: Sequence[Level] = (),
    x_label: str = "environment steps",
    y_label: str = "return",
    name: str = "curves",
    size: tuple[float, float] = (PAGE_WIDTH, 4.0),
) -> str:
    """A chart of curves over steps, levels labelled at their right end; an SVG."""
    figure, axes = _figure(size)
    for line in lines:
        _draw(axes, thin(line))
    for level in levels:
        axes.axhline(level.value, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{level.label} {number(level.value)}",
            (1.0, level.value),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=MUTED,
            fontsize=9,
        )
    _steps_axis(axes, x_label)
    axes.set_ylabel(y_label)
    axes.margins(x=0.01, y=0.08)
    if sum(bool(line.label) for line in lines) > 1:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0, 1.02, 1, 0.1),
            ncols=4,
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            borderaxespad=0,
            handlelength=1.4,
        )
    return as_svg(figure, name)


def grid(
    panels: Mapping[str, Sequence[Line]],
    columns: int = 4,
    x_label: str = "environment steps",
    name: str = "grid",
    shade: float | None = None,
    from_zero: bool = False,
    log: bool = False,
) -> str:
    """Small charts of equal size, one per entry, its name as title; an SVG.

    Args:
      panels: title → curves.
      columns: charts per row.
      x_label: of the last row.
      name: makes ids in the SVG unique on the page.
      shade: shade each chart up to this place on the x axis (a context).
      from_zero: let every y axis begin at 0.
      log: let every y axis count in powers of ten.
    """
    with style():
        figure, panes = panes_of(list(panels), columns)
        for index, (axes, lines) in enumerate(zip(panes, panels.values(), strict=True)):
            if shade is not None:
                axes.axvspan(-0.5, shade, color=GRID, linewidth=0, alpha=0.6)
            for line in lines:
                _draw(axes, thin(line), width=1.2)
            axes.locator_params(nbins=3)
            last_row = index >= len(panels) - columns
            _steps_axis(axes, x_label if last_row else "", bins=3)
            axes.margins(x=0.02, y=0.1)
            if log:
                axes.set_yscale("log")
            elif from_zero:
                axes.set_ylim(bottom=0)
        return as_svg(figure, name)


def panes_of(
    titles: Sequence[str], columns: int, tall: float = 0.0
) -> tuple[Any, list]:
    """A figure and one pane per title."""
    from matplotlib.figure import Figure

    rows = -(-len(titles) // columns)
    height = rows * (tall or (1.75 if columns > 2 else 2.2)) + 0.25
    figure = Figure(figsize=(PAGE_WIDTH, height))
    # In inches: room for tick labels on the left and the axis label below. Fixed,
    # because measuring text takes half of the time of a page.
    figure.subplots_adjust(
        left=0.5 / PAGE_WIDTH,
        right=1 - 0.1 / PAGE_WIDTH,
        bottom=0.48 / height,
        top=1 - 0.28 / height,
        wspace=0.3,
        hspace=0.42,
    )
    panes = []
    for index, title in enumerate(titles):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.set_title(title, fontsize=9, loc="left", color=INK)
        axes.tick_params(labelsize=8)
        panes.append(axes)
    return figure, panes


def seed_lines(
    series: Sequence[Series], label: str, color: int = 0, faint_seeds: bool = True
) -> list[Line]:
    """The seeds as faint curves and their mean, over the steps that all have."""
    series = [one for one in series if len(one.steps)]
    if not series:
        return []
    if len(series) == 1:
        return [Line(label, series[0].steps, series[0].values, color=color)]
    lines = []
    if faint_seeds:
        lines = [Line("", s.steps, s.values, color=color, faint=True) for s in series]
    steps, values = aligned(series)
    if not len(steps):
        return lines
    low, high = (None, None) if faint_seeds else (values.min(0), values.max(0))
    return [*lines, Line(label, steps, values.mean(0), low, high, color=color)]


def aligned(series: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Steps inside the range of every series, and values `[seeds, P]` there.

    Seeds trained in one program share their steps; others are interpolated.
    """
    first = max(one.steps[0] for one in series)
    last = min(one.steps[-1] for one in series)
    steps = np.unique(np.concatenate([one.steps for one in series]))
    steps = steps[(steps >= first) & (steps <= last)]
    if not len(steps):
        return steps, np.zeros((len(series), 0))
    values = np.stack([np.interp(steps, one.steps, one.values) for one in series])
    return steps, values


def thin(line: Line) -> Line:
    """Average neighbouring points until `MAX_POINTS` are left."""
    size = -(-len(line.steps) // MAX_POINTS)
    if size <= 1:
        return line
    edges = np.arange(0, len(line.steps), size)
    counts = np.diff(np.append(edges, len(line.steps)))
    average = lambda x: None if x is None else np.add.reduceat(x, edges) / counts
    return line._replace(
        steps=average(np.asarray(line.steps, np.float64)),
        values=average(line.values),
        low=average(line.low),
        high=average(line.high),
    )


def number(value: float) -> str:
    """A figure as people write it: three significant digits, thousands with commas."""
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1_000:
        return f"{value:,.0f}".replace("-", "−")
    digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
    if digits > 6:
        return f"{value:.1e}".replace("-", "−")
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=size)
        figure.set_layout_engine("constrained")
        return figure, figure.add_subplot()


def _draw(axes: Any, line: Line, width: float = 2.0) -> None:
    color = SERIES[line.color % len(SERIES)]
    if line.low is not None and line.high is not None:
        axes.fill_between(
            line.steps, line.low, line.high, color=color, alpha=0.16, linewidth=0
        )
    axes.plot(
        line.steps,
        line.values,
        color=color,
        linewidth=0.9 if line.faint else width,
        alpha=0.45 if line.faint else 1.0,
        linestyle=(0, (2, 2)) if line.dashed else "-",
        marker="o" if line.dots or len(line.steps) == 1 else None,
        markersize=4,
        label=line.label or None,
        solid_capstyle="round",
    )


def _steps_axis(axes: Any, label: str, bins: int = 6) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
    if label:
        axes.set_xlabel(label)


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def style() -> Any:
    """How charts look; figures are made and saved inside of it."""
    import matplotlib

    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "font.size": 10,
            "axes.edgecolor": GRID,
            "axes.facecolor": "none",
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.labelcolor": MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "axes.unicode_minus": True,
            "axes.formatter.useoffset": False,
            "figure.facecolor": "none",
            "grid.color": GRID,
            "grid.linewidth": 0.8,
            "xtick.color": GRID,
            "ytick.color": GRID,
            "xtick.labelcolor": MUTED,
            "ytick.labelcolor": MUTED,
            "ytick.major.size": 0,
        }
    )


def as_svg(figure: Any, name: str) -> str:
    """The figure as an `<svg>` element with theme colours and without a fixed size."""
    import matplotlib

    # The salt makes ids the same every time, and different between charts of a page.
    with style(), matplotlib.rc_context({"svg.hashsalt": name}):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Its style sheet would apply to the whole page, and these ids are not unique.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"; ?font-family: [^;\"]+|font-family: [^;\"]+;? ?", "", text)
    text = re.sub(r"#1234([0-9a-f]{2})", r"var(--p-\1)", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", text)
    head, _, rest = text.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} class="chart" role="img" aria-label="{name}">{rest}'
