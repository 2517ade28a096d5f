"""How far a run directory is, from its files alone: no jax, no locks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

TAIL = 1 << 18
"""Bytes read from the end of metrics.jsonl: some hundred rows."""
EPISODES = 1 << 24
"""Bytes read from the end of scores.jsonl: 200,000 episodes."""


class Standing(NamedTuple):
    """A run, finished or not."""

    step: int = 0
    """Of the slowest seed."""
    total: int = 0
    score: float | None = None
    """Mean over seeds of the newest evaluation, else of the newest training row."""
    rate: float | None = None
    """Environment steps per second, all seeds together."""
    finished: bool = False
    """Every seed was evaluated at the last step."""
    first: int = 0
    """Number of the first seed."""
    count: int = 0
    """Seeds, of every combination where it trains several; 0 where there is no run."""
    command: tuple[str, ...] = ()
    """Words after `wm` that began it; none where it was not begun from there."""

    def holds(self, first: int, count: int) -> bool:
        """Whether these seeds are among its own."""
        return self.first <= first and first + count <= self.first + self.count


def standing(path: Path) -> Standing:
    """How far the run in `path` is; nothing at all where there is none."""
    config = _config(path)
    if config is None:
        return Standing()
    total, first = config["schedule"]["total"], config.get("seed", 0)
    numbers = range(first, first + config["seeds"])
    rows = tail(path / "metrics.jsonl")
    scores = tail(path / "scores.jsonl", EPISODES)
    newest = {row["seed"]: row for row in rows if "rate/steps_per_s" in row}
    latest = {row["seed"]: row for row in rows}
    ended = {row["seed"]: row["step"] for row in scores}
    step = min((latest[i]["step"] for i in numbers if i in latest), default=0)
    rate = sum(row.get("rate/steps_per_s") or 0.0 for row in newest.values())
    finished = all(ended.get(i, -1) >= total for i in numbers)
    if finished:
        step = max(step, min(ended[i] for i in numbers))
    combinations = math.prod(len(x) for x in (config.get("hypers") or {}).values())
    return Standing(
        step=step,
        total=total,
        score=_score(scores, rows),
        rate=rate or None,
        finished=finished,
        first=first,
        count=config["seeds"] // max(combinations, 1),
        command=tuple(config.get("command") or ())[1:],
    )


def tail(path: Path, most: int = TAIL) -> list[dict[str, Any]]:
    """The newest rows of a file; whatever is no whole line is left out."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(size - most, 0))
            data = file.read()
    except OSError:
        return []
    lines = data.split(b"\n")[1 if size > most else 0 : -1]
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def last_line(log: Path) -> str:
    """What a program said last: its own complaint, or the end of a traceback."""
    try:
        text = log.read_bytes()[-TAIL:].decode(errors="replace")
    except OSError:
        return "nothing was said"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    mine = [line for line in lines if line.startswith("wm: ")]
    return (mine or lines or ["nothing was said"])[-1][:300]


def _config(path: Path) -> dict[str, Any] | None:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        _ = config["schedule"]["total"], config["seeds"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return config


def _score(scores: list[dict], rows: list[dict]) -> float | None:
    newest: dict[int, tuple[int, list[float]]] = {}
    for row in scores:
        step, values = newest.get(row["seed"], (-1, []))
        if row["step"] > step:
            values = []
        newest[row["seed"]] = row["step"], [*values, row["return"] or 0.0]
    means = [sum(values) / len(values) for _, values in newest.values()]
    if not means:
        known = {r["seed"]: r.get("episode/return") for r in rows}
        means = [value for value in known.values() if value is not None]
    return sum(means) / len(means) if means else None
