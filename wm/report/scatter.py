"""Scatter plots as inline SVG, in the looks of `plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wm.report import plots


class Cloud(NamedTuple):
    """Points of a scatter plot."""

    x: np.ndarray
    y: np.ndarray
    color: int = 0
    """Index into `SERIES`."""
    shade: np.ndarray | None = None
    """In [0, 1], how dark each point is; all alike if None."""
    joined: bool = False
    """Whether a line leads from each point to the next."""


def scatters(
    panels: Mapping[str, Sequence[Cloud]],
    columns: int = 3,
    x_label: str = "",
    y_label: str = "",
    name: str = "scatter",
    log: str = "",
    diagonal: bool = False,
) -> str:
    """Scatter plots of equal size, one per entry, its name as title; an SVG.

    Args:
      panels: title → points, finite.
      columns: plots per row.
      x_label: of the last row.
      y_label: of the first column.
      name: makes ids in the SVG unique on the page.
      log: axes that count in powers of ten where values spread that much: `x`, `y`
        or `xy`.
      diagonal: draw where both axes are equal.
    """
    with plots.style():
        figure, panes = plots.panes_of(list(panels), columns, tall=2.4)
        figure.subplots_adjust(left=0.7 / plots.PAGE_WIDTH)  # 0.001 and a label
        for index, (axes, clouds) in enumerate(
            zip(panes, panels.values(), strict=True)
        ):
            for cloud in clouds:
                color = plots.SERIES[cloud.color % len(plots.SERIES)]
                alpha = 0.9 if cloud.shade is None else 0.25 + 0.65 * cloud.shade
                axes.scatter(
                    cloud.x, cloud.y, s=16, color=color, alpha=alpha, linewidths=0
                )
                if cloud.joined:
                    axes.plot(cloud.x, cloud.y, color=color, linewidth=0.9, alpha=0.5)
            for axis in log:
                values = [getattr(cloud, axis) for cloud in clouds]
                _powers(axes, axis, np.concatenate(values) if values else np.ones(1))
            if diagonal:
                low, high = axes.dataLim.min, axes.dataLim.max
                ends = [max(low.min(), 1e-12), high.max()]
                axes.plot(
                    ends, ends, color=plots.MUTED, linewidth=1, linestyle=(0, (4, 3))
                )
            if index >= len(panels) - columns:
                axes.set_xlabel(x_label, fontsize=9)
            if index % columns == 0:
                axes.set_ylabel(y_label, fontsize=9)
        return plots.as_svg(figure, name)


def _powers(axes: Any, axis: str, values: np.ndarray) -> None:
    """Let an axis count in powers of ten; around 0 plainly, where values go below."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if len(values) < 2:
        return
    low, high = values.min(), values.max()
    own = getattr(axes, f"{axis}axis")
    scale = getattr(axes, f"set_{axis}scale")
    if low <= 0:
        usual = max(3 * float(np.median(np.abs(values))), 1e-3)
        if high - low > 10 * usual:
            scale("symlog", linthresh=usual)
            powers = 10.0 ** np.arange(1, 1 + np.log10(max(high, 10)))
            getattr(axes, f"set_{axis}ticks")([0, *powers])
            own.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    elif high > 5 * low:
        scale("log")
        # Powers alone label less than two places of an axis of one decade.
        subs = (1.0,) if high > 30 * low else (1.0, 2.0, 5.0)
        own.set_major_locator(LogLocator(subs=subs))
        own.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        own.set_minor_formatter(NullFormatter())
