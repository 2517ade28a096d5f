"""The benchmarks that systems here are run on: tasks, presets, seeds and budgets.

`experiments/` runs whole tables of these, `wm reproduce` one cell.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from wm.envs.names import ATARI_100K, DMC_PROPRIO, DMC_VISION
from wm.errors import UserError
from wm.report import reference, tasks
from wm.report.experiment import Experiment, Group
from wm.report.protocols import Protocol, protocol
from wm.report.reference import Published
from wm.table import unknown

SEEDS = 5
_control = lambda names: tuple(f"dmc/{task}" for task in names)
_atari = tuple(f"atari/{game}" for game in ATARI_100K)
_mujoco = {
    "halfcheetah": ("mujoco/HalfCheetah", 400_000),
    "hopper": ("mujoco/Hopper", 125_000),
    "walker2d": ("mujoco/Walker2d", 300_000),
    "ant": ("mujoco/Ant", 300_000),
    "humanoid": ("mujoco/Humanoid", 300_000),
}

DREAMER = {
    "atari100k": Group("atari100k", _atari, pixels=True, frames=400_000, repeat=4),
    "dmc_proprio": Group("dmc_proprio", _control(DMC_PROPRIO), False, 500_000),
    "dmc_vision": Group("dmc_vision", _control(DMC_VISION), True, 1_000_000),
    "craftax": Group("craftax", ("craftax/classic-pixels",), True, 1_000_000),
    "crafter": Group("crafter", ("crafter/reward",), True, 1_000_000),
}
"""Benchmarks of DreamerV3, with the preset of the same name."""
MBPO = tuple(Group(p, (env,), False, n) for p, (env, n) in _mujoco.items())


def _table(name: str, *benchmarks: str) -> Experiment:
    return Experiment(name, tuple(DREAMER[one] for one in benchmarks), seeds=SEEDS)


EXPERIMENTS = {
    "atari100k": _table("atari100k", "atari100k"),
    "dmc": _table("dmc", "dmc_proprio", "dmc_vision"),
    "craftax": _table("craftax", "craftax", "crafter"),
    "mujoco": Experiment(
        "mujoco", MBPO, "mbpo", seeds=SEEDS, against=("sac", "mr_q", "bro")
    ),
}
"""The tables of `experiments/`."""

BENCHMARKS: dict[str, dict[str, Group]] = {
    "dreamer_v3": {
        **DREAMER,
        # The published runs are those of the first version, two frames per action.
        "dmc_proprio": dataclasses.replace(
            DREAMER["dmc_proprio"], preset="v1_2023_dmc", repeat=2
        ),
    }
}
"""System → benchmark → its tasks with the settings of the published runs. MBPO's
numbers are read off a figure, without intervals: `experiments/mujoco.py` alone."""


class Cell(NamedTuple):
    """One published number, and what makes ours comparable with it."""

    system: str
    benchmark: str
    task: str
    env: str
    group: Group
    row: Published
    scale: float
    """A return times this is in units of `row.value`."""
    protocol: Protocol
    seeds: int
    """As many as there are published runs; where those are not counted, `SEEDS`."""

    @property
    def steps(self) -> int:
        """Environment steps of a run."""
        return self.group.frames // self.group.repeat

    @property
    def words(self) -> tuple[str, ...]:
        """After `wm`, without `--out`: the exact run."""
        words = ["train", self.system, "--env", self.env, "--preset", self.group.preset]
        words += ["--seeds", str(self.seeds), "--steps", str(self.steps)]
        if self.protocol.window:
            # Rows short enough to see the last part of the run by itself.
            rows = max(int(self.steps * self.protocol.window) // 5, 1)
            words += ["--train.log_steps", str(rows)]
        return tuple(words)


def cell(system: str, benchmark: str, task: str) -> Cell:
    """The cell of a system, a benchmark and a task, as `wm reproduce` names them.

    Raises:
      UserError: none of these names, or nothing is published for it.
    """
    of = BENCHMARKS
    if system not in of:
        raise UserError(unknown(system, of, "system with benchmarks", "wm reproduce"))
    if benchmark not in of[system]:
        what = f"benchmark of {system}"
        raise UserError(unknown(benchmark, of[system], what, "wm reproduce"))
    group = of[system][benchmark]
    found = {env.partition("/")[2]: env for env in group.envs}
    if task not in found:
        hint = f"wm reproduce {system} {benchmark}"
        raise UserError(unknown(task, found, f"task of {benchmark}", hint))
    env = found[task]
    row, scale = _row(system, env, group)
    seeds = int(row.seeds) if row.seeds.isdigit() else SEEDS
    how = protocol(row)
    return Cell(system, benchmark, task, env, group, row, scale, how, seeds)


def _row(system: str, env: str, group: Group) -> tuple[Published, float]:
    place = tasks.published(env, group.pixels, group.frames)
    rows = []
    if place is not None:
        rows = reference.lookup(place.benchmark, place.task, system, place.metric)
    if place is None or not rows:
        raise UserError(f"no number of {system} on {env} is published in our tables")
    gap = lambda row: abs((row.env_steps or 0) - group.frames)
    return min(rows, key=gap), place.scale
