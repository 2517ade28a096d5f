"""Settings of MB-MPO: those of the authors' code, and a small one of our own."""

from __future__ import annotations

from wm.presets.preset import Preset

_CODE = "jonasrothfuss/model_ensemble_meta_learning 8b1351d"

MB_MPO: dict[str, Preset] = {
    "default": Preset(
        schedule={
            "envs": 20,
            "train_ratio": 0.0,
            "prefill": 5_000,
            "fit_steps": 4_000,
            "total": 405_000,
            "log_steps": 4_000,
            # The buffer of their data has as much room.
            "replay": 100_000,
            "eval_episodes": 20,
        },
        source=f"{_CODE}, mb_mpo_train.py: 20 rollouts of 200 steps per fit; the outer "
        "step is that of mb-mpo-ppo-train.py",
    ),
    "me_ppo": Preset(
        agent={"inner_rate": 0.0},
        source="Kurutach et al. 2018 (ME-TRPO) with PPO: the same without adaptation",
    ),
    "pendulum": Preset(
        agent={
            "model.layers": 2,
            "model.units": 64,
            "model.act": "silu",
            "fit.batch_size": 128,
            "fit.persistency": None,
            "fit.holdout": 0.1,
            "fit.steps": 1_000,
            "inner_rate": 1e-2,
            "learning_rate": 3e-3,
            "clip": 0.3,
            "tasks": 1,
            "paths": 20,
            "length": 100,
            "gamma": 0.95,
            "starts": "all",
        },
        schedule={
            "envs": 5,
            "prefill": 1_000,
            "fit_steps": 1_000,
            "total": 6_000,
            "log_steps": 1_000,
            "replay": 6_100,
        },
        source="ours: classic/pendulum in 6000 steps on a CPU",
    ),
}
"""Preset by name."""
