"""Settings of AlphaGo: the paper's on a small board, and small ones of our own."""

from __future__ import annotations

from wm.presets.preset import Preset

ALPHAGO: dict[str, Preset] = {
    "default": Preset(
        schedule={
            "envs": 128,
            "chunk": 82,
            "updates": 1,
            "prefill": 1_259_520,
            "replay": 1_259_520,
            "fit_steps": 52_480,
            "total": 3_400_000,
            "log_steps": 52_480,
            "eval_episodes": 32,
        },
        env={"rules": True},
        source="Silver et al. 2016: nets, search, stages; sizes of data ours",
    ),
    "go_9x9": Preset(
        agent={"symmetry": "square", "batch_size": 32, "epochs": 10},
        source="symmetries as in the paper",
    ),
    "connect_four": Preset(
        agent={
            "symmetry": "mirror",
            "net.layers": 1,
            "net.units": 32,
            "net.value_units": 64,
            "net.norm": "layer",
            "teacher.simulations": 50,
            "search.simulations": 32,
            "batch_size": 128,
            "epochs": 20,
            "supervised_rate": 2e-3,
            "value_rate": 2e-3,
            "reinforce_rounds": 10,
            "value_rounds": 20,
        },
        schedule={
            "envs": 128,
            "chunk": 43,
            "prefill": 27_520,
            "replay": 110_080,
            "fit_steps": 5_504,
            "total": 198_000,
            "log_steps": 11_008,
        },
        source="ours, not run",
    ),
    "tic_tac_toe": Preset(
        agent={
            "symmetry": "square",
            "net.form": "mlp",
            "net.layers": 2,
            "net.units": 128,
            "teacher.simulations": 25,
            "search.simulations": 32,
            "batch_size": 256,
            "epochs": 40,
            "supervised_rate": 2e-3,
            "value_rate": 2e-3,
            "reinforce_rate": 3e-4,
            "reinforce_rounds": 20,
            "value_rounds": 20,
        },
        schedule={
            "envs": 256,
            "chunk": 10,
            "prefill": 20_480,
            "replay": 122_880,
            "fit_steps": 5_120,
            "total": 230_000,
            "log_steps": 20_480,
        },
        source="ours: a minute on a CPU",
    ),
}
"""Preset by name."""
