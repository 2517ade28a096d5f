"""Settings of MBPO: published tasks, and a small one of our own."""

from __future__ import annotations

from typing import Any

from wm.presets.preset import Preset

_CODE = "jannerm/mbpo ac694ff"


def _task(
    name: str,
    length: tuple[int, int, int, int],
    entropy: float,
    size: int,
    total: int,
    updates: int = 20,
    fit_steps: int = 250,
    **more: Any,
) -> Preset:
    """A task of the paper; `entropy`: the published target, `size`: of actions."""
    agent = {"length": length, "sac.entropy_target": -entropy / size, **more}
    schedule = {
        "updates": updates,
        "chunk": 1,
        "fit_steps": fit_steps,
        "total": total,
        "replay": total + total // 100,
    }
    return Preset(agent=agent, schedule=schedule, source=f"{_CODE}, {name}")


_PENDULUM = {"epoch_steps": 250, "rollouts": 100_000, "retain_fits": 1}

MBPO: dict[str, Preset] = {
    "default": Preset(
        schedule={
            "envs": 1,
            "chunk": 1,
            "updates": 20,
            "prefill": 5_000,
            "fit_steps": 250,
            "total": 125_000,
            "replay": 126_250,
            "log_steps": 1_000,
            "eval_episodes": 10,
        },
        source=f"{_CODE}, hopper, with rollouts of one step",
    ),
    "hopper": _task("hopper", (20, 150, 1, 15), -1.0, 3, 125_000),
    "walker2d": _task("walker2d", (20, 150, 1, 1), -3.0, 6, 300_000),
    "ant": _task("ant", (20, 100, 1, 25), -4.0, 8, 300_000),
    "humanoid": _task(
        "humanoid",
        (20, 300, 1, 25),
        -2.0,
        17,
        300_000,
        fit_steps=1_000,
        retain_fits=5,
        **{"model.units": 400},
    ),
    "halfcheetah": _task("halfcheetah", (20, 150, 1, 1), -3.0, 6, 400_000, updates=40),
    "inverted_pendulum": _task(
        "inverted_pendulum", (1, 15, 1, 1), -0.05, 1, 5_000, updates=10, **_PENDULUM
    ).join(Preset(schedule={"prefill": 500})),
    "pendulum": Preset(
        agent={
            "sac.layers": (64, 64),
            "model.layers": 2,
            "model.units": 64,
            "fit.batch_size": 128,
            "fit.patience": None,
            "fit.steps": 600,
            "batch_size": 128,
            "real_ratio": 0.5,
            "rollouts": 4_000,
            "retain_fits": 5,
        },
        schedule={
            "prefill": 400,
            "fit_steps": 200,
            "total": 2_400,
            "replay": 2_600,
            "log_steps": 200,
        },
        source="ours: classic/pendulum in 2400 steps on a CPU",
    ),
}
"""Preset by name."""
