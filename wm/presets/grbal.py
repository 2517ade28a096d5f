"""Settings of GrBAL: those of the authors' code, and a small one of our own."""

from __future__ import annotations

from wm.presets.preset import Preset

_CODE = "iclavera/learning_to_adapt bd7d99b"

GRBAL: dict[str, Preset] = {
    "default": Preset(
        schedule={
            "envs": 5,
            "train_ratio": 0.0,
            "prefill": 5_000,
            "fit_steps": 5_000,
            "total": 255_000,
            "log_steps": 5_000,
            "replay": 256_000,
            "eval_episodes": 10,
        },
        source=f"{_CODE}, run_grbal.py: 5 rollouts of 1000 steps per fit, half-cheetah",
    ),
    "mb_mpc": Preset(
        agent={"fit.inner_rate": 0.0},
        source=f"{_CODE}: the baseline that does not adapt; differs: trained on the "
        "second halves of the same windows",
    ),
    "first_order": Preset(
        agent={"fit.first_order": True},
        source="Finn et al. 2017, section 5.2: no second derivatives",
    ),
    "masses": Preset(
        agent={
            "model.layers": 2,
            "model.units": 64,
            "model.act": "silu",
            "fit.inner_rate": 0.1,
            "fit.batch_size": 50,
            "fit.steps": 2_000,
            "fit.persistency": None,
            "plan.shooting.horizon": 20,
            "plan.shooting.samples": 200,
        },
        schedule={
            "envs": 5,
            "total": 3_000,
            "prefill": 2_000,
            "fit_steps": 1_000,
            "log_steps": 1_000,
            "replay": 3_050,
            "eval_episodes": 20,
        },
        source="ours: classic/pendulum_masses in 3000 steps on a CPU",
    ),
}
"""Preset by name."""
