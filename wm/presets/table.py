"""Where the presets of each system are."""

from __future__ import annotations

PRESETS: dict[str, str] = {"dreamer_v3": "wm.presets.dreamer_v3:PRESETS"}
"""`module:attribute` of a mapping from name to `Preset`, by system."""
