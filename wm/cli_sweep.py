"""`wm sweep FILE`: a table of runs, here or on a cluster, begun, continued, retried."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from wm.cli_options import options, parse, replace, show_help
from wm.errors import Stopped, UserError
from wm.sweep import packing, plan
from wm.sweep.backends import Backend, Local, Ray, Resources, Slurm
from wm.sweep.display import Display, summary
from wm.sweep.plan import Unit
from wm.sweep.pool import Entry, Pool

ABOUT = """Run a table of tasks, presets and seeds: wm sweep FILE [options] [-- …].

FILE defines EXPERIMENT, as experiments/atari100k.py does. Every run is a `wm train`
with its own directory; what is finished there is skipped, what was interrupted goes on.
Words after -- are options of `wm train`, for all runs."""


AMOUNT = ("--out", "--seeds", "--seed", "--steps")
"""Options of `wm train` that say where and how much, not how."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Options of `wm sweep`."""

    task: tuple[str, ...] = ()
    """Only these tasks of the table (default: all)."""
    preset: tuple[str, ...] = ()
    """Presets to add to the table's own, each a variant of every task (size1m …)."""
    seeds: int | None = None
    """Independent learners per task and variant (default: the table's)."""
    seed: int = 0
    """Number of the first."""
    out: str = ""
    """Folder of the run directories (default: runs/NAME)."""
    backend: Literal["local", "ray", "slurm"] = "local"
    """Where: processes here; the Ray cluster at RAY_ADDRESS, else one begun here; SLURM
    job arrays."""
    jobs: int = 0
    """Programs at a time (default: 1 here; on a cluster what it allows)."""
    retries: int = 1
    """Of a run that failed; interruptions do not count."""
    seeds_per_run: int | None = None
    """Seeds in one program (default: as many as memory allows)."""
    memory: float | None = None
    """GB for one program, in place of what is free here (clusters)."""
    cpus: int = 1
    """Of a cluster, per program."""
    gpus: int = 0
    """Of a cluster, per program."""
    hours: float = 24.0
    """SLURM: time limit of a program; one that is cut off has saved and goes on."""
    partition: str = ""
    """SLURM: where to queue."""
    against: str = ""
    """Published methods for the report (default: the table's)."""
    dry: bool = False
    """Show the plan and how every run stands; run nothing."""


def run(words: list[str]) -> int:
    """Run a table; see `ABOUT`.

    Returns:
      0 where every run succeeded, else 1.

    Raises:
      UserError: a wrong option, or FILE defines no table.
      Stopped: Ctrl-C or SIGTERM; what ran has saved.
    """
    own, rest = words, []
    if "--" in words:
        cut = words.index("--")
        own, rest = words[:cut], words[cut + 1 :]
    if not own or any(word in ("--help", "-h") for word in own):
        show_help(Sweep, Sweep(), "wm sweep FILE", ABOUT)
        return 0 if own else 2
    files, values = parse(own, options(Sweep), "wm sweep")
    if len(files) != 1:
        raise UserError(f"wm sweep needs one FILE first, got {len(files)}")
    chosen = replace(Sweep(), values, "")
    _check(chosen)
    table = plan.experiment(files[0])
    root = Path(chosen.out or f"runs/{table.name}")
    units = _units(table, chosen, root, rest)
    entries = [Entry(unit, root / "logs" / f"{unit.name}.log") for unit in units]
    for entry in entries:
        if finished(entry):
            entry.state = "skipped"
        else:
            _check_seeds(entry)
    if chosen.dry:
        return _show(entries)
    plan.remember(root, table.name, units)
    failed = _run(entries, chosen, root)
    _report(entries, root, chosen.against or ";".join(table.against))
    return 1 if failed else 0


def finished(entry: Entry) -> bool:
    """Whether its run directory is complete: seeds, steps and settings asked for.

    A run that was begun with other words is none: `wm train` says which setting it
    cannot be continued with, and ends at once where none is trained with.
    """
    known, unit = entry.standing(), entry.unit
    if not known.finished or not known.holds(unit.first, unit.count):
        return False
    asked, before = plan.options(unit.words), plan.options(known.command)
    try:
        enough = known.total >= float("".join(asked.get("--steps", ("0",))))
    except ValueError:
        return False  # `wm train` says what is wrong with it.
    for name in AMOUNT:
        asked.pop(name, None)
        before.pop(name, None)
    return enough and asked == before


def _check_seeds(entry: Entry) -> None:
    """Refuse a directory that holds other seeds.

    Raises:
      UserError: it does.
    """
    known, unit = entry.standing(), entry.unit
    held = known.first, known.count
    if not known.count or held == (unit.first, unit.count):
        return
    more = unit.first + unit.count - known.first - known.count
    alone = f"--seed {known.first + known.count} --seeds {more} for those it lacks, "
    raise UserError(
        f"{unit.out} holds seeds {plan.between(*held)}, not "
        f"{unit.seeds}: give --seed {known.first} --seeds {known.count}, "
        f"{alone if more > 0 else ''}or another --out"
    )


