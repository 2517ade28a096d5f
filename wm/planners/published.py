"""Published settings of planners that differ from the defaults, as plain values.

Planners and presets both take them from here; importing this file imports nothing.
"""

from __future__ import annotations

from typing import Any

PLANET: dict[str, Any] = {
    "horizon": 12,
    "samples": 1000,
    "elites": 100,
    "iterations": 10,
    "smoothing": 0.0,
    "spread": 1.0,
    "bounds": "clip",
    "least_variance": 0.0,
    "warm_start": False,
}
"""Hafner et al. 2019, section 3, for CEM."""
ICEM: dict[str, Any] = {
    "horizon": 30,
    "samples": 40,
    "elites": 10,
    "iterations": 3,
    "bounds": "clip",
    "least_variance": 0.0,
    "beta": 2.0,
    "decay": 1.25,
    "reuse": 0.3,
    "try_mean": True,
    "execute": "best",
    "repeat_last": True,
}
"""martius-lab/iCEM 98c1c1f, its smallest budget ("blitz"), for CEM."""
TD_MPC: dict[str, Any] = {
    "horizon": 5,
    "samples": 512,
    "elites": 64,
    "iterations": 6,
    "temperature": 2.0,
    "sigma": 2.0,
    "bounds": "clip",
    "blend": 1.0,
    "refit": True,
    "momentum": 0.1,
    "repeat_last": False,
    "execute": "sample",
}
"""Hansen et al. 2022 after its warm-up, without the policy's samples, for MPPI."""
GRBAL: dict[str, Any] = {"horizon": 10, "samples": 500}
"""iclavera/learning_to_adapt bd7d99b, for random shooting."""
