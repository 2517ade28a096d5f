"""Settings of EfficientZero: the paper's, V2's, and small ones of our own."""

from __future__ import annotations

from typing import Any

from wm.presets.latent_search import ATARI_100K, ATARI_100K_SCHEDULE, SMALL, UNIT
from wm.presets.preset import Preset

_CODE = "YeWR/EfficientZero 468bb03, config/atari and core/config.py"
_V2 = "Shengjiewang-Jason/EfficientZeroV2 12b9e77, ez/config/exp/atari.yaml"

_SMALL: dict[str, Any] = {
    **SMALL,
    "target_updates": 100,
    "importance_updates": 5_000,
}

_CATCH: dict[str, Any] = {
    **_SMALL,
    "search.method": "gumbel",
    "search.simulations": 8,
    "search.gamma": 0.97,
    **UNIT,
    "model.memory": 32,
    "priority_exponent": 0.0,
    "learning_rate": 2e-3,
}

EFFICIENTZERO: dict[str, Preset] = {
    "default": Preset(
        agent=_SMALL,
        schedule={
            "envs": 8,
            "batch_size": 64,
            "chunk": 4,
            "updates": 8,
            "prefill": 1_024,
            "replay": 50_000,
            "total": 20_000,
            "log_steps": 2_048,
        },
        source="ours: observations of a few numbers",
    ),
    "catch": Preset(
        agent=_CATCH,
        schedule={
            "envs": 16,
            "batch_size": 128,
            "chunk": 9,
            "updates": 80,
            "prefill": 1_152,
            "replay": 11_520,
            "total": 10_000,
            "log_steps": 1_152,
        },
        source="ours: gymnax/Catch-bsuite, minutes on a CPU",
    ),
    "pixels": Preset(
        agent={**_CATCH, "pad": 1, "intensity": 0.05},
        schedule={
            "envs": 16,
            "batch_size": 64,
            "chunk": 6,
            "updates": 96,
            "prefill": 960,
            "replay": 9_600,
            "total": 10_000,
            "log_steps": 960,
        },
        source="ours: pixels/catch, pictures as vectors",
    ),
    "atari100k": Preset(
        agent={
            **ATARI_100K,
            "search.least_range": 0.01,
            "search.noise": 0.25,
            "model.residual": True,
            "model.stretch": False,
            "model.planes": 16,
            "model.memory": 512,
            "model.prefix_horizon": 5,
            "model.projection": 1_024,
            "model.bottleneck": 512,
            "unroll": 5,
            "horizon_interval": 30_000,
            "consistency_scale": 2.0,
            "pad": 4,
            "intensity": 0.05,
            "sign_rewards": True,
            # PyTorch adds 1e-4 θ to the gradient: half of that times ‖θ‖².
            "weight_decay": 5e-5,
            "warmup_updates": 1_000,
        },
        schedule=ATARI_100K_SCHEDULE,
        env={"size": 96},
        source=_CODE,
    ),
    "v2": Preset(
        agent={
            "search.method": "gumbel",
            "search.simulations": 16,
            "search.considered": 4,
            "search.value_scale": 0.1,
            "temperatures": (),
            "temperature_updates": (),
            "value_scale": 0.5,
            "consistency_scale": 5.0,
            "priority_exponent": 1.0,
            "importance": (1.0, 1.0),
            "reanalyse": 1.0,
            "mixed_updates": 30_000,
            "mixed_age": 5_000,
            # With mixed targets theirs shortens no returns, and lowers no step size.
            "horizon_interval": 0,
            "decay_updates": (),
        },
        source=f"{_V2}; joined with others",
    ),
}
"""Preset by name."""
