"""Names of systems; nothing here imports them."""

from __future__ import annotations

from wm.table import Entry

AGENTS: dict[str, Entry] = {
    "dreamer_v3": Entry(
        target="wm.agents.dreamer_v3:DreamerV3",
        description="actor-critic in the imagination of a categorical RSSM "
        "(Hafner et al. 2025)",
    ),
}
"""System by name. Each class has its settings as `Config`."""
