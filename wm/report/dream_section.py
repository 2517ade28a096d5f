"""The part of the page that shows the dream."""

from __future__ import annotations

import json

import numpy as np

from wm.report import dreams, plots
from wm.report.dreams import Night, Reel
from wm.report.markup import data_uri, plural, swatch, text
from wm.report.plots import Line


def section(night: Night | str) -> str:
    """Pictures or curves of what the model expects, and how wrong it is."""
    if isinstance(night, str):
        return f"<h2>The dream</h2><p>{text(night)}</p>"
    context = plural(night.context, "frame")
    parts = [
        "<h2>The dream</h2><p>The world model sees "
        f"{context} of an episode and imagines the rest from the actions alone. "
        f"Best seed ({night.seed}) after {night.step:,} steps, in evaluation "
        "episodes.</p>"
    ]
    for reel in night.reels:
        parts.append(_pictures(reel, night) if reel.image else _numbers(reel, night))
    parts.append(_horizon(night))
    return "".join(parts)


def _pictures(reel: Reel, night: Night) -> str:
    L, H, W = reel.truth.shape[1:4]
    ms = dreams.frame_ms(L)
    shape = {"episodes": len(reel.truth), "frames": L, "width": W, "height": H}
    shape |= {"context": night.context, "ms": ms}
    shape["lengths"] = night.valid.sum(1).tolist()
    kinds = "<span>truth</span><span>imagined</span><span>error</span>"
    sheet = data_uri(dreams.sprite(reel), "image/png")
    player = (
        f'<div class="card player"><script type="application/json">{json.dumps(shape)}'
        f'</script><img src="{sheet}" alt="" hidden><div class="stage">'
        f'<div class="rows">{kinds}</div><canvas></canvas></div>'
        '<div class="controls"><button type="button">Pause</button>'
        '<input type="range" min="0" value="0" aria-label="frame">'
        '<span class="phase"></span></div></div>'
    )
    still = data_uri(dreams.animation(reel, night.valid, ms), "image/webp")
    player += f'<noscript><img src="{still}" alt="the dream"></noscript>'
    strips = [_strip(reel, night, row) for row in range(len(reel.truth))]
    more = "".join(strips[1:])
    if more:
        more = f"<details><summary>More episodes</summary>{more}</details>"
    name = f"<h3>{text(reel.name)}</h3>" if reel.name else ""
    return f"{name}{player}{strips[0]}{more}"


def _strip(reel: Reel, night: Night, row: int) -> str:
    frames = dreams.strip_frames(int(night.valid[row].sum()), night.context)
    image = data_uri(dreams.strip(reel, row, frames), "image/png")
    labels = "".join(
        f"<span{' class=seen' if frame < night.context else ''}>{frame + 1}</span>"
        for frame in frames
    )
    width = min(100, 9 * len(frames))
    grid = f"grid-template-columns:repeat({len(frames)},1fr)"
    return (
        f'<div class="strip"><span></span><div class="frames" '
        f'style="{grid};width:{width}%">{labels}</div>'
        '<div class="rows"><span>truth</span><span>imagined</span><span>error</span>'
        f'</div><img style="width:{width}%" src="{image}" '
        'alt="truth, imagination and error by frame"></div>'
    )


def _numbers(reel: Reel, night: Night, most: int = 8) -> str:
    """A vector: one small chart per entry, the liveliest first."""
    size = int(night.valid[0].sum())
    flat = lambda x: np.asarray(x[0, :size], np.float64).reshape(size, -1)
    truth, guess = flat(reel.truth), flat(reel.imagined)
    order = np.argsort(-truth.std(0), kind="stable")[:most]
    steps = np.arange(size)
    panels = {
        f"{reel.name or 'observation'}[{index}]": [
            Line("truth", steps, truth[:, index], color=7),
            Line("imagined", steps, guess[:, index], color=0),
        ]
        for index in sorted(order.tolist())
    }
    chart = plots.grid(
        panels,
        columns=min(4, len(panels)),
        x_label="frame",
        name=f"dream of {reel.name or 'observation'}",
        shade=night.context - 0.5,
    )
    key = f"{swatch(7)}truth &nbsp; {swatch(0)}imagined; the context is shaded"
    return (
        f'<figure class="card">{chart}<figcaption>{key}, one episode</figcaption>'
        "</figure>"
    )


def _horizon(night: Night) -> str:
    """Error against the imagined steps, beside that of a model that stands still."""
    panels = {}
    frames = night.valid.shape[1]
    steps = np.arange(1, frames - night.context + 1)
    after = np.where(night.valid, 1.0, np.nan)[:, night.context :]
    keep = night.valid[:, night.context :].any(0)
    average = lambda x: np.nanmean((x * after)[:, keep], 0)
    for reel in night.reels:
        still = _still(reel, night.context)
        panels[f"error of {reel.name or 'the observation'}"] = [
            Line("dream", steps[keep], average(reel.error[:, night.context :])),
            Line("last frame", steps[keep], average(still), color=7, dashed=True),
        ]
    gap = np.abs(night.imagined_reward - night.reward)[:, night.context :]
    panels["error of the reward"] = [Line("dream", steps[keep], average(gap))]
    chart = plots.grid(
        panels,
        columns=min(3, len(panels)),
        x_label="imagined steps",
        name="horizon",
        from_zero=True,
    )
    key = (
        f"{swatch(0)}dream &nbsp; {swatch(7)}repeating the last seen frame. Mean "
        f"absolute error over {plural(len(night.valid), 'episode')}; images in [0, 1]."
    )
    return f'<figure class="card">{chart}<figcaption>{key}</figcaption></figure>'


def _still(reel: Reel, context: int) -> np.ndarray:
    truth = reel.truth.astype(np.float64) / (255 if reel.image else 1)
    difference = np.abs(truth[:, context:] - truth[:, context - 1 : context])
    return difference.reshape(*difference.shape[:2], -1).mean(-1)
