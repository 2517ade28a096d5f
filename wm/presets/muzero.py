"""Settings of MuZero: the paper's, and small ones of our own."""

from __future__ import annotations

from typing import Any

from wm.presets.latent_search import ATARI_100K, ATARI_100K_SCHEDULE, UNIT
from wm.presets.preset import Preset

_PAPER = "Schrittwieser et al. 2020, Appendices E to H, and its pseudocode"
_GENERAL = "werner-duvaud/muzero-general 0825bd5"

_SMALL: dict[str, Any] = {"model.norm": "none", "priority_exponent": 0.0}

_RESIDUAL: dict[str, Any] = {
    "model.layers": 16,
    "model.units": 256,
    "model.head_units": 256,
    "optimizer": "sgd",
    "weight_decay": 1e-4,
    "search.method": "puct",
    "search.statistics": "tree",
    "search.noise": 0.25,
}

MUZERO: dict[str, Preset] = {
    "default": Preset(
        agent=_SMALL,
        schedule={
            "envs": 16,
            "batch_size": 128,
            "chunk": 16,
            "updates": 16,
            "prefill": 2_048,
            "replay": 50_000,
            "total": 50_000,
            "log_steps": 5_000,
        },
        source="ours: observations of a few numbers",
    ),
    "catch": Preset(
        agent={
            "search.method": "gumbel",
            "search.gamma": 0.97,
            **UNIT,
            "learning_rate": 2e-3,
        },
        schedule={
            "envs": 64,
            "batch_size": 128,
            "chunk": 9,
            "updates": 40,
            "prefill": 1_152,
            "replay": 11_520,
            "total": 35_000,
            "log_steps": 5_760,
        },
        source="ours: gymnax/Catch-bsuite, a minute on a CPU",
    ),
    "cartpole": Preset(
        agent={
            "search.gamma": 0.997,
            "model.value_limit": 17.0,
            "model.value_bins": 35,
            "model.reward_limit": 1.0,
            "model.reward_bins": 21,
            "steps": 5,
            "learning_rate": 2e-3,
            "value_scale": 0.5,
        },
        schedule={
            "envs": 16,
            "batch_size": 128,
            "chunk": 16,
            "updates": 16,
            "prefill": 2_048,
            "replay": 20_480,
        },
        source="ours: gymnax/CartPole-v1, two minutes on a CPU",
    ),
    "minatar": Preset(
        agent={
            "search.gamma": 0.99,
            "search.simulations": 8,
            "model.units": 128,
            "model.latent": 64,
            "model.head_units": 64,
            "model.value_limit": 8.0,
            "model.value_bins": 41,
            "model.reward_limit": 1.0,
            "model.reward_bins": 21,
            "learning_rate": 1e-3,
        },
        schedule={
            "envs": 64,
            "batch_size": 128,
            "chunk": 8,
            "updates": 8,
            "prefill": 10_240,
            "replay": 102_400,
            "total": 500_000,
            "log_steps": 25_600,
        },
        source="ours: gymnax/…-MinAtar, minutes on a CPU",
    ),
    "tic_tac_toe": Preset(
        agent={
            "search.method": "gumbel",
            "search.gamma": 1.0,
            "search.simulations": 25,
            "search.considered": 9,
            "model.units": 128,
            "model.latent": 64,
            "model.head_units": 64,
            **UNIT,
            "unroll": 3,
            "steps": 9,
            "learning_rate": 2e-3,
        },
        schedule={
            "envs": 128,
            "batch_size": 256,
            "chunk": 10,
            "updates": 20,
            "prefill": 2_560,
            "replay": 25_600,
            "total": 200_000,
            "log_steps": 12_800,
        },
        source="ours; 2e5 moves, 25 simulations, K 3, n 9: opendilab/LightZero 9f717c8",
    ),
    "boards": Preset(
        agent={
            **_RESIDUAL,
            "search.gamma": 1.0,
            "search.simulations": 800,
            "search.temperature_moves": 30,
            "search.noise_alpha": 0.03,
            "model.form": "conv",
            "model.action": "location",
            "model.norm": "layer",
            **UNIT,
            "steps": 400,
            "learning_rate": 0.1,
            "decay_updates": (400_000, 800_000),
            "priority_exponent": 0.0,
        },
        schedule={
            "envs": 1_024,
            "batch_size": 2_048,
            "chunk": 64,
            "updates": 8,
            "prefill": 524_288,
            "replay": 2_000_000,
            "total": 500_000_000,
            "log_steps": 262_144,
        },
        source=f"{_PAPER}: nets, search, optimizer, K; noise of Go; replay ours",
    ),
    "atari": Preset(
        agent={
            **_RESIDUAL,
            "search.gamma": 0.997,
            "search.simulations": 50,
            "search.noise_alpha": 0.25,
            "search.least_range": 1e-6,
            "model.form": "downsample",
            "model.action": "one_hot",
            "model.norm": "layer",
            "model.stack": 32,
            "model.stack_actions": True,
            "steps": 10,
            "learning_rate": 0.05,
            "decay_updates": (350_000, 700_000),
            "priority_exponent": 1.0,
            "temperatures": (1.0, 0.5, 0.25),
            "temperature_updates": (500_000, 750_000),
        },
        schedule={
            "envs": 64,
            "batch_size": 1_024,
            "chunk": 200,
            "updates": 4,
            "prefill": 64_000,
            "replay": 1_000_000,
            "total": 50_000_000,
            "log_steps": 64_000,
        },
        env={"size": 96},
        source=f"{_PAPER}; {_GENERAL}, games/atari.py; replay and ratio ours",
    ),
    "gumbel": Preset(
        agent={"search.method": "gumbel"},
        source="Danihelka et al. 2022 with mctx's defaults; joined with others",
    ),
    "reanalyse": Preset(
        agent={
            "reanalyse": 0.8,
            "fresh_values": True,
            "target_updates": 100,
            "value_scale": 0.25,
            "steps": 5,
        },
        source="Schrittwieser et al. 2020, Appendix H (Reanalyse); joined with others",
    ),
    "atari100k": Preset(
        agent={**ATARI_100K, "search.gamma": 0.997, "weight_decay": 1e-4},
        schedule=ATARI_100K_SCHEDULE,
        env={"size": 96},
        source="YeWR/EfficientZero 468bb03, config/atari, without its three additions",
    ),
}
"""Preset by name."""
