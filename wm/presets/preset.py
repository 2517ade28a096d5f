"""What a preset is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Preset:
    """Partial settings as values. What is not named keeps its default."""

    agent: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the system's `Config`."""
    schedule: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of `wm.train.schedule.Schedule`."""
    env: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the environment."""
    source: str = ""
    """Where the values were published, in one line."""

    def join(self, other: Preset) -> Preset:
        """Both; where they disagree, `other`."""
        return Preset(
            agent={**self.agent, **other.agent},
            schedule={**self.schedule, **other.schedule},
            env={**self.env, **other.env},
            source="; ".join(filter(None, (self.source, other.source))),
        )
