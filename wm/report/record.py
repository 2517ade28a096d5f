"""Reading a run directory: rows, scores and configuration as numpy arrays.

Only text files are read here, so a report of a hundred runs needs no jax.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wm.errors import RunError
from wm.train import log


class Series(NamedTuple):
    """One metric of one seed over a run."""

    steps: np.ndarray
    """i64 `[P]`, environment steps, increasing."""
    values: np.ndarray
    """f64 `[P]`, finite."""


class Scores(NamedTuple):
    """Evaluation episodes, one entry each."""

    step: np.ndarray
    seed: np.ndarray
    returns: np.ndarray
    length: np.ndarray

    def final(self) -> dict[int, np.ndarray]:
        """Returns of the last evaluation, `{seed: [episodes]}`."""
        return {
            int(seed): self.returns[mask & (self.step == self.step[mask].max())]
            for seed in np.unique(self.seed)
            if (mask := self.seed == seed).any()
        }

    def curve(self, seed: int) -> Series:
        """Mean return of every evaluation of one seed."""
        mask = self.seed == seed
        steps = np.unique(self.step[mask])
        means = [self.returns[mask & (self.step == step)].mean() for step in steps]
        return Series(steps, np.asarray(means))


class Record(NamedTuple):
    """What a run directory says."""

    path: Path
    config: dict[str, Any]
    """config.json as it is."""
    versions: dict[str, Any]
    rows: list[dict[str, Any]]
    """metrics.jsonl, in file order."""
    scores: Scores

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def seeds(self) -> list[int]:
        """Every seed with a row or a score."""
        found = {int(row.get("seed", 0)) for row in self.rows}
        return sorted(found | {int(seed) for seed in np.unique(self.scores.seed)})

    @property
    def steps(self) -> int:
        """Environment steps reached."""
        logged = [int(row["step"]) for row in self.rows]
        return max([*logged, *self.scores.step.tolist(), 0])

    def metrics(self) -> list[str]:
        """Names of all numbers ever logged, sorted."""
        names = {key for row in self.rows for key, x in row.items() if _number(x)}
        return sorted(names - {"step", "seed"})

    def series(self, metric: str, seed: int) -> Series:
        """One metric of one seed; rows without it, or where it is NaN, are left out."""
        points = {
            int(row["step"]): float(row[metric])
            for row in self.rows
            if int(row.get("seed", 0)) == seed and _finite(row.get(metric))
        }
        steps = sorted(points)
        values = np.array([points[step] for step in steps])
        return Series(np.array(steps, np.int64), values)

    def setting(self, *path: str, default: Any = None) -> Any:
        """A value of config.json by its path; `default` where any part is missing."""
        value: Any = self.config
        for part in path:
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value


def read(path: Path | str) -> Record:
    """Read a run directory.

    Raises:
      RunError: not a directory of a run, or a line that is not JSON.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise RunError(f"{path} holds no run: no config.json in it")
    rows = log.read(path / "metrics.jsonl")
    episodes = log.read(path / "scores.jsonl")
    column = lambda key, dtype: np.array([e.get(key, 0) for e in episodes], dtype)
    return Record(
        path=path,
        config=_json(path / "config.json"),
        versions=_json(path / "versions.json"),
        rows=rows,
        scores=Scores(
            column("step", np.int64),
            column("seed", np.int64),
            column("return", np.float64),
            column("length", np.int64),
        ),
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(
            f"{path} is not JSON ({error}): restore it from a copy, or leave this "
            "run out"
        ) from error


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    return _number(value) and math.isfinite(value)
