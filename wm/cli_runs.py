"""`wm eval`, `play`, `report`, `diagnose`, `resume`: commands about runs that exist."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

from wm import cli_cache
from wm.cli_options import options, parse, replace, show_help
from wm.errors import RunError, UserError


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Options of `wm eval`."""

    episodes: int = 100
    """Episodes per seed, added to scores.jsonl."""
    video: bool = False
    """Write an animation of the first episode into report/."""
    opponent: str = ""
    """Of games for two: play against mcts (a search of the rules with random playouts)
    or random, each side first in half of the episodes; scores.jsonl stays as it is.
    Several, separated by commas, give Elo ratings: also mcts:N (of N simulations), past
    (earlier checkpoints, see --train.keep_checkpoints), and anchors (random and mcts of
    1, 10, 100, 1000)."""
    simulations: int | None = None
    """Of the opponent mcts, per move (default: 100)."""


@dataclasses.dataclass(frozen=True)
class Play:
    """Options of `wm play`."""

    second: bool = False
    """Let the agent begin."""
    seed: int | None = None
    """Which of the run's learners (default: the first)."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Options of `wm report`."""

    against: str = ""
    """Published method to draw beside the runs (`dreamer_v3`, `iris`, `human`, …)."""
    out: str = ""
    """Folder of the page (default: report/ in the run; of several runs, report/ in the
    folder that they share)."""
    csv: bool = False
    """Write the numbers alone: curves.csv, scores.csv, aggregates.csv."""


@dataclasses.dataclass(frozen=True)
class Diagnose:
    """Options of `wm diagnose`."""

    episodes: int = 8
    """Episodes for the return of a checkpoint that was not evaluated in training, and
    at least as many held-out episodes of each kind."""
    horizon: int = 20
    """Steps that models follow the true actions without seeing."""
    windows: int = 256
    """States from which they do, of either kind of data."""
    since: int = 0
    """Leave out checkpoints of earlier environment steps (untrained models)."""
    out: str = ""
    """Folder of numbers and page (default: report/ in the run; of several runs, report/
    in the folder that they share)."""


@dataclasses.dataclass(frozen=True)
class Resume:
    """Options of `wm resume`."""

    check: bool = False
    """Repeat the stretch between the two newest checkpoints in a temporary folder and
    compare rows, scores and saved arrays bit for bit."""


def evaluate(words: list[str]) -> int:
    """Play more episodes with the agents of a run: `wm eval RUN`.

    Raises:
      UserError: a wrong option or value.
      RunError: the folder holds no run that can be read.
    """
    paths, chosen = _read(words, Evaluate(), "wm eval", "RUN")
    if chosen is None:
        return 0
    if len(paths) != 1:
        raise UserError(f"wm eval needs one RUN, got {len(paths)} (`wm eval --help`)")
    if chosen.episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {chosen.episodes}")
    opponents = [word.strip() for word in chosen.opponent.split(",")]
    if chosen.simulations is not None and "mcts" not in opponents:
        raise UserError("--simulations is of the opponent: add --opponent mcts")
    if chosen.opponent and chosen.video:
        raise UserError("--video is of self-play: leave out --opponent")
    cli_cache.enable()
    folder = _run_folder(paths[0])
    if chosen.opponent:
        from wm.cli_match import match

        simulations = 100 if chosen.simulations is None else chosen.simulations
        if opponents in (["mcts"], ["random"]):
            match(folder, chosen.opponent, simulations, chosen.episodes)
            return 0
        from wm.cli_ladder import ladder, named

        ladder(folder, named(chosen.opponent, simulations), chosen.episodes)
        return 0
    from wm.train.run import load

    load(folder).evaluate(episodes=chosen.episodes, video=chosen.video)
    return 0


