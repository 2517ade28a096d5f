"""Bytes that a compiled program sends between devices, from the text of its HLO.

Each collective counts the bytes of its result on one device, times the iterations of
the loops around it. Loops whose count is not known when compiling (the chunks of an
interval) count once: figures are per chunk.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

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
DEVICES = re.compile(r"(?:num_partitions|replica_count)=(\d+)")
LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{.*?\})?\}")
AXES = re.compile(r"replica_groups=mesh\[((?:'\w+'=\d+,?)+)\] \{((?:'\w+',?)+)\}")
SHORT = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")


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


def partners(text: str) -> set[frozenset[int]]:
    """Groups of devices that send to each other anywhere in a program."""
    everyone = max(map(int, DEVICES.findall(text)), default=1)
    lines = filter(OPERATION.search, text.splitlines())
    groups = (group for line in lines for group in _groups(line, everyone))
    return {frozenset(group) for group in groups}


def across(text: str, groups: Iterable[set[int]]) -> list[float]:
    """Bytes of each collective in which devices of several of these groups take part;
    loops are not counted."""
    found, groups = [], list(groups)
    everyone = max(map(int, DEVICES.findall(text)), default=1)
    for line in text.splitlines():
        operation = OPERATION.search(line)
        if operation is None:
            continue
        inside = lambda part: any(group.issuperset(part) for group in groups)
        if not all(map(inside, _groups(line, everyone))):
            found.append(bytes_of(operation[1]))
    return found


def _groups(line: str, everyone: int) -> list[list[int]]:
    """Who takes part in a collective, in any of the ways in which XLA writes it.

    `{{0,1},{2,3}}`, or `{}` for all devices; `[2,2]<=[2,2]T(1,0)`, rows of a transposed
    count; `mesh['a'=2,'b'=2] {'b'}`, along axes.
    """
    listed, short, axes = LISTED.search(line), SHORT.search(line), AXES.search(line)
    if axes:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", axes[1]))
        names, along = list(sizes), re.findall(r"\w+", axes[2])
        dims = [int(size) for size in sizes.values()]
        order = [i for i, name in enumerate(names) if name not in along]
        rows = [-1, math.prod(int(sizes[name]) for name in along)]
        order += [names.index(name) for name in along]
    elif short:
        rows, dims = _whole(short[1]), _whole(short[2])
        order = _whole(short[3]) if short[3] else list(range(len(dims)))
    elif listed and listed[1]:
        return [_whole(group) for group in re.findall(r"\{([\d,]+)\}", listed[1])]
    elif listed:
        return [list(range(everyone))]
    else:
        raise ValueError(f"who talks to whom? {line.strip()}")
    count = np.arange(math.prod(dims)).reshape(dims)
    return count.transpose(order).reshape(rows).tolist()


def _whole(words: str) -> list[int]:
    return [int(word) for word in words.split(",")]


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
