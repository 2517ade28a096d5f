"""Settings of AlphaZero: pgx's example, the paper's, and small ones of our own."""

from __future__ import annotations

from typing import Any

from wm.presets.preset import Preset

_PGX = "sotetsuk/pgx 079b2d7, examples/alphazero"

_FOUR: dict[str, Any] = {
    "symmetry": "mirror",
    "search.simulations": 16,
    "search.considered": 7,
    "net.units": 32,
    "net.value_units": 64,
    "value_scale": 1.0,
    "learning_rate": 2e-3,
}
_FOUR_SCHEDULE = {"envs": 128, "batch_size": 256, "chunk": 21, "updates": 42}

ALPHAZERO: dict[str, Preset] = {
    "default": Preset(
        agent={"value_scale": 0.5},
        schedule={
            "envs": 1_024,
            "batch_size": 4_096,
            "chunk": 256,
            "updates": 64,
            "prefill": 0,
            "replay": 524_288,
            "total": 104_857_600,
            "log_steps": 262_144,
            "eval_episodes": 128,
        },
        env={"rules": True},
        source=f"{_PGX}: 400 rounds of 1024 games, 256 plies, one epoch",
    ),
    "paper": Preset(
        agent={
            "search.method": "puct",
            "search.statistics": "bounds",
            "search.simulations": 800,
            "search.temperature_moves": 30,
            "net.layers": 19,
            "net.units": 256,
            "net.value_units": 256,
            "optimizer": "sgd",
            "learning_rate": 0.2,
            "decay_updates": (100_000, 300_000, 500_000),
            "value_scale": 1.0,
            "weight_decay": 1e-4,
        },
        schedule={"batch_size": 4_096},
        source="Silver et al. 2018: search, net and optimizer",
    ),
    "go_9x9": Preset(
        agent={"symmetry": "square", "search.value_scale": 1.0},
        source=f"{_PGX}; symmetries of AlphaGo Zero; c_scale of Danihelka et al. 2022",
    ),
    "gardner_chess": Preset(
        agent={"search.value_scale": 1.0},
        source=f"{_PGX}; c_scale of Danihelka et al. 2022",
    ),
    "othello": Preset(
        agent={"symmetry": "square"},
        schedule={"replay": 393_216},
        source=f"{_PGX}; symmetries ours",
    ),
    "connect_four": Preset(
        agent={**_FOUR, "net.layers": 1},
        schedule={
            **_FOUR_SCHEDULE,
            "total": 107_520,
            "replay": 65_536,
            "log_steps": 5_376,
        },
        source="ours: two minutes on a CPU",
    ),
    "connect_four_hour": Preset(
        agent={**_FOUR, "net.layers": 2, "decay_updates": (13_000, 18_500)},
        schedule={
            **_FOUR_SCHEDULE,
            "total": 1_400_000,
            "replay": 262_144,
            "log_steps": 26_880,
        },
        source="ours: an hour on one core",
    ),
    "2048": Preset(
        agent={
            "search.method": "stochastic",
            "search.simulations": 50,
            "search.gamma": 0.999,
            "search.temperature": 0.5,
            "net.layers": 2,
            "net.units": 64,
            "outcome_scale": 5_000.0,
            "game_moves": 500,
            "learning_rate": 1e-3,
        },
        schedule={
            "envs": 64,
            "batch_size": 512,
            "chunk": 50,
            "updates": 20,
            "total": 3_200_000,
            "replay": 131_072,
            "log_steps": 32_000,
        },
        source="ours, not run; search of Antonoglou et al. 2022 with half of the 100 "
        "simulations, gamma as there",
    ),
    "tic_tac_toe": Preset(
        agent={
            "symmetry": "square",
            "net.form": "mlp",
            "net.layers": 2,
            "net.units": 128,
            "net.norm": "none",
            "value_scale": 1.0,
            "learning_rate": 2e-3,
        },
        schedule={
            "envs": 256,
            "batch_size": 512,
            "chunk": 9,
            "updates": 40,
            "total": 69_120,
            "replay": 18_432,
            "log_steps": 6_912,
        },
        source="ours: a minute on a CPU",
    ),
}
"""Preset by name."""
