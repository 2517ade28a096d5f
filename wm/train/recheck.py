"""`wm resume --check RUN`: the stretch after a checkpoint again, compared bit for bit.

The run itself is only read. A copy of its settings, rows and older checkpoint is
continued in a temporary folder up to the newest checkpoint, then rows, scores and every
saved array are compared.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from wm.errors import RunError, Stopped
from wm.train import log, manifest, rundir, segments
from wm.train.checkpoint import SEGMENTS, segment_files
from wm.train.host_env import is_host
from wm.train.leaves import checksum
from wm.train.results import Run

CLOCK = ("time/", "rate/")
"""What may differ."""


class Outcome(NamedTuple):
    """What was compared, and what differed."""

    start: int
    """Step of the checkpoint that was continued from; 0 where there was one only."""
    end: int
    """Of the newest checkpoint."""
    rows: int
    scores: int
    arrays: int
    differences: list[str]
    """Empty where everything is equal."""

    def lines(self) -> list[str]:
        """For the terminal."""
        what = (
            f"steps {self.start:,} to {self.end:,} again: {self.rows} rows, "
            f"{self.scores} scores, {self.arrays} saved arrays"
        )
        if not self.differences:
            return [f"{what}: all equal, bit for bit"]
        shown = self.differences[:5]
        left = len(self.differences) - len(shown)
        more = [f"and {left} more"] if left else []
        return [f"{what}: {len(self.differences)} differ", *shown, *more]


def check(run: Run, say: Callable[[str], None] = lambda line: None) -> Outcome:
    """Repeat the stretch between the two newest checkpoints of a run.

    With one checkpoint only, the run is repeated from its beginning.

    Args:
      run: is not changed; no other process may train it meanwhile.
      say: called with a line where equality cannot be expected.

    Raises:
      RunError: nothing was saved, a checkpoint is damaged, or the environment cannot
        save its state.
    """
    source = run.path / "checkpoints"
    *_, end = run.saved() or [None]
    if end is None:
        raise RunError(f"{run.path} has no checkpoint yet")
    try:
        bodies = {step: manifest.read(source / str(step)) for step in run.saved()}
    except manifest.Damaged as error:
        raise RunError(
            f"a checkpoint of {run.path} is damaged ({error}): wm train continues from "
            "the one before"
        ) from error
    _can_be_repeated(run)
    _say_versions(run.path, say)
    notes = bodies[end]["notes"]
    whole = [step for step in run.saved()[:-1] if bodies[step]["replay"]]
    with tempfile.TemporaryDirectory(prefix="wm-check-") as folder:
        copy = Path(folder) / "run"
        config = {**run.config, "schedule": _schedule(run, notes)}
        rundir.write(copy, config)
        start = whole[-1] if whole else 0
        if whole:
            _copy_step(source, copy, start)
            for name in ("metrics", "scores"):
                if (run.path / f"{name}.jsonl").exists():
                    shutil.copy(run.path / f"{name}.jsonl", copy)
        again = _repeat(run, copy, notes, end)
        return _compared(run, again, start, end)


def _repeat(run: Run, copy: Path, notes: dict, end: int) -> Run:
    """Continue the copy to the step `end`."""
    from wm.train.run import Session
    from wm.train.sharding import Layout

    config, again = run.config, Run(copy)
    about = {"system": config["agent"]["name"], "env_options": config["env"]["options"]}
    about |= {"preset": config["preset"], "command": config["command"]}
    seeds, seed, mode = config["seeds"], config["seed"], notes["mode"]
    # On as many devices: sums in another order are others.
    mesh = Layout(**(notes.get("mesh") or {}))
    parts = run.agent, run.env, again.schedule, seeds, seed, copy, None, mode, mesh
    session = Session(*parts, about, True)
    session.until = end
    with session.held, contextlib.suppress(Stopped):
        session.run()
    return again


def _schedule(run: Run, notes: dict) -> dict[str, Any]:
    """As it was when the newest checkpoint was saved; nothing but it is saved anew."""
    plan = {**run.config["schedule"], "total": notes["total"]}
    return {**plan, "save_minutes": None}


def _can_be_repeated(run: Run) -> None:
    """Refuse environments on the host that begin anew, or of which one is not enough.

    Raises:
      RunError: they are such.
    """
    if not is_host(run.env):
        return
    if not hasattr(run.env, "state"):
        raise RunError(
            f"{run.env.spec.name} cannot save its state: a continued run begins new "
            "episodes there, and cannot be repeated"
        )
    if run.config["seeds"] > 1:
        raise RunError("several seeds in environments on the host cannot be checked")


def _copy_step(source: Path, copy: Path, step: int) -> None:
    """A checkpoint and its segments."""
    target = copy / "checkpoints"
    shutil.copytree(source / str(step), target / str(step))
    (target / SEGMENTS).mkdir()
    for name in segment_files(manifest.read(source / str(step))):
        shutil.copy(source / SEGMENTS / name, target / SEGMENTS)


def _compared(run: Run, again: Run, start: int, end: int) -> Outcome:
    """Rows and scores beyond `start`, and everything saved at `end`."""
    found: list[str] = []
    counts = {}
    for name in ("metrics", "scores"):
        files = (x.path / f"{name}.jsonl" for x in (run, again))
        mine, other = (_rows(file, start, end) for file in files)
        if name == "scores":
            mine = mine[: len(other)]  # `wm eval` may have added some
        counts[name] = len(mine)
        if len(mine) != len(other):
            found.append(f"{name}.jsonl: {len(mine)} rows, {len(other)} again")
        for a, b in zip(mine, other, strict=False):
            found += _fields(name, a, b)
    saved = [_saved(x.path / "checkpoints", end) for x in (run, again)]
    for name in sorted(saved[0].keys() | saved[1].keys()):
        if saved[0].get(name) != saved[1].get(name):
            found.append(f"checkpoint {end:,}: {name} differs")
    rows, scores = counts["metrics"], counts["scores"]
    return Outcome(start, end, rows, scores, len(saved[0]), found)


def _fields(name: str, a: dict, b: dict) -> list[str]:
    where = f"{name}.jsonl, step {a['step']:,}, seed {a['seed']}"
    return [
        f"{where}: {field} was {a.get(field)}, is {b.get(field)}"
        for field in sorted(a.keys() | b.keys())
        if a.get(field) != b.get(field)
    ]


def _rows(path: Path, start: int, end: int) -> list[dict]:
    """Rows in `(start, end]`, without the clock."""
    keep = lambda name: not name.startswith(CLOCK)
    return [
        {name: value for name, value in row.items() if keep(name)}
        for row in log.read(path)
        if start < row["step"] <= end
    ]


def _saved(folder: Path, step: int) -> dict[str, int]:
    """A checksum of every saved array.

    Raises:
      RunError: the step is damaged, or there is none.
    """
    try:
        body = manifest.read(folder / str(step))
        manifest.verify(folder / str(step), body["files"], body["files"])
    except manifest.Damaged as error:
        raise RunError(
            f"checkpoint {step:,} of {folder.parent} is damaged ({error}): wm train "
            "continues from the one before"
        ) from error
    found = {
        f"{name}/{entry['path']}": entry["crc32"]
        for name, entries in body["items"].items()
        for entry in entries
    }
    for name, entry in body["replay"].items():
        arrays = segments.arrays_of(folder / SEGMENTS, entry)
        for leaf, array in zip(entry["leaves"], arrays, strict=True):
            found[f"{name}/{leaf['path']}"] = checksum(array)
    return found


def _say_versions(path: Path, say: Callable[[str], None]) -> None:
    """Name what was not the same when the run began."""
    try:
        old = json.loads((path / "versions.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    new = rundir.versions()
    for name in ("jax", "jaxlib", "platform", "device", "cpu", "numpy"):
        if old.get(name) != new.get(name):
            say(
                f"the run began with {name} {old.get(name)}, this is {new.get(name)}: "
                "equal bits cannot be expected"
            )
