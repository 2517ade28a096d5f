"""Values that presets of MuZero and EfficientZero have alike."""

from __future__ import annotations

from typing import Any

UNIT: dict[str, Any] = {
    "model.value_limit": 1.0,
    "model.value_bins": 21,
    "model.reward_limit": 1.0,
    "model.reward_bins": 21,
}
"""Values and rewards between -1 and 1. Ours."""

SMALL: dict[str, Any] = {
    "model.norm": "none",
    "model.residual": True,
    "model.span": (-3.0, 3.0),
    "search.statistics": "tree",
    "value_scale": 0.25,
}
"""Small tasks. Ours: a short cut past dynamics and wide latents foresee rewards many
steps ahead; values stretched over the whole tree leave small differences small."""

PAPER: dict[str, Any] = {
    "model.residual": False,
    "model.span": (0.0, 1.0),
    "search.statistics": "tree",
    "value_scale": 1.0,
}
"""What the paper has in place of `SMALL`. Source: Schrittwieser et al. 2020."""

ATARI_100K: dict[str, Any] = {
    **PAPER,
    # 0.997 per frame, four frames per action.
    "search.gamma": 0.988,
    "search.method": "puct",
    "search.simulations": 50,
    "search.noise_alpha": 0.3,
    "model.form": "downsample",
    "model.action": "scalar",
    "model.norm": "layer",
    "model.layers": 1,
    "model.units": 64,
    "model.downsample": (1, 1, 1),
    "model.head_units": 32,
    "model.stack": 4,
    "steps": 5,
    "value_scale": 0.25,
    "optimizer": "sgd",
    "learning_rate": 0.2,
    "decay_updates": (100_000,),
    "max_norm": 5.0,
    "priority_exponent": 0.6,
    "importance": (0.4, 1.0),
    "importance_updates": 100_000,
    "temperatures": (1.0, 0.5, 0.25),
    "temperature_updates": (50_000, 75_000),
    "reanalyse": 0.99,
    "fresh_values": True,
    "target_updates": 200,
}
"""Two hours of Atari. Source: YeWR/EfficientZero 468bb03, config/atari and
core/config.py."""

ATARI_100K_SCHEDULE: dict[str, Any] = {
    "envs": 1,
    "batch_size": 256,
    "chunk": 1,
    "updates": 1,
    "prefill": 2_000,
    "replay": 100_000,
    "total": 100_000,
    "log_steps": 1_000,
}
"""Likewise: an update after every step."""
