"""A benchmark as a table: tasks × presets × seeds, and the numbers published for it.

`cells.py` holds the values, `experiments/` runs them; this is what tables share.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wm.errors import UserError
from wm.report import reference, tasks
from wm.table import unknown


@dataclasses.dataclass(frozen=True)
class Group:
    """Tasks that share a preset."""

    preset: str
    """Published settings of the system."""
    envs: tuple[str, ...]
    """Environment names, `source/task`."""
    pixels: bool
    """Whether the agent sees images; picks the published table."""
    frames: int
    """Budget of the published numbers, in simulator steps."""
    repeat: int = 1
    """Simulator steps per action."""

    def __post_init__(self):
        if isinstance(self.envs, str):
            raise ValueError(f'envs must be a tuple, got "{self.envs}"')


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything to run and to compare one benchmark."""

    name: str
    """Folder of its runs below `runs/`."""
    groups: tuple[Group, ...]
    system: str = "dreamer_v3"
    """Which agent."""
    seeds: int = 5
    """Independent learners per task, as published."""
    against: tuple[str, ...] = ("dreamer_v3",)
    """Methods drawn beside ours."""

    def __post_init__(self):
        named = [
            (x.preset, env.partition("/")[2]) for x in self.groups for env in x.envs
        ]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            preset = f" with preset {twice[0]}" if twice[0] else ""
            raise ValueError(
                f"{self.name} has the task {twice[1]}{preset} twice: leave one out, or "
                "make it a table of its own"
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks as the command line takes them: `preset:task` where a task has
        several presets, else the task alone."""
        return tuple(self._by_task())

    def published(self) -> dict[str, dict[str, float]]:
        """`{task: {method: return}}` at the budget nearest to ours, in units of the
        return that the environment gives."""
        found: dict[str, dict[str, float]] = {}
        for task, (group, env) in self._by_task().items():
            place = tasks.published(env, group.pixels, group.frames)
            if place is None:
                continue
            rows = reference.lookup(place.benchmark, place.task, metric=place.metric)
            gap = lambda row, group=group: abs((row.env_steps or 0) - group.frames)
            nearest: dict[str, reference.Published] = {}
            for row in sorted(rows, key=gap, reverse=True):
                nearest[row.method] = row
            found[task] = {
                name: row.value / place.scale for name, row in nearest.items()
            }
        return found

    def commands(
        self,
        only: Sequence[str] = (),
        seeds: int | None = None,
        seed: int = 0,
        out: str | None = None,
        add: str = "",
        rest: Sequence[str] = (),
    ) -> dict[str, list[str]]:
        """`{task: words of its wm train line}`.

        Args:
          only: tasks; all where empty.
          seeds: independent learners per task.
          seed: the first seed.
          out: folder of the runs (default: `runs/<name>`).
          add: presets to put after the published one, joined with `+`.
          rest: further options of `wm train`.

        Raises:
          UserError: a task that is not in the table.
        """
        known = self._by_task()
        for task in only:
            if task not in known:
                raise UserError(
                    unknown(
                        task, known, f"{self.name} task", "--print, or wm sweep --dry"
                    )
                )
        lines = {}
        for task in only or known:
            group, env = known[task]
            preset = "+".join(filter(None, [group.preset, add.strip("+")]))
            words = ["wm", "train", self.system, "--env", env]
            words += ["--preset", preset] if preset else []
            words += ["--seeds", str(seeds or self.seeds), "--seed", str(seed)]
            if not any(word.startswith("--steps") for word in rest):
                words += ["--steps", str(group.frames // group.repeat)]
            folder = Path(out or f"runs/{self.name}") / task.replace(":", "-")
            lines[task] = [*words, "--out", folder.as_posix(), *rest]
        return lines

    def main(self, words: Sequence[str] | None = None) -> int:
        """Run, or with `--print` only show, the commands of the table.

        Returns:
          0 where every run succeeded, else the last exit code that was not 0.
        """
        given, rest = self._parser().parse_known_args(words)
        try:
            lines = self.commands(
                given.task, given.seeds, given.seed, given.out, given.preset, rest
            )
        except UserError as error:
            print(f"wm: {error}", file=sys.stderr)
            return 2
        if given.print:
            for line in lines.values():
                print(shlex.join(line))
            return 0
        return self._run(lines)

    def _run(self, lines: dict[str, list[str]]) -> int:
        """A process per task: one that fails or fills the memory ends alone."""
        code, done = 0, []
        for line in lines.values():
            print(shlex.join(line), flush=True)
            result = subprocess.run([sys.executable, "-m", "wm.cli", *line[1:]])
            code = result.returncode or code
            folder = Path(line[line.index("--out") + 1])
            if result.returncode == 0:
                done.append(folder)
        if len(done) > 1:
            from wm.report import write

            print(f"report: {write(done, against=self.against)}")
        return code

    def _by_task(self) -> dict[str, tuple[Group, str]]:
        names = [env.partition("/")[2] for group in self.groups for env in group.envs]
        found = {}
        for group in self.groups:
            for env in group.envs:
                task = env.partition("/")[2]
                if names.count(task) > 1:
                    task = f"{group.preset}:{task}"
                found[task] = (group, env)
        return found

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            description=f"{self.name}: {self.system}, one `wm train` per task. "
            "Further options go to wm train.",
            allow_abbrev=False,
        )
        add = parser.add_argument
        add("--task", action="append", default=[], help="a task; repeat for several")
        add("--seeds", type=int, help=f"learners per task (default: {self.seeds})")
        add("--seed", type=int, default=0, help="the first seed")
        add("--out", help=f"folder of the runs (default: runs/{self.name})")
        add("--preset", default="", help="add to the published preset: +size1m")
        add("--print", action="store_true", help="show the commands, run nothing")
        return parser
