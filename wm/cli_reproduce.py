"""`wm reproduce SYSTEM BENCHMARK TASK`: one published cell, and a verdict."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

from wm.cli_options import options, parse, replace, show_help
from wm.errors import RunError, UserError

ABOUT = """Run one published number: wm reproduce SYSTEM BENCHMARK TASK [options].

The exact preset, seeds and budget, scored as the published number was; then whether
ours lies inside the published interval. Without names: what there is. Exit code 0 where
it does, 1 where it does not, or where no interval is published."""


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Options of `wm reproduce`."""

    dry: bool = False
    """Show the command, the protocol and the published number; run nothing."""
    verdict: tuple[str, ...] = ()
    """Judge these run directories instead of running (one cell, seeds apart)."""
    out: str = ""
    """Run directory (default: runs/reproduce/SYSTEM-BENCHMARK-TASK)."""


def run(words: list[str]) -> int:
    """Run and judge one cell; see `ABOUT`.

    Raises:
      UserError: no such cell, or a wrong option.
      RunError: a folder holds no run.
    """
    if any(word in ("--help", "-h") for word in words):
        show_help(Reproduce, Reproduce(), "wm reproduce SYSTEM BENCHMARK TASK", ABOUT)
        return 0
    names, values = parse(words, options(Reproduce), "wm reproduce")
    chosen = replace(Reproduce(), values, "")
    if len(names) < 3:
        return _list(names)
    if len(names) > 3:
        raise UserError(f'unexpected word "{names[3]}" (`wm reproduce --help`)')
    from wm.report.cells import cell

    found = cell(*names)
    out = Path(chosen.out or f"runs/reproduce/{'-'.join(names)}")
    command = ["wm", *found.words, "--out", out.as_posix()]
    if not chosen.verdict:
        _announce(found, command)
        if chosen.dry:
            return 0
        from wm.cli import dispatch

        code = dispatch(command[1:])
        if code:
            return code
    return _judge(found, [Path(path) for path in chosen.verdict] or [out])


def _announce(found, command: list[str]) -> None:
    from wm.report.plots import number
    from wm.report.verdict import published_interval

    row, around = found.row, published_interval(found)
    between = "no spread is published"
    if around is not None:
        between = f"interval {number(around.low)} to {number(around.high)}"
    runs = f"{row.seeds} runs" if row.seeds else "runs not counted"
    print(f"  command      {shlex.join(command)}")
    print(f"  published    {row.method}: {number(row.value)}, {between}, {runs}")
    print(f"  source       {row.source}")
    print(f"  protocol     {found.protocol.said}")
    budget = f"{found.group.frames:,} simulator steps, {found.steps:,} of the agent"
    print(f"  budget       {budget}, {found.seeds} seeds")


def _judge(found, folders: list[Path]) -> int:
    from wm.report.record import read
    from wm.report.summary import summarize
    from wm.report.verdict import judge

    verdict = judge(found, [summarize(read(folder)) for folder in folders])
    for line in verdict.lines():
        print(line)
    file = folders[0] / "report" / "verdict.json"
    said = {
        "cell": [found.system, found.benchmark, found.task],
        "inside": verdict.inside,
        "ours": verdict.ours,
        "published": verdict.published,
        "seeds": verdict.seeds,
        "runs": [str(folder) for folder in folders],
        "notes": verdict.notes,
        "line": verdict.line,
    }
    try:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {file}: {error.strerror}") from error
    return 0 if verdict.inside else 1


def _list(names: list[str]) -> int:
    """What can be named next.

    Raises:
      UserError: a name that is none.
    """
    from wm.report.cells import BENCHMARKS
    from wm.table import unknown

    if not names:
        for system, found in BENCHMARKS.items():
            print(f"  {system:<12} {' '.join(found)}")
        print("wm reproduce SYSTEM BENCHMARK TASK")
        return 2
    system, *rest = names
    if system not in BENCHMARKS:
        what = "system with benchmarks"
        raise UserError(unknown(system, BENCHMARKS, what, "wm reproduce"))
    for benchmark in rest:
        if benchmark not in BENCHMARKS[system]:
            what = f"benchmark of {system}"
            raise UserError(
                unknown(benchmark, BENCHMARKS[system], what, "wm reproduce")
            )
    for name, group in BENCHMARKS[system].items():
        if not rest or name in rest:
            tasks = [env.partition("/")[2] for env in group.envs]
            print(f"  {name:<12} {' '.join(tasks)}")
    return 2