def play(words: list[str]) -> int:
    """Play against the agent of a run, moves typed as numbers: `wm play RUN`.

    Raises:
      UserError: a wrong option, or a game that cannot be shown.
      RunError: the folder holds no run that can be read.
    """
    paths, chosen = _read(words, Play(), "wm play", "RUN")
    if chosen is None:
        return 0
    if len(paths) != 1:
        raise UserError(f"wm play needs one RUN, got {len(paths)} (`wm play --help`)")
    cli_cache.enable()
    from wm.cli_match import person

    person(_run_folder(paths[0]), sys.stdin, not chosen.second, chosen.seed)
    return 0


def report(words: list[str]) -> int:
    """Write a page about runs: `wm report RUN…`.

    Raises:
      UserError: a wrong option, or no such published method.
      RunError: a folder holds no run that can be read.
    """
    paths, chosen = _read(words, Report(), "wm report", "RUN…")
    if chosen is None:
        return 0
    if not paths:
        raise UserError("wm report needs at least one RUN (`wm report --help`)")
    folders = _run_folders(paths)
    cli_cache.enable()
    from wm.report import write

    against, out = chosen.against or None, chosen.out or None
    page = write(folders, against=against, out=out, only_csv=chosen.csv)
    print(f"{'numbers' if chosen.csv else 'report'}: {page}")
    return 0


def diagnose(words: list[str]) -> int:
    """Compare learned models with what happens, and with returns: `wm diagnose RUN`.

    Raises:
      UserError: a wrong option, or a system without a learned model.
      RunError: a folder holds no run, or none with a checkpoint.
    """
    paths, chosen = _read(words, Diagnose(), "wm diagnose", "RUN…")
    if chosen is None:
        return 0
    if not paths:
        raise UserError("wm diagnose needs at least one RUN (`wm diagnose --help`)")
    folders = _run_folders(paths)
    cli_cache.enable()
    from wm.report.diagnose import diagnose

    options = {**dataclasses.asdict(chosen), "out": chosen.out or None}
    found = diagnose(folders, **options)
    for line in found.lines():
        print(line)
    print(f"report: {found.page}")
    return 0


def resume(words: list[str]) -> int:
    """Prove that a run resumes exactly: `wm resume --check RUN`.

    Raises:
      UserError: a wrong option, or no `--check`.
      RunError: the folder holds no run, no checkpoint, or one that cannot be repeated.
    """
    paths, chosen = _read(words, Resume(), "wm resume", "--check RUN")
    if chosen is None:
        return 0
    if len(paths) != 1:
        raise UserError(
            f"wm resume --check needs one RUN, got {len(paths)} (`wm resume --help`)"
        )
    folder = _run_folder(paths[0])
    cli_cache.enable()
    from wm.train.recheck import check
    from wm.train.run import load

    run = load(folder)
    if not chosen.check:
        command = shlex.join(run.config["command"]) or "the same call of wm.train"
        raise UserError(
            f"to continue {folder} start again: {command} (--check only proves that "
            "it continues exactly)"
        )
    found = check(run, lambda line: print(f"wm: {line}", file=sys.stderr))
    for line in found.lines():
        print(line)
    return 1 if found.differences else 0


def _read(words: list[str], default: Any, command: str, positional: str):
    """Folders and options of a command; None for options where help was asked."""
    if any(word in ("--help", "-h") for word in words):
        about = _COMMANDS[command].__doc__ or ""
        usage = f"{about.splitlines()[0]}\n\n{positional}: run directories, first."
        show_help(type(default), default, f"{command} {positional}", usage)
        return [], None
    paths, values = parse(words, options(type(default)), command)
    return paths, replace(default, values, "")


_COMMANDS = {
    "wm eval": evaluate,
    "wm play": play,
    "wm report": report,
    "wm diagnose": diagnose,
    "wm resume": resume,
}


def _run_folders(paths: list[str]) -> list[Path]:
    """Folders of runs that are counted as independent: each once."""
    folders = [_run_folder(path) for path in paths]
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{folder} is named twice; leave one out")
    return folders


def _run_folder(path: str) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        what = "a file, not a run directory" if folder.exists() else "no such folder"
        raise RunError(f"{path}: {what}")
    if not (folder / "config.json").is_file():
        raise RunError(f"{path} holds no run: config.json is missing")
    return folder