def _check(chosen: Sweep) -> None:
    least = {"seeds": 1, "seed": 0, "jobs": 0, "retries": 0, "seeds_per_run": 1}
    least |= {"cpus": 1, "gpus": 0}
    for name, bound in least.items():
        value = getattr(chosen, name)
        if value is not None and value < bound:
            raise UserError(f"--{name} must be at least {bound}, got {value}")
    for name in ("memory", "hours"):
        value = getattr(chosen, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name} must be above 0, got {value:g}")


def _units(table: Any, chosen: Sweep, root: Path, rest: Sequence[str]) -> list[Unit]:
    """The plan: from `sweep.json` where it covers the seeds, else by memory."""
    cells = plan.cells(table, chosen.task, chosen.preset)
    seeds = range(chosen.seed, chosen.seed + (chosen.seeds or table.seeds))
    fixed = chosen.seeds_per_run
    most: dict[tuple[str, str], int | None] = dict.fromkeys(cells, fixed)
    before = {} if fixed else plan.remembered(root)
    covers = lambda cell: plan.numbers(before.get(cell, [])) == list(seeds)
    unknown = [cell for cell in cells if not covers(cell)]
    if fixed or len(seeds) == 1 or not unknown:
        return plan.units(table, cells, seeds, most, root, rest)
    lines = {
        cell: plan.split(table, cell, seeds, None, root, rest)[0].words
        for cell in unknown
    }
    # Tasks that share a preset differ by an action or two: the first stands for all.
    alike = {cell: _kind(words) for cell, words in lines.items()}
    first = {kind: cell for cell, kind in reversed(list(alike.items()))}
    found = packing.costs({kind: lines[cell] for kind, cell in first.items()})
    memory = None if chosen.memory is None else chosen.memory * 1e9
    programs = max(chosen.jobs, 1) if chosen.backend == "local" else 1
    for cell, kind in alike.items():
        cost = found[kind]
        if cost is not None:
            most[cell] = packing.fitting(cost, programs, memory)
    return plan.units(table, cells, seeds, most, root, rest)


def _kind(words: Sequence[str]) -> tuple[str, ...]:
    """A command line without what hardly changes the memory it needs."""
    drop = {words.index(name) + 1 for name in ("--env", "--out") if name in words}
    source = words[words.index("--env") + 1].partition("/")[0]
    return (source, *(word for i, word in enumerate(words) if i not in drop))


def _show(entries: Sequence[Entry]) -> int:
    for entry in entries:
        print(f"  {entry.state:<9} {shlex.join(['wm', *entry.unit.words])}")
    seeds = sum(entry.unit.count for entry in entries)
    print(f"{len(entries)} programs, {seeds} seeds: {_states(entries)}")
    return 0


def _run(entries: list[Entry], chosen: Sweep, root: Path) -> list[Entry]:
    """Everything that is not over yet; what failed for good is named."""
    print(f"{len(entries)} programs in {root}: {_states(entries)}", flush=True)
    if all(entry.over for entry in entries):
        return []
    jobs = chosen.jobs or (1 if chosen.backend == "local" else None)
    display, backend = Display(entries), _backend(chosen, root)
    pool = Pool(entries, backend, jobs, chosen.retries, display.changed)
    # A batch system ends a program with SIGTERM: as Ctrl-C does a person.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with display.open():
            pool.run(display.watch)
    except KeyboardInterrupt:
        print("stopping: what runs is saving", file=sys.stderr, flush=True)
        pool.stop()
        raise Stopped(_stopped(entries)) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        backend.close()
    print(f"{_states(entries)}", flush=True)
    failed = pool.failed()
    for entry in failed:
        print(f"failed  {entry.unit.name}: {entry.reason}", file=sys.stderr)
        print(f"        {entry.log}", file=sys.stderr)
    return failed


def _stopped(entries: Sequence[Entry]) -> str:
    """The last line; programs that have not ended yet are named."""
    saving = [entry.unit.name for entry in entries if entry.state == "running"]
    if not saving:
        return f"{_states(entries)}; saved. The same command continues"
    return (
        f"{_states(entries)}; still saving: {', '.join(saving)}. Wait until they have "
        "ended, then the same command continues"
    )


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _states(entries: Sequence[Entry]) -> str:
    return summary([entry.state for entry in entries])


def _backend(chosen: Sweep, root: Path) -> Backend:
    given = Resources(
        chosen.cpus, chosen.gpus, chosen.hours, chosen.partition, chosen.memory
    )
    if chosen.backend == "ray":
        return Ray(given)
    if chosen.backend == "slurm":
        return Slurm(root / "slurm", given, chosen.jobs or 256)
    return Local()


def _report(entries: Sequence[Entry], root: Path, against: str) -> None:
    """One page over all runs that are done."""
    from wm.report import write

    done = [entry.unit.out for entry in entries if entry.state in ("done", "skipped")]
    if done:
        page = write(done, against=against or None, out=root / "report")
        print(f"report: {page}")
