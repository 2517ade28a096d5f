"""What a saved step consists of, and whether it is still that.

`manifest.json` of a step names every file it needs with its size and checksum, and ends
with a checksum of its own: no bit of a step can change unnoticed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FORMAT = 2
"""Of the manifest and of how leaves are stored."""

NAME = "manifest.json"

_END = ', "crc32": {}}}'
_PIECE = 1 << 22


class Damaged(Exception):
    """A step that cannot be used, and why."""


def write(folder: Path, body: dict[str, Any]) -> None:
    """Write `body` as the manifest of `folder`, at once or not at all."""
    text = json.dumps({"format": FORMAT, **body})
    text = text[:-1] + _END.format(zlib.crc32(text.encode()))
    part = folder / f"{NAME}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / NAME)


def read(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`.

    Raises:
      Damaged: there is none, it has changed, or another version wrote it.
    """
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
        body = json.loads(text)
    except (OSError, ValueError) as error:
        raise Damaged(f"{NAME}: {reason(error)}") from error
    form = body.get("format") if isinstance(body, dict) else None
    if isinstance(form, int) and form != FORMAT and "crc32" not in body:
        raise Damaged(f"format {form}, this version reads {FORMAT}")
    head = text.rpartition(', "crc32": ')[0] + "}"
    if text != head[:-1] + _END.format(zlib.crc32(head.encode())):
        raise Damaged(f"{NAME}: checksum")
    if form != FORMAT:
        raise Damaged(f"format {form}, this version reads {FORMAT}")
    return body


def sums(folder: Path, root: Path) -> dict[str, list[int]]:
    """Size and checksum of every file below `folder`, by its path from `root`."""
    files = sorted(x for x in folder.rglob("*") if x.is_file())
    return {str(x.relative_to(root)): list(file_sum(x)) for x in files}


def file_sum(path: Path) -> tuple[int, int]:
    """Bytes of a file and their CRC."""
    size = crc = 0
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            size += len(piece)
            crc = zlib.crc32(piece, crc)
    return size, crc


def verify(root: Path, files: dict[str, list[int]], names: Iterable[str]) -> None:
    """Compare files with their sizes and checksums.

    Raises:
      Damaged: one is missing or different.
    """
    for name in names:
        try:
            size, crc = file_sum(root / name)
        except OSError as error:
            raise Damaged(f"{name}: {reason(error)}") from error
        if size != files[name][0]:
            raise Damaged(f"{name}: {size:,} bytes in place of {files[name][0]:,}")
        if crc != files[name][1]:
            raise Damaged(f"{name}: checksum")


def reason(error: Exception) -> str:
    """One short line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if "RESOURCE_EXHAUSTED" in str(error) or "No space left" in str(error):
        return "no space left on device"
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:120]
