"""Which published task an environment name stands for."""

from __future__ import annotations

import re
from typing import NamedTuple

from wm.report import reference


class Task(NamedTuple):
    """A task of the reference tables."""

    benchmark: str
    task: str
    metric: str
    """Which of the task's metrics compares with an episode return."""
    scale: float
    """A return times `scale` is in units of that metric."""
    note: str
    """What differs between the environment and the published protocol; may be empty."""


ATARI_100K_FRAMES = 1_000_000
"""Budgets below this many frames compare with Atari 100k (400k frames)."""
MJX = "simulated with MJX, not with the MuJoCo C engine of the published numbers"


def published(env: str, pixels: bool, frames: int | None = None) -> Task | None:
    """The published task behind an environment, or None.

    Args:
      env: `source/task`.
      pixels: whether the agent sees images (picks a DeepMind Control table).
      frames: budget in simulator steps (picks an Atari table).
    """
    source, _, name = env.partition("/")
    task = _BY_SOURCE.get(source, lambda *_: None)(name, pixels, frames)
    if task is None or task.task not in reference.tasks(task.benchmark):
        return None
    return task


def _atari(name: str, pixels: bool, frames: int | None) -> Task:
    game = re.sub(r"-v\d+$", "", name)
    if frames is None or frames < ATARI_100K_FRAMES:
        return Task("atari100k", game, "episode_score", 1.0, "")
    return Task("atari_200m", _snake(game), "episode_score", 1.0, "")


def _dmc(name: str, pixels: bool, frames: int | None) -> Task:
    task = re.sub(r"[-_](pixels|vision|v\d+)$", "", name)
    return Task(_control(pixels), task, "episode_score", 1.0, "")


def _playground(name: str, pixels: bool, frames: int | None) -> Task:
    task = _PLAYGROUND.get(name, _snake(name))
    return Task(_control(pixels), task, "episode_score", 1.0, MJX)


def _craftax(name: str, pixels: bool, frames: int | None) -> Task | None:
    metric = "reward_percent_of_max"
    if name == "classic-pixels":
        return Task("craftax_classic_pixels", "reward", metric, 100 / 22, "")
    if name == "symbolic":
        return Task("craftax_full_symbolic", "reward", metric, 100 / 226, "")
    return None


def _crafter(name: str, pixels: bool, frames: int | None) -> Task:
    return Task("crafter", "reward", "episode_return", 1.0, "")


def _gymnax(name: str, pixels: bool, frames: int | None) -> Task:
    if name.endswith("-MinAtar"):
        task = _snake(name.removesuffix("-MinAtar"))
        return Task("minatar", task, "episode_return", 1.0, "")
    return Task("classic_control", name, "episode_return", 1.0, "")


def _mujoco(name: str, pixels: bool, frames: int | None) -> Task:
    return Task("mujoco_gym", f"{name}-v4", "episode_return", 1.0, "")


_PLAYGROUND = {"BallInCup": "ball_in_cup_catch", "PointMass": "point_mass_easy"}
"""Playground tasks whose name is not the suite's in another spelling."""


def _control(pixels: bool) -> str:
    return "dmc_vision" if pixels else "dmc_proprio"


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


_BY_SOURCE = {
    "atari": _atari,
    "dmc": _dmc,
    "playground": _playground,
    "craftax": _craftax,
    "crafter": _crafter,
    "mujoco": _mujoco,
    "gymnax": _gymnax,
}
