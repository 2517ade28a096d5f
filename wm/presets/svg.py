"""Settings of SVG: one per variant. None are the paper's, which were not at hand."""

from __future__ import annotations

from wm.presets.preset import Preset

SVG: dict[str, Preset] = {
    "default": Preset(
        schedule={
            "envs": 1,
            "chunk": 1,
            "updates": 4,
            "batch_size": 128,
            "prefill": 1_000,
            "fit_steps": 250,
            "total": 20_000,
            "replay": 20_000,
            "log_steps": 1_000,
            "eval_episodes": 10,
        },
        source="ours: SVG(1) with experience replay",
    ),
    "svg0": Preset(
        agent={"horizon": 0}, schedule={"fit_steps": None}, source="ours: SVG(0)"
    ),
    "svg_inf": Preset(
        agent={"horizon": None, "policy_rate": 3e-3},
        schedule={
            "envs": 8,
            "chunk": 51,
            "updates": 1,
            "prefill": 0,
            "fit_steps": None,
            "total": 40_800,
            "log_steps": 4_080,
        },
        source="ours: SVG(infinity), every episode of 50 steps in one chunk",
    ),
    "windows": Preset(
        agent={"gamma": 0.97},
        schedule={"chunk": 40, "total": 160_000, "log_steps": 8_000},
        source="ours: joined to svg_inf, trajectories cut every 40 steps",
    ),
}
"""Preset by name."""
