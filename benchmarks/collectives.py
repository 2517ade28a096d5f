"""Bytes that a compiled program sends between devices, from the text of its HLO.

Each collective counts the bytes of its result on one device, times the iterations of
the loops around it. Loops whose count is not known when compiling (the chunks of an
interval) count once: figures are per chunk.
"""

from __future__ import annotations

import collections
import math
import re
from typing import NamedTuple

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
SIZES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}

HEAD = re.compile(r"^(?:ENTRY )?%?([\w.-]+) .*\{$")
OPERATION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


class Traffic(NamedTuple):
    """What one device receives, by kind."""

    bytes: dict[str, float]
    calls: dict[str, float]
    inner: float
    """Share of the bytes that is sent inside a loop."""


def traffic(text: str) -> Traffic:
    """Of one run of the entry computation."""
    computations = _computations(text)
    entry = re.search(r"^ENTRY %?([\w.-]+)", text, re.MULTILINE)
    assert entry is not None
    sent, calls = collections.Counter(), collections.Counter()
    inner = [0.0]

    def visit(name: str, times: float) -> None:
        for line in computations.get(name, ()):
            found = OPERATION.search(line)
            if found:
                size = bytes_of(found[1]) * times
                sent[found[2]] += size
                calls[found[2]] += times
                inner[0] += size if times > 1 else 0.0
            trips = TRIPS.search(line)
            factor = float(trips[1]) if trips and " while(" in line else 1.0
            called = CALLED.findall(line)
            for names in BRANCHES.findall(line):
                called += re.findall(r"%?([\w.-]+)", names)
            for other in called:
                visit(other, times * factor)

    visit(entry[1], 1.0)
    total = sum(sent.values())
    return Traffic(dict(sent), dict(calls), inner[0] / total if total else 0.0)


def bytes_of(shape: str) -> float:
    """Bytes of `f32[4,8]{1,0}` or of a tuple of such."""
    sizes = ((SIZES.get(kind, 0), dims) for kind, dims in ARRAY.findall(shape))
    count = lambda dims: math.prod(int(x) for x in dims.split(",") if x)
    return float(sum(size * count(dims) for size, dims in sizes))


def _computations(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        head = HEAD.match(line)
        if head:
            lines = found.setdefault(head[1], [])
        else:
            lines.append(line)
    return found
