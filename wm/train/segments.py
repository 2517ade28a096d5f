"""Replay on disk: only what is new is written.

Columns that are only ever appended to (time steps and actions of a ring) go into
segments, files of the steps added since the save before; columns that are written back
to, and all else, go by blocks, of which those that changed are written. Files are never
changed. Two saved steps that follow each other share none of them: a step continues the
files of the one before the last, so that damage to one file leaves a whole step.

Written by the calling thread, a row at a time and without copies: a view held in the
background would turn the donation of the replay into a copy of it.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from wm.data.ring import Ring
from wm.train.leaves import Part, described, named_leaves, plain, typed
from wm.train.manifest import Damaged
from wm.types import Tree

BLOCK = 1 << 20
"""Bytes of a block of what may change anywhere."""
PIECE = 256
"""Slots of every row that are copied from an accelerator at once."""
WASTE = 1 << 26
"""Bytes of blocks replaced since, beyond as many as are in use, that may lie in the
files before all blocks are written anew."""

Entry = dict[str, Any]
"""What a manifest says of one replay: `leaves`, `streams`, `blocks`, `files`."""


class Stream(NamedTuple):
    """Columns that are appended to together."""

    leaves: list[int]
    """Their places among the leaves; each is `[rows, slots, …]`."""
    count: Any
    """i32, steps appended per row since the beginning."""


class Writer:
    """One file, its size and checksum."""

    def __init__(self, folder: Path, name: str):
        """Make nothing yet: no file where nothing is written."""
        self.name, self.size, self.crc = name, 0, 0
        self._path, self._file = folder / name, None

    def write(self, data: Any) -> int:
        """Append bytes; where they begin."""
        if self._file is None:
            self._file = self._path.open("wb", 1 << 20)
        begin = self.size
        self._file.write(data)
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)
        return begin

    def close(self) -> dict[str, list[int]]:
        """What the manifest says of it; nothing where nothing was written."""
        if self._file is None:
            return {}
        self._file.close()
        return {self.name: [self.size, self.crc]}


def write(folder: Path, prefix: str, tree: Tree, base: Entry | None) -> Entry:
    """Write what `base` does not have.

    Args:
      folder: of all files.
      prefix: the new files' names begin with it.
      tree: arrays of the replay.
      base: an earlier entry of the same replay, or None to write all of it.

    Returns:
      The entry; its `files` are all that it needs, old ones included.
    """
    found, leaves = named_leaves(tree), described(tree)
    if base is not None and base["leaves"] != leaves:
        base = None
    streams, blocks = [], Writer(folder, f"{prefix}.blocks")
    segment = Writer(folder, f"{prefix}.segment")
    appended = streams_of(tree)
    for number, stream in enumerate(appended):
        old = base["streams"][number] if base else None
        leaves_of = [found[i][1] for i in stream.leaves]
        streams.append(_extend(stream, leaves_of, old, segment))
    rest = set(range(len(found))) - {i for stream in appended for i in stream.leaves}
    old = _sums_of(base)
    parts = []
    for leaf in sorted(rest):
        parts += _changed(leaf, plain(found[leaf][1]), old, blocks)
    files = {**(base["files"] if base else {}), **segment.close(), **blocks.close()}
    used = {part[0] for stream in streams for part in stream["parts"]}
    used |= {part[2] for part in parts}
    files = {name: files[name] for name in files if name in used}
    return {"leaves": leaves, "streams": streams, "blocks": parts, "files": files}


def read(folder: Path, target: Tree, entry: Entry) -> Tree:
    """The tree of an entry, in the structure of `target`; files are trusted.

    Raises:
      Damaged: it is not what `target` expects.
    """
    match(target, entry["leaves"])
    pairs = zip(arrays_of(folder, entry), entry["leaves"], strict=True)
    leaves = [typed(array, described) for array, described in pairs]
    return jax.tree.unflatten(jax.tree.structure(target), leaves)


def arrays_of(folder: Path, entry: Entry) -> list[np.ndarray]:
    """The leaves of an entry."""
    dtype = lambda x: jax.numpy.dtype(x["dtype"])
    arrays = [np.zeros(x["shape"], dtype(x)) for x in entry["leaves"]]
    for stream in entry["streams"]:
        for name, offset, begin, end in stream["parts"]:
            for leaf in stream["leaves"]:
                offset = _place(folder / name, offset, arrays[leaf], begin, end)
    for leaf, number, name, offset, size, *_ in entry["blocks"]:
        column = arrays[leaf].reshape(-1).view(np.uint8)
        begin = number * BLOCK
        column[begin : begin + size] = np.fromfile(
            folder / name, np.uint8, size, offset=offset
        )
    return arrays


def match(target: Tree, entries: list[dict[str, Any]]) -> None:
    """Compare a tree with what a manifest says of its leaves.

    Raises:
      Damaged: other names, shapes or types.
    """
    names = described(target)
    for mine, saved in zip(names, entries, strict=False):
        if any(mine[field] != saved[field] for field in ("path", "shape", "dtype")):
            raise Damaged(f"{mine['path']}: another shape or type than this run's")
    if len(names) != len(entries):
        raise Damaged(f"{len(entries)} arrays saved, this run has {len(names)}")


def streams_of(tree: Tree) -> list[Stream]:
    """The appended columns in a tree: those of rings, and of replay on the host."""
    place, found = 0, []
    for node in jax.tree.leaves(tree, is_leaf=_is_ring):
        size = len(jax.tree.leaves(node))
        if _is_ring(node):
            marks = jax.tree.map(lambda _: False, node)
            steps = marks.columns if isinstance(node, Ring) else marks["steps"]
            fixed = jax.tree.map(lambda _: True, (steps.timestep, steps.action))
            steps = steps._replace(timestep=fixed[0], action=fixed[1])
            if isinstance(node, Ring):
                marks, count = marks.replace(columns=steps), node.count
            else:
                marks, count = {**marks, "steps": steps}, node["count"]
            flags = jax.tree.leaves(marks)
            found.append(Stream([place + i for i, x in enumerate(flags) if x], count))
        place += size
    return found


def _is_ring(node: Any) -> bool:
    host = isinstance(node, dict) and node.keys() == {"steps", "count", "served"}
    return host or isinstance(node, Ring)


def _extend(stream: Stream, leaves: list, old: Any, file: Writer) -> dict[str, Any]:
    """The entry of a stream, after writing the steps that `old` lacks."""
    count, slots = int(plain(stream.count)), leaves[0].shape[1]
    oldest = max(count - slots, 0)
    start, parts = oldest, []
    if old is not None and old["count"] <= count:
        # The newest record of a rollout gives way to another one.
        start = max(old["count"] - 1, oldest)
        kept = zip(old["parts"], old["ends"], strict=True)
        parts = [(part, end) for part, end in kept if end > oldest]
    while start < count:
        begin = start % slots
        size = min(count - start, slots - begin)
        offset = file.size
        for leaf in leaves:
            for row in slots_of(leaf, begin, begin + size):
                file.write(_bytes(row))
        start += size
        parts.append(([file.name, offset, begin, begin + size], start))
    return {
        "leaves": stream.leaves,
        "count": count,
        "parts": [part for part, _ in parts],
        "ends": [end for _, end in parts],
    }


def slots_of(leaf: Any, begin: int, end: int) -> np.ndarray:
    """`leaf[:, begin:end]` as numpy; of a column on an accelerator only that much is
    copied, by one program whatever the place."""
    if isinstance(leaf, np.ndarray):
        return leaf[:, begin:end]
    one = isinstance(leaf, Part)
    array, seed = (leaf.array, leaf.index) if one else (leaf, 0)
    if _in_memory(array):
        view = np.asarray(array)
        return (view[seed] if one else view)[:, begin:end]
    size, pieces = min(PIECE, leaf.shape[1]), []
    for at in range(begin, end, size):
        first = min(at, leaf.shape[1] - size)
        piece = np.asarray(_cut(array if one else array[None], seed, first, size))
        pieces.append(piece[:, at - first : min(end, at + size) - first])
    return np.concatenate(pieces, 1)


@functools.partial(jax.jit, static_argnums=3)
def _cut(array: jax.Array, seed: Any, begin: Any, size: int) -> jax.Array:
    """`array[seed, :, begin:begin + size]`."""
    taken = jax.lax.dynamic_slice_in_dim(array, begin, size, 2)
    return jax.lax.dynamic_index_in_dim(taken, seed, 0, keepdims=False)


def _in_memory(array: jax.Array) -> bool:
    return all(device.platform == "cpu" for device in array.devices())


def _changed(leaf: int, array: np.ndarray, old: dict, file: Writer) -> Iterator[list]:
    """The blocks of a leaf, zeros left out, after writing those that `old` lacks."""
    data = _bytes(array)
    for number, begin in enumerate(range(0, len(data), BLOCK)):
        piece = data[begin : begin + BLOCK]
        sums = [len(piece), zlib.crc32(piece), zlib.adler32(piece)]
        if sums == _zeros(len(piece)):
            continue
        if old.get((leaf, number), [None] * 7)[4:] == sums:
            yield old[leaf, number]
        else:
            yield [leaf, number, file.name, file.write(piece), *sums]


def _sums_of(base: Entry | None) -> dict[tuple[int, int], list]:
    """The blocks that may stay where they are."""
    if base is None:
        return {}
    names = {part[2] for part in base["blocks"]}
    stored = sum(base["files"][name][0] for name in names)
    used = sum(part[4] for part in base["blocks"])
    if stored > 2 * used + WASTE:
        return {}
    return {(part[0], part[1]): part for part in base["blocks"]}


def _place(path: Path, offset: int, array: np.ndarray, begin: int, end: int) -> int:
    """Read slots of a column; where the next one begins in the file."""
    part = array[:, begin:end]
    data = np.fromfile(path, np.uint8, part.nbytes, offset=offset)
    array[:, begin:end] = data.view(array.dtype).reshape(part.shape)
    return offset + part.nbytes


def _bytes(array: np.ndarray) -> Any:
    """The bytes of an array, without a copy where they lie in order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


_ZEROS: dict[int, list[int]] = {}


def _zeros(size: int) -> list[int]:
    """What `_changed` says of a block of zeros."""
    if size not in _ZEROS:
        blank = bytes(size)
        _ZEROS[size] = [size, zlib.crc32(blank), zlib.adler32(blank)]
    return _ZEROS[size]
