"""Saved states: orbax underneath, checksums of our own on top.

Orbax restores flipped bits without complaint, so every step has a manifest with size
and CRC of each file and shape, dtype and CRC of each leaf, verified on restore; a
damaged step falls back to the one before. A step is written under another name and
renamed when complete. Replay is written by the caller's thread, only what is new of it
(`segments.py`); all else is copied, and written by a thread of its own, unless several
processes train.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from wm.errors import RunError
from wm.train import distributed, manifest, segments
from wm.train.leaves import checksum, described, named_leaves, plain, plain_shape, typed
from wm.train.manifest import Damaged, reason
from wm.types import Tree

WHOLE = 2
"""Newest steps that a run can continue from; older ones that stay are thinned."""

REPLAY = "_replay"
"""Items whose names end so are written as segments."""

SEGMENTS = "segments"
"""Folder of the segments of all steps."""

WAITING = 1 << 30
"""Bytes that may wait to be written; a larger state is written as it is copied."""


class Restored(NamedTuple):
    """One step, as read."""

    step: int
    items: dict[str, Tree]
    """numpy leaves; typed keys are keys again."""
    notes: dict[str, Any]
    """What was passed to `save` beside the items."""


class Here(concurrent.futures.Executor):
    """Does at once what it is given: where several processes train, all calls that they
    make together must come from one thread of each."""

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Any:
        """Call; the result, or the error, of the future that is returned."""
        job = concurrent.futures.Future()
        try:
            job.set_result(fn(*args, **kwargs))
        except Exception as error:
            job.set_exception(error)
        return job


class Checkpoints:
    """The steps in one directory."""

    def __init__(self, path: Path, keep: int | None = WHOLE, sweep: bool = True):
        """Open; nothing is created before the first `save`.

        Args:
          path: directory of steps.
          keep: newest steps that stay; all if None. Beyond the `WHOLE` newest they
            stay without what is only needed to continue, see `thin`.
          sweep: this is the run's own: remove what an interrupted save left. Not while
            another process may be saving.
        """
        self.path = Path(path).absolute()
        self.keep = keep
        self.sweep = sweep
        self._lineage: list[dict[str, Any]] = []
        """Manifests of the newest whole steps that the present state came from."""
        self._thread: concurrent.futures.Executor | None = None
        self._job: concurrent.futures.Future | None = None
        if sweep:
            self._collect()

    def steps(self) -> list[int]:
        """Finished steps, oldest first."""
        if not self.path.is_dir():
            return []
        return sorted(int(x.name) for x in self.path.iterdir() if x.name.isdigit())

    def save(
        self, step: int, items: Iterable[tuple[str, Tree]], notes: dict[str, Any]
    ) -> None:
        """Begin to write a step; earlier ones stay until it is complete.

        Returns when every item was copied or written; `wait` until it is complete.
        Steps beyond this one, of a course that was abandoned, are removed then.

        Args:
          step: its name; a step of that name is replaced.
          items: names and trees, drawn one at a time so that only one is on the host.
          notes: small JSON kept beside them.

        Raises:
          RunError: the disk is full or cannot be written; earlier steps are intact.
        """
        self.wait()
        if self._thread is None:
            alone = jax.process_count() == 1
            pool = concurrent.futures.ThreadPoolExecutor
            self._thread = pool(1, "wm-save") if alone else Here()
        folder = self.path / f"{step}.unfinished"
        body: dict[str, Any] = {"notes": notes, "items": {}, "replay": {}}
        base = self._lineage[0] if len(self._lineage) == WHOLE else None
        jobs: list[tuple[str, int, concurrent.futures.Future]] = []
        try:
            folder.mkdir(parents=True)
            (self.path / SEGMENTS).mkdir(exist_ok=True)
            for name, tree in items:
                if name.endswith(REPLAY):
                    old = base["replay"].get(name) if base else None
                    place, prefix = self.path / SEGMENTS, f"{step}_{name}"
                    body["replay"][name] = segments.write(place, prefix, tree, old)
                    del tree
                    continue
                copied = copy(tree)
                del tree
                size = sum(array.nbytes for _, array in copied)
                job = self._thread.submit(write_item, folder / name, copied)
                jobs.append((name, size, job))
                if sum(size for _, size, job in jobs if not job.done()) > WAITING:
                    job.result()
        except (OSError, ValueError, RuntimeError) as error:
            concurrent.futures.wait([job for *_, job in jobs])
            raise self._failed(folder, error) from error
        self._job = self._thread.submit(self._complete, step, folder, body, jobs)

    def wait(self) -> None:
        """Return when what was begun is complete.

        Raises:
          RunError: it could not be written; earlier steps are intact.
        """
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def _complete(self, step: int, folder: Path, body: dict, jobs: list) -> None:
        """Everything after the items were copied."""
        try:
            for name, _, job in jobs:
                body["items"][name] = job.result()
            body["files"] = manifest.sums(folder, folder)
            replay = segment_files(body).items()
            body["files"] |= {f"../{SEGMENTS}/{name}": x for name, x in replay}
            manifest.write(folder, body)
            final = self.path / str(step)
            if final.exists():
                shutil.rmtree(final)
            folder.rename(final)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(folder, error) from error
        self._lineage = [*self._lineage[-1:], body]
        steps = self.steps()[::-1]
        for later in [x for x in steps if x > step]:
            shutil.rmtree(self.path / str(later), ignore_errors=True)
        steps = [x for x in steps if x <= step]
        for old in steps[WHOLE : self.keep]:
            self.thin(old)
        for old in steps[self.keep :] if self.keep is not None else ():
            shutil.rmtree(self.path / str(old), ignore_errors=True)
        self._collect()

    def _failed(self, folder: Path, error: Exception) -> RunError:
        """The error to raise, after removing what was written."""
        line = _failure(self.path, error)
        shutil.rmtree(folder, ignore_errors=True)
        self._collect()
        return RunError(line)

    def _collect(self) -> None:
        """Remove what no finished step needs."""
        for left in self.path.glob("*.unfinished"):
            shutil.rmtree(left, ignore_errors=True)
        place, used = self.path / SEGMENTS, set()
        if not place.is_dir():
            return
        try:
            for step in self.steps():
                used |= segment_files(manifest.read(self.path / str(step))).keys()
        except Damaged:
            return  # nobody knows what it needs: until a later step replaces it
        for file in place.iterdir():
            if file.name not in used:
                with contextlib.suppress(OSError):
                    file.unlink()
        with contextlib.suppress(OSError):
            place.rmdir()  # if it is empty

    def thin(self, step: int) -> None:
        """Drop the replay of a step: most of its bytes."""
        folder = self.path / str(step)
        with contextlib.suppress(OSError, Damaged):  # it is left as it is
            body = manifest.read(folder)
            if body["replay"]:
                inside = lambda name: not name.startswith("..")
                files = {name: x for name, x in body["files"].items() if inside(name)}
                manifest.write(folder, {**body, "replay": {}, "files": files})

    def restore(
        self,
        targets: dict[str, Tree],
        warn: Callable[[str], None] = lambda line: None,
    ) -> Restored | None:
        """The newest step that is whole; None where there is no step at all.

        Args:
          targets: name → tree of shapes; items not named here are not read.
          warn: called with a line for every step that is damaged.

        Raises:
          RunError: there are steps, and none is whole.
        """
        self.wait()
        steps, problem = self.steps()[::-1], ""
        for position, step in enumerate(steps):
            if position:
                warn(f"{problem}; trying {step:,}")
            try:
                restored = self.read(step, targets)
            except Damaged as error:
                problem = self._damage(step, error)
                continue
            if self.sweep:
                self._lineage = [*self._before(steps[position + 1 :], warn)]
                self._lineage.append(manifest.read(self.path / str(step)))
            return restored
        if not steps:
            return None
        raise RunError(
            f"{problem}; no other is left. Restore it from a copy, or take another "
            "folder"
        )

    def _before(self, steps: list[int], warn: Callable) -> Iterable[dict[str, Any]]:
        """The manifest of the step before, if it is whole: later ones build on it."""
        for step in steps[: WHOLE - 1]:
            folder = self.path / str(step)
            try:
                body = manifest.read(folder)
                manifest.verify(folder, body["files"], body["files"])
                yield body
            except Damaged as error:
                warn(f"{self._damage(step, error)}; it is not needed")

    def _damage(self, step: int, error: Exception) -> str:
        return f"checkpoint {step:,} of {self.path.parent} is damaged ({error})"

    def read(self, step: int, targets: dict[str, Tree]) -> Restored:
        """Read and verify one step.

        Raises:
          Damaged: something is missing or different.
        """
        folder = self.path / str(step)
        body = manifest.read(folder)
        for name in targets:
            if name not in body["items"] and name not in body["replay"]:
                raise Damaged(f"{name}: missing")
        replay = {
            f"../{SEGMENTS}/{x}" for e in body["replay"].values() for x in e["files"]
        }
        wanted = replay if any(name in body["replay"] for name in targets) else set()
        for name in body["files"].keys() - replay:
            if name.split("/")[0] in targets:
                wanted.add(name)
        manifest.verify(folder, body["files"], sorted(wanted))
        items = {}
        for name, target in targets.items():
            if name in body["replay"]:
                entry = body["replay"][name]
                items[name] = segments.read(self.path / SEGMENTS, target, entry)
            else:
                items[name] = read_item(folder / name, target, body["items"][name])
        return Restored(step, items, body["notes"])


def segment_files(body: dict[str, Any]) -> dict[str, list[int]]:
    """Sizes and checksums of the segments that a step needs."""
    entries = body["replay"].values()
    return {name: x for entry in entries for name, x in entry["files"].items()}


def copy(tree: Tree) -> list[tuple[dict[str, Any], np.ndarray]]:
    """The leaves of a tree, described, in memory of their own."""
    pairs = zip(described(tree), named_leaves(tree), strict=True)
    return [(entry, np.array(plain(leaf), order="C")) for entry, (_, leaf) in pairs]


def write_item(folder: Path, leaves: list[tuple[dict, np.ndarray]]) -> list[dict]:
    """Write what `copy` gave; returns the manifest of its leaves."""
    import orbax.checkpoint as ocp

    entries, arrays = [], {}
    for number, (entry, array) in enumerate(leaves):
        entries.append(entry | {"crc32": checksum(array)})
        if array.size:
            arrays[f"{number:05d}"] = array
    if arrays:
        with _checkpointer() as checkpointer:
            checkpointer.save(folder, args=ocp.args.PyTreeSave(arrays))
    return entries


def read_item(folder: Path, target: Tree, entries: list[dict[str, Any]]) -> Tree:
    """Read one tree in the structure of `target` and compare it with its manifest.

    Raises:
      Damaged: it is not what was saved, or not what `target` expects.
    """
    import orbax.checkpoint as ocp

    segments.match(target, entries)
    names = named_leaves(target)
    wanted = {
        f"{n:05d}": np.zeros((), plain_shape(leaf)[1])
        for n, (_, leaf) in enumerate(names)
        if np.prod(plain_shape(leaf)[0], dtype=int)
    }
    arrays: dict[str, Any] = {}
    if wanted:
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(np.ndarray), wanted)
        try:
            with _checkpointer() as checkpointer:
                arguments = ocp.args.PyTreeRestore(wanted, restore_args=as_numpy)
                arrays = checkpointer.restore(folder, args=arguments)
        except Exception as error:  # orbax and tensorstore raise all kinds
            raise Damaged(f"{folder.name}: {reason(error)}") from error
    leaves = []
    for number, ((path, leaf), entry) in enumerate(zip(names, entries, strict=True)):
        shape, dtype = plain_shape(leaf)
        array = arrays.get(f"{number:05d}")
        array = np.zeros(shape, dtype) if array is None else np.asarray(array)
        if array.shape != tuple(shape) or array.dtype != dtype:
            raise Damaged(f"{path}: shape or type")
        if checksum(array) != entry["crc32"]:
            raise Damaged(f"{path}: checksum")
        leaves.append(typed(array, entry))
    return jax.tree.unflatten(jax.tree.structure(target), leaves)


def _checkpointer() -> Any:
    """Of this process alone: one writes, and every one reads by itself."""
    import orbax.checkpoint as ocp

    alone = distributed.unshared()
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**alone), **alone)


def _failure(path: Path, error: Exception) -> str:
    free = "unknown space"
    with contextlib.suppress(OSError):
        place = path if path.exists() else path.parent
        free = f"{shutil.disk_usage(place).free / 1e6:,.0f} MB"
    return f"cannot save to {path}: {reason(error)} ({free} free)"
