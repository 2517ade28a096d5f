"""How many seeds fit into one program: the estimate of `wm train` against what is free.

Asked in a process of its own (`wm/cli_cost.py`), since one that has opened an
accelerator keeps its memory.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SHARE = 0.8
"""Of what is free, for replay, learner and tree; the rest is for temporaries."""
PATIENCE = 600
"""Seconds after which an estimate is given up."""


class Cost(NamedTuple):
    """What a run with one seed occupies, in bytes."""

    device: int
    """Of the device (on a CPU: of the machine)."""
    host: int
    """Of the machine, for replay that is kept there."""
    device_free: int | None
    host_free: int | None
    devices: int


def costs(lines: Mapping[Any, Sequence[str]]) -> dict[Any, Cost | None]:
    """Costs of `wm train` lines; None where one cannot be built (it will say why).

    Args:
      lines: words after `wm`, by any key.
    """
    request = json.dumps([list(words) for words in lines.values()])
    env = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wm.cli_cost"],
            input=request,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=env,
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return dict.fromkeys(lines)
    answers = [None if answer is None else Cost(*answer) for answer in found]
    return dict(zip(lines, answers, strict=True))


def fitting(cost: Cost, programs: int = 1, memory: float | None = None) -> int:
    """Seeds that one of several programs at a time has room for, at least one.

    Args:
      cost: of one seed.
      programs: that share the machine.
      memory: bytes for one program, in place of what is free here.
    """
    rooms = []
    if cost.device:
        free = cost.device_free if memory is None else memory * programs
        # Seeds of one program spread over the devices; programs beside it use them.
        devices = cost.devices if memory is None and programs == 1 else 1
        rooms.append((free, cost.device, devices))
    if cost.host:
        rooms.append((cost.host_free, cost.host, 1))
    counts = [
        devices * math.floor(SHARE * free / programs / size)
        for free, size, devices in rooms
        if free is not None
    ]
    return max(min(counts, default=1 << 16), 1)
