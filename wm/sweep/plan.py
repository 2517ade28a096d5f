"""Which runs a sweep consists of: tasks × presets × seeds, seeds packed into programs.

The plan is kept in `sweep.json`, so that a sweep that goes on elsewhere, with more or
less memory, finds its run directories again.
"""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wm.errors import RunError, UserError
from wm.report.experiment import Experiment

PLAN = "sweep.json"
FORMAT = 1
OWN = ("--out", "--seeds", "--seed", "--env", "--preset")
"""Options of `wm train` that the table decides."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """One program: a task and a preset, with some of the seeds."""

    task: str
    """As the experiment calls it."""
    preset: str
    """Added to the published one; may be empty."""
    first: int
    """Number of the first seed."""
    count: int
    """How many seeds."""
    out: Path
    """Run directory."""
    words: tuple[str, ...]
    """After `wm`: train SYSTEM --env …"""

    @property
    def name(self) -> str:
        """`Pong`, `Pong+size1m, seeds 0-2`: the run directory, said shortly."""
        return self.out.name

    @property
    def cell(self) -> tuple[str, str]:
        """What its seeds belong to."""
        return self.task, self.preset

    @property
    def seeds(self) -> str:
        """`0`, `0-4`."""
        return between(self.first, self.count)


def between(first: int, count: int) -> str:
    """Seeds said shortly: `0`, `0-4`."""
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def options(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """A command line by option, `{"--seeds": ("5",)}`; what comes first under ""."""
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, text = word.partition("=")
            found[name] = (text,) if equals else ()
        else:
            found[name] = (*found.get(name, ()), word)
    return found


def experiment(file: Path | str) -> Experiment:
    """The table that a Python file defines as `EXPERIMENT`.

    Raises:
      UserError: no such file, it fails, or it defines none.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{file}: no such file (experiments/NAME.py, or one like it)")
    try:
        found = runpy.run_path(str(file)).get("EXPERIMENT")
    except Exception as error:
        raise UserError(f"{file}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Experiment):
        raise UserError(
            f"{file} defines no EXPERIMENT: wm.report.experiment.Experiment(...)"
        )
    return found


def cells(
    table: Experiment, tasks: Sequence[str], presets: Sequence[str]
) -> list[tuple[str, str]]:
    """(task, added preset) of the whole table, or of the tasks named.

    Raises:
      UserError: a task that the table lacks, or a task or preset named twice.
    """
    found = list(table.commands(tasks, seeds=1))
    added = [preset.strip("+") for preset in presets] or [""]
    for option, given in (("task", tasks), ("preset", added)):
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"--{option} names {twice} twice; leave one out")
    return [(task, preset) for task in found for preset in added]


def split(
    table: Experiment,
    cell: tuple[str, str],
    seeds: Sequence[int],
    most: int | None,
    root: Path,
    rest: Sequence[str] = (),
) -> list[Unit]:
    """The units of a cell: as few as `most` seeds per program allow, of like sizes.

    A directory is named after its seeds where they are not all, from 0 on.

    Args:
      table: of tasks.
      cell: (task, added preset).
      seeds: numbers, counting up.
      most: per program; None for all in one.
      root: folder of the sweep.
      rest: further words for `wm train`.

    Raises:
      UserError: `rest` has an option that the table decides.
    """
    typed = [word.partition("=")[0] for word in rest]
    for option in OWN:
        if option in typed:
            raise UserError(f"{option} is the sweep's: give it before --")
    task, preset = cell
    count = len(seeds)
    programs = 1 if not most else -(-count // most)
    sizes = [count // programs + (i < count % programs) for i in range(programs)]
    units, first = [], seeds[0]
    for size in sizes:
        name = task.replace(":", "-") + (f"+{preset}" if preset else "")
        if programs > 1 or seeds[0]:
            name += f"-seed{'s' * (size > 1)}{between(first, size)}"
        line = table.commands([task], size, first, str(root), preset, rest)[task]
        line[line.index("--out") + 1] = (root / name).as_posix()
        words = tuple(line[1:])
        units.append(Unit(task, preset, first, size, root / name, words))
        first += size
    return units


def remembered(root: Path) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """How the seeds of every cell were split before: `{cell: [(first, count)]}`.

    Raises:
      RunError: `sweep.json` cannot be read.
    """
    file = root / PLAN
    if not file.is_file():
        return {}
    try:
        plan = json.loads(file.read_text(encoding="utf-8"))
        if plan["format"] != FORMAT:
            raise RunError(f"{file} has format {plan['format']}, not {FORMAT}")
        found: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for unit in plan["units"]:
            cell = unit["task"], unit["preset"]
            found.setdefault(cell, []).append((unit["first"], unit["count"]))
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} cannot be read ({error}); remove it") from error


def numbers(parts: Sequence[tuple[int, int]]) -> list[int]:
    """All seeds of a cell, from how they are split."""
    return [i for first, count in sorted(parts) for i in range(first, first + count)]


def units(
    table: Experiment,
    chosen: Sequence[tuple[str, str]],
    seeds: Sequence[int],
    most: Mapping[tuple[str, str], int | None],
    root: Path,
    rest: Sequence[str] = (),
) -> list[Unit]:
    """All units, split as they were before where their seeds are the same."""
    before, found = remembered(root), []
    for cell in chosen:
        parts = sorted(before.get(cell, []))
        limit = most.get(cell)
        if numbers(parts) == list(seeds):
            limit = max(count for _, count in parts)
        found += split(table, cell, seeds, limit, root, rest)
    return found


def remember(root: Path, table: str, chosen: Sequence[Unit]) -> None:
    """Write `sweep.json`; cells of an earlier call that are not in this one stay.

    Raises:
      RunError: it cannot be written.
    """
    cells = {unit.cell for unit in chosen}
    entry = lambda task, preset, first, count: {
        "task": task,
        "preset": preset,
        "first": first,
        "count": count,
    }
    kept = [
        entry(*cell, *part)
        for cell, parts in remembered(root).items()
        if cell not in cells
        for part in parts
    ]
    mine = [entry(*unit.cell, unit.first, unit.count) for unit in chosen]
    plan: dict[str, Any] = {"format": FORMAT, "name": table, "units": kept + mine}
    try:
        root.mkdir(parents=True, exist_ok=True)
        part = root / f"{PLAN}.part"
        part.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
        part.replace(root / PLAN)
    except OSError as error:
        raise RunError(f"cannot write {root}: {error.strerror}") from error
