"""Which buffer a run gets."""

from __future__ import annotations

import dataclasses
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
    if schedule.replay_parts > 1:
        return in_parts(agent, schedule)
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


def in_parts(agent: Any, schedule: Schedule) -> Replay:
    """`default_buffer`, divided into `schedule.replay_parts`.

    Raises:
      UserError: it is another kind of buffer.
    """
    whole = default_buffer(agent, dataclasses.replace(schedule, replay_parts=1))
    if not isinstance(whole, Replay):
        raise UserError(
            f"--train.replay_parts {schedule.replay_parts}: only a uniform replay on "
            f"the device can be divided, this is a {type(whole).__name__}"
        )
    return dataclasses.replace(whole, parts=schedule.replay_parts)
