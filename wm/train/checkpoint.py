"""Saved states: orbax underneath, checksums of our own on top.

Orbax restores flipped bits without complaint, so every step has a manifest with shape,
dtype and CRC of each leaf, verified on restore; a damaged step falls back to the one
before. A step is written under another name and renamed when complete. Saving is
synchronous, one item at a time: a view of a donated array held by a background save
would turn its donation into a copy.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.errors import RunError
from wm.train import distributed
from wm.types import Tree

FORMAT = 1
"""Of the manifest and of how leaves are stored."""

MANIFEST = "manifest.json"

WHOLE = 2
"""Newest steps that a run can continue from; older ones that stay are thinned."""


class Damaged(Exception):
    """A step that cannot be used, and why."""


class Restored(NamedTuple):
    """One step, as read."""

    step: int
    items: dict[str, Tree]
    """numpy leaves; typed keys are keys again."""
    notes: dict[str, Any]
    """What was passed to `save` beside the items."""


class Checkpoints:
    """The steps in one directory."""

    def __init__(self, path: Path, keep: int | None = WHOLE, sweep: bool = True):
        """Open; nothing is created before the first `save`.

        Args:
          path: directory of steps.
          keep: newest steps that stay; all if None. Beyond the `WHOLE` newest they
            stay without what is only needed to continue, see `thin`.
          sweep: remove what an interrupted save left; not while a run may be saving.
        """
        self.path = Path(path).absolute()
        self.keep = keep
        for left in self.path.glob("*.unfinished") if sweep else ():
            shutil.rmtree(left, ignore_errors=True)

    def steps(self) -> list[int]:
        """Finished steps, oldest first."""
        if not self.path.is_dir():
            return []
        return sorted(int(x.name) for x in self.path.iterdir() if x.name.isdigit())

    def save(
        self, step: int, items: Iterable[tuple[str, Tree]], notes: dict[str, Any]
    ) -> None:
        """Write a step; earlier ones stay until it is complete.

        Args:
          step: its name; a step of that name is replaced.
          items: names and trees, drawn one at a time so that only one is on the host.
          notes: small JSON kept beside them.

        Raises:
          RunError: the disk is full or cannot be written; earlier steps are intact.
        """
        folder = self.path / f"{step}.unfinished"
        manifest: dict[str, Any] = {"format": FORMAT, "notes": notes, "items": {}}
        try:
            folder.mkdir(parents=True)
            for name, tree in items:
                manifest["items"][name] = write_item(folder / name, tree)
                del tree
            _write(folder / MANIFEST, json.dumps(manifest))
            final = self.path / str(step)
            if final.exists():
                shutil.rmtree(final)
            folder.rename(final)
        except (OSError, ValueError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RunError(_failure(self.path, error)) from error
        steps = self.steps()[::-1]
        for old in steps[WHOLE : self.keep]:
            self.thin(old)
        for old in steps[self.keep :] if self.keep is not None else ():
            shutil.rmtree(self.path / str(old), ignore_errors=True)

    def thin(self, step: int, ending: str = "_replay") -> None:
        """Drop the items of a step whose names end so: most of its bytes."""
        folder = self.path / str(step)
        if not any(folder.glob(f"*{ending}")):
            return
        with contextlib.suppress(OSError, ValueError, KeyError):  # it is left as it is
            manifest = json.loads((folder / MANIFEST).read_text())
            dropped = [name for name in manifest["items"] if name.endswith(ending)]
            for name in dropped:
                del manifest["items"][name]
            # First, so that a manifest never names what is gone.
            _write(folder / f"{MANIFEST}.part", json.dumps(manifest))
            os.replace(folder / f"{MANIFEST}.part", folder / MANIFEST)
            for name in dropped:
                shutil.rmtree(folder / name, ignore_errors=True)

    def restore(
        self,
        targets: dict[str, Tree],
        warn: Callable[[str], None] = lambda line: None,
    ) -> Restored | None:
        """The newest step that is whole; None where there is no step at all.

        Args:
          targets: name → tree of shapes; items not named here are not read.
          warn: called with a line for every step that is passed over.

        Raises:
          RunError: there are steps, and none is whole.
        """
        steps, problem = self.steps()[::-1], ""
        for position, step in enumerate(steps):
            if position:
                warn(f"checkpoint {problem}; trying {step:,}")
            try:
                return self.read(step, targets)
            except Damaged as error:
                problem = f"{steps[position]:,} of {self.path.parent} is damaged "
                problem += f"({error})"
        if not steps:
            return None
        raise RunError(
            f"checkpoint {problem}; no other is left. Restore it from a copy, or "
            "choose another --out"
        )

    def read(self, step: int, targets: dict[str, Tree]) -> Restored:
        """Read and verify one step.

        Raises:
          Damaged: something is missing or different.
        """
        folder = self.path / str(step)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
        except (OSError, ValueError) as error:
            raise Damaged(f"{MANIFEST}: {_reason(error)}") from error
        if manifest.get("format") != FORMAT:
            raise Damaged(
                f"format {manifest.get('format')}, this version reads {FORMAT}"
            )
        items = {}
        for name, target in targets.items():
            if name not in manifest["items"]:
                raise Damaged(f"{name}: missing")
            items[name] = read_item(folder / name, target, manifest["items"][name])
        return Restored(step, items, manifest["notes"])


def write_item(folder: Path, tree: Tree) -> list[dict[str, Any]]:
    """Write one tree; returns the manifest of its leaves."""
    import orbax.checkpoint as ocp

    entries, arrays = [], {}
    for number, (path, leaf) in enumerate(named_leaves(tree)):
        array = np.asarray(plain(leaf), order="C")
        entry = {"path": path, "shape": list(array.shape), "dtype": array.dtype.name}
        if is_key(leaf):
            entry["key"] = str(jax.random.key_impl(leaf))
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

    names = named_leaves(target)
    for (path, leaf), entry in zip(names, entries, strict=False):
        shape, dtype = plain_shape(leaf)
        if (path, list(shape), dtype.name) != (
            entry["path"],
            entry["shape"],
            entry["dtype"],
        ):
            raise Damaged(f"{path}: another shape or type than this run's")
    if len(names) != len(entries):
        raise Damaged(f"{len(entries)} arrays saved, this run has {len(names)}")
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
            raise Damaged(f"{folder.name}: {_reason(error)}") from error
    leaves = []
    for number, ((path, leaf), entry) in enumerate(zip(names, entries, strict=True)):
        shape, dtype = plain_shape(leaf)
        array = arrays.get(f"{number:05d}")
        array = np.zeros(shape, dtype) if array is None else np.asarray(array)
        if array.shape != tuple(shape) or array.dtype != dtype:
            raise Damaged(f"{path}: shape or type")
        if checksum(array) != entry["crc32"]:
            raise Damaged(f"{path}: checksum")
        leaves.append(_typed(array, entry))
    return jax.tree.unflatten(jax.tree.structure(target), leaves)


def named_leaves(tree: Tree) -> list[tuple[str, Any]]:
    """Leaves with their paths, `params/encoder/conv1`."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return [(name(path), leaf) for path, leaf in found]


