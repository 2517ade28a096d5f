"""Which buffer a run gets."""

from __future__ import annotations

from typing import Any

from wm.data.host_replay import HostReplay
from wm.data.replay import Replay
from wm.errors import UserError
from wm.train.schedule import Schedule

RESERVED = ("label", "reanalyse")
"""Batches that are not for `update`: the window of `label` (B, W), and what
`reanalyse` gets."""


def default_buffer(agent: Any, schedule: Schedule) -> Any:
    """`agent.buffer(schedule)` where there is one, else uniform replay.

    Raises:
      UserError: the agent's own buffer has no form in host memory.
    """
    host = schedule.replay_tier == "host"
    if hasattr(agent, "buffer"):
        buffer = agent.buffer(schedule)
        if not host or isinstance(buffer, HostReplay):
            return buffer
        if isinstance(buffer, Replay):
            return HostReplay(buffer.capacity, buffer.length, buffer.newest_first)
        raise UserError(
            "--train.replay_tier host: this agent's buffer is on the device"
        )
    batches = agent.batches(schedule)
    lengths = [L for name, (_, L) in batches.items() if name not in RESERVED]
    length = max(lengths, default=1)
    return (HostReplay if host else Replay)(capacity=schedule.replay, length=length)
