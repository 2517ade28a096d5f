"""Settings of MB-MF: published tasks, and a small one of our own."""

from __future__ import annotations

import math
from typing import Any

from wm.presets.preset import Preset

_CODE = "nagaban2/nn_dynamics b76a62f"


def _task(
    name: str,
    length: int,
    random: int,
    samples: int,
    horizon: int,
    aggregation: tuple[int, int],
    epochs: int,
    dagger: tuple[int, int],
    imitation: int,
    std: float,
    noise: float,
    window: int = 50_000,
    fraction_new: float = 0.9,
    random_length: int | None = None,
) -> Preset:
    """A task of the paper: a round is a rollout of `length` steps and its reset, and
    PPO learns from as many whole rollouts as make `window` steps. Of random rollouts
    there are as many steps as theirs have, not cut where theirs are."""
    rounds = math.prod(aggregation) + 60 + math.prod(dagger)
    record, rollouts = length + 1, window // length
    prefill = random * ((random_length or length) + 1)
    # Chunks are rollouts, and a part of one counts as a whole.
    before = (-(-prefill // record) + rounds) * record
    agent: dict[str, Any] = {
        "plan.shooting.samples": samples,
        "plan.shooting.horizon": horizon,
        "aggregation": aggregation,
        "fit.epochs": epochs,
        "fit.fraction_new": fraction_new,
        "action_noise": noise,
        "dagger": dagger,
        "imitation.epochs": imitation,
        "ppo.log_std": math.log(std),
        "window": rollouts * record,
    }
    return Preset(
        agent=agent,
        schedule={
            "chunk": record,
            "prefill": prefill,
            "fit_steps": record,
            "total": before + 100 * window,
            "replay": before,
            "log_steps": record,
        },
        source=f"{_CODE}, {name}; PPO (theirs TRPO), 100 updates",
    )


_HALFCHEETAH = _task(
    "half-cheetah", 1_000, 10, 1_000, 20, (7, 9), 60, (3, 2), 300, 0.5, 0.005
)

MB_MF: dict[str, Preset] = {
    "default": _HALFCHEETAH.join(
        Preset(schedule={"envs": 1, "updates": 1, "eval_episodes": 10})
    ),
    "swimmer": _task(
        "swimmer, frames skipped 150",
        *(333, 25, 5_000, 20, (6, 9), 30, (3, 5), 70, 1.0, 0.005),
    ),
    "halfcheetah": _HALFCHEETAH,
    "hopper": _task(
        "hopper",
        *(1_000, 20, 1_000, 40, (5, 10), 40, (5, 5), 200, 1.0, 0.0),
        window=25_000,
        random_length=200,
    ),
    "ant": _task(
        *("ant", 1_000, 700, 15_000, 5, (1, 1), 20, (5, 5), 200, 0.5, 0.0),
        fraction_new=0.5,
    ),
    "swingup": Preset(
        agent={
            "model.layers": 2,
            "model.units": 64,
            "model.act": "silu",
            "model.angles": (2,),
            "fit.batch_size": 64,
            "fit.steps": 400,
            "planner": "cem",
            "plan.cem.samples": 100,
            "plan.cem.elites": 10,
            "plan.cem.iterations": 3,
            "plan.cem.horizon": 20,
            "aggregation": (7, 1),
            "action_noise": 0.0,
            "demonstrations": 30,
            "dagger": (3, 5),
            "imitation.batch_size": 128,
            "imitation.steps": 8_000,
            "ppo.minibatches": 4,
            "window": 1_020,
        },
        schedule={
            "chunk": 51,
            "prefill": 51,
            "fit_steps": 51,
            "log_steps": 51,
            "total": 33_250,
            "replay": 2_703,
            "eval_steps": 2_700,
            "eval_episodes": 16,
        },
        source="ours: classic/cartpole_swingup in 2650 steps, then 30 updates of PPO",
    ),
    "shooting": Preset(
        agent={
            "planner": "shooting",
            "plan.shooting.samples": 1_000,
            "plan.shooting.horizon": 20,
        },
        source=f"{_CODE}: random shooting, 1000 sequences of 20 (half-cheetah)",
    ),
}
"""Preset by name."""