def is_key(leaf: Any) -> bool:
    """Whether a leaf (or its shape) is an array of typed keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def plain(leaf: Any) -> np.ndarray:
    """A leaf as numpy; of typed keys the data."""
    if hasattr(leaf, "dtype") and is_key(leaf):
        leaf = jax.random.key_data(leaf)
    return np.asarray(jax.device_get(leaf))


def plain_shape(leaf: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype that `plain` gives a leaf of this shape."""
    if is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return tuple(leaf.shape), np.dtype(leaf.dtype)


def checksum(array: np.ndarray) -> int:
    """CRC of the bytes."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _checkpointer() -> Any:
    """Of this process alone: one writes, and every one reads by itself."""
    import orbax.checkpoint as ocp

    alone = distributed.unshared()
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**alone), **alone)


def _typed(array: np.ndarray, entry: dict[str, Any]) -> Any:
    if "key" not in entry:
        return array
    return jax.random.wrap_key_data(jnp.asarray(array), impl=entry["key"])


def _write(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _failure(path: Path, error: Exception) -> str:
    free = "unknown space"
    with contextlib.suppress(OSError):
        place = path if path.exists() else path.parent
        free = f"{shutil.disk_usage(place).free / 1e6:,.0f} MB"
    return f"cannot save to {path}: {_reason(error)} ({free} free)"


def _reason(error: Exception) -> str:
    """One short line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if "RESOURCE_EXHAUSTED" in str(error) or "No space left" in str(error):
        return "no space left on device"
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:120]
