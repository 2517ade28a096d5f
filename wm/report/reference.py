"""Published results: look-up by benchmark, task and method, and their units.

The tables are package data (`data/README.md` says how they were cut). Only the
standard library and numpy are needed here.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable
from importlib import resources
from typing import NamedTuple

import numpy as np

from wm.errors import UserError
from wm.table import unknown

ALIASES = {
    "dreamer_v3": "DreamerV3 (2024)",
    "dreamerv3": "DreamerV3 (2024)",
    "dreamer_v3_2023": "DreamerV3 (2023)",
    "dreamer_v2": "DreamerV2",
    "dreamer_v1": "Dreamer (2020)",
    "dreamer_pro": "DreamerPro",
    "planet": "PlaNet",
    "ppo": "PPO (DreamerV3 paper)",
    "td_mpc2": "TD-MPC2",
    "td_mpc": "TD-MPC",
    "sac": "SAC (run for TD-MPC2)",
    "simple": "SimPLe",
    "efficientzero": "EfficientZero",
    "efficientzero_v2": "EfficientZero V2",
    "muzero": "MuZero",
    "spr_resets": "SPR+resets",
    "drq_v2": "DrQ-v2",
    "mbpo": "MBPO",
    "pets": "PETS-CEM",
    "mr_q": "MR.Q",
    "bro": "BRO (10 updates per step)",
    "plan2explore": "Plan2Explore (no reward)",
}
"""Our agents' names and common spellings; the rest match ignoring case and signs."""

FALLBACKS = {
    "dreamer_v3": ("DreamerV3 (2023)", "DreamerV3", "DreamerV3 XL (EDELINE paper)"),
    "dreamer_v3_2023": ("DreamerV3 (2024)",),
    "td_mpc2": ("TD-MPC2 pixels",),
    "td_mpc": ("TD-MPC (run for TD-MPC2)",),
    "sac": ("SAC",),
    "ppo": ("PPO", "PPO (gymnax-blines)", "PPO (rl-zoo)"),
}
"""Names that an alias stands for where a table lacks its first choice."""

FILES = {
    "atari100k": "atari100k",
    "atari_200m": "atari200m",
    "bsuite": "bsuite",
    "classic_control": "mujoco_gym",
    "craftax_classic_pixels": "crafter_craftax",
    "craftax_full_symbolic": "crafter_craftax",
    "crafter": "crafter_craftax",
    "dmc_proprio": "dmc_proprio",
    "dmc_vision": "dmc_vision",
    "dmlab30": "dmlab30",
    "memory_maze": "crafter_craftax",
    "minatar": "board_games_mcts_minatar",
    "minecraft_diamond": "minecraft",
    "mujoco_gym": "mujoco_gym",
    "procgen_hard": "procgen",
}
"""Benchmarks and the file that holds each; `benchmarks()` lists all of them."""


class Published(NamedTuple):
    """One published number."""

    benchmark: str
    task: str
    method: str
    metric: str
    value: float
    spread: float | None
    """In units of `value`; `spread_kind` says which ("std": over runs)."""
    spread_kind: str
    seeds: str
    """Runs behind the value, as printed; empty where unknown."""
    env_steps: int | None
    """Simulator steps, action repeat included."""
    source: str
    note: str


class Curve(NamedTuple):
    """One published learning curve."""

    benchmark: str
    task: str
    method: str
    metric: str
    env_steps: np.ndarray
    """i64 `[P]`, simulator steps."""
    values: np.ndarray
    """f64 `[P]`."""
    spreads: np.ndarray | None
    """f64 `[P]`, NaN where not given."""
    seeds: str
    source: str
    note: str


def benchmarks() -> tuple[str, ...]:
    """Names of all benchmarks with final values, sorted."""
    return tuple(sorted(FILES))


def methods(benchmark: str | None = None, task: str | None = None) -> tuple[str, ...]:
    """Methods with a number on a benchmark (and task), sorted."""
    rows = [row for name in _chosen(benchmark) for row in _table(name)]
    return tuple(sorted({row.method for row in rows if task in (None, row.task)}))


def tasks(benchmark: str) -> tuple[str, ...]:
    """Tasks of a benchmark, sorted."""
    return tuple(sorted({row.task for row in _table(_checked(benchmark))}))


def method_name(name: str, among: Iterable[str] | None = None) -> str:
    """The tables' spelling of a method.

    Args:
      name: theirs, an alias (`dreamer_v3`), or theirs up to case and signs.
      among: names to choose from; all methods when unset.

    Raises:
      UserError: no such method; the message has the nearest one.
    """
    known = tuple(methods() if among is None else among)
    if name in known:
        return name
    key = name.lower()
    for choice in (ALIASES.get(key, name), *FALLBACKS.get(key, ())):
        if choice in known:
            return choice
    folded = {_folded(method): method for method in known}
    if _folded(name) in folded:
        return folded[_folded(name)]
    names = {**{alias: alias for alias in ALIASES}, **{m: m for m in known}}
    raise UserError(unknown(name, names, "published method", "wm report --help"))


def lookup(
    benchmark: str,
    task: str | None = None,
    method: str | None = None,
    metric: str | None = None,
) -> list[Published]:
    """Final values, in the tables' order.

    Args:
      benchmark: one of `benchmarks()`.
      task: only this one.
      method: only this one; an alias will do. A method that this benchmark lacks
        gives an empty list.
      metric: only this one; printed cells (`…_paper`) are left out when unset and
        the row recomputed from score files exists.

    Raises:
      UserError: unknown benchmark, or a method that no table has.
    """
    rows = [row for row in _table(_checked(benchmark)) if task in (None, row.task)]
    if method is not None:
        rows = _of_method(rows, method)
    if metric is not None:
        return [row for row in rows if row.metric == metric]
    recomputed = {(row.task, row.method, row.metric) for row in rows}
    plain = lambda row: row.metric.removesuffix("_paper")
    return [
        row
        for row in rows
        if row.metric == plain(row)
        or (row.task, row.method, plain(row)) not in recomputed
    ]


def curve(benchmark: str, task: str, method: str) -> Curve | None:
    """The published learning curve, or None where there is none."""
    rows = [c for c in _curves() if (c.benchmark, c.task) == (benchmark, task)]
    rows = _of_method(rows, method)
    return rows[0] if rows else None


def seed_scores(method: str) -> dict[str, np.ndarray]:
    """Scores of every published run on Atari 100k, `{game: [runs]}`; may be empty."""
    rows = _of_method(_seeds(), method)
    return {row.task: row.values for row in rows}


def human_normalized(game: str, score, benchmark: str = "atari100k") -> np.ndarray:
    """`(score - random) / (human - random)`, not clipped.

    Args:
      game: as the benchmark spells it (`Pong`).
      score: any shape.
      benchmark: whose references to use.

    Raises:
      UserError: the benchmark has no human and random score for the game.
    """
    references = {row.method: row.value for row in lookup(benchmark, game)}
    if not {"random", "human"} <= references.keys():
        games = {row.task for row in lookup(benchmark, method="human")}
        raise UserError(unknown(game, games, "human reference for game", "wm list"))
    low, high = references["random"], references["human"]
    return (np.asarray(score, np.float64) - low) / (high - low)


def _chosen(benchmark: str | None) -> tuple[str, ...]:
    return benchmarks() if benchmark is None else (_checked(benchmark),)


def _checked(benchmark: str) -> str:
    if benchmark not in FILES:
        raise UserError(unknown(benchmark, FILES, "benchmark", "wm list"))
    return benchmark


def _of_method(rows: list, method: str) -> list:
    """Rows of `method`, or none where these rows lack it but another table has it."""
    present = {row.method for row in rows}
    try:
        name = method_name(method, present)
    except UserError:
        method_name(method)
        return []
    return [row for row in rows if row.method == name]


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("wm.report").joinpath("data", f"{name}.csv")
    return list(csv.DictReader(text.read_text(encoding="utf-8").splitlines()))


@functools.cache
def _texts() -> dict[str, str]:
    return {"": "", **{row["id"]: row["text"] for row in _rows("sources")}}


@functools.cache
def _table(benchmark: str) -> list[Published]:
    texts = _texts()
    return [
        Published(
            benchmark=row["benchmark"],
            task=row["task"],
            method=row["method"],
            metric=row["metric"],
            value=float(row["value"]),
            spread=float(row["spread"]) if row["spread"] else None,
            spread_kind=row["spread_kind"],
            seeds=row["seeds"],
            env_steps=int(float(row["env_steps"])) if row["env_steps"] else None,
            source=texts[row["source"]],
            note=texts[row["note"]],
        )
        for row in _rows(FILES[benchmark])
        if row["benchmark"] == benchmark
    ]


@functools.cache
def _curves() -> list[Curve]:
    texts = _texts()
    floats = lambda text: np.array([float(value) for value in text.split()])
    return [
        Curve(
            benchmark=row["benchmark"],
            task=row["task"],
            method=row["method"],
            metric=row["metric"],
            env_steps=_steps(row["env_steps"]),
            values=floats(row["values"]),
            spreads=floats(row["spreads"]) if row["spreads"] else None,
            seeds=row["seeds"],
            source=texts[row["source"]],
            note=texts[row["note"]],
        )
        for row in _rows("curves")
    ]


class _Runs(NamedTuple):
    task: str
    method: str
    values: np.ndarray


@functools.cache
def _seeds() -> list[_Runs]:
    floats = lambda text: np.array([float(value) for value in text.split()])
    return [
        _Runs(row["task"], row["method"], floats(row["values"]))
        for row in _rows("atari100k_seeds")
    ]


def _steps(text: str) -> np.ndarray:
    if ":" in text:
        first, last, stride = (int(part) for part in text.split(":"))
        return np.arange(first, last + 1, stride)
    return np.array([int(part) for part in text.split()])
