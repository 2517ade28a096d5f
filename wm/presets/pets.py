"""Settings of PETS: published tasks, propagations, and a small one of our own."""

from __future__ import annotations

from typing import Any

from wm.presets.preset import Preset

_CODE = "kchua/handful-of-trials 77fd880"


def _task(
    name: str,
    trials: int,
    length: int,
    layers: int,
    units: int,
    horizon: int,
    samples: int,
    decay: tuple[float, ...],
    **agent: Any,
) -> Preset:
    """A task of the paper: an episode at random, a fit after every episode."""
    return Preset(
        agent={
            "model.layers": layers,
            "model.units": units,
            "fit.weight_decay": decay,
            "plan.horizon": horizon,
            "plan.samples": samples,
            "plan.elites": samples // 10,
            **agent,
        },
        schedule={
            "total": (trials + 1) * length,
            "prefill": length,
            "fit_steps": length,
            "log_steps": length,
            "replay": (trials + 1) * (length + 1),
        },
        source=f"{_CODE}, {name}",
    )


def _propagation(name: str, **values: Any) -> Preset:
    settings = {f"model.{key}": value for key, value in values.items()}
    return Preset(agent=settings, source=f"Chua et al. 2018, section 5 ({name})")


PETS: dict[str, Preset] = {
    "default": Preset(
        schedule={
            "envs": 1,
            "train_ratio": 0.0,
            "prefill": 200,
            "fit_steps": 200,
            "total": 10_200,
            "log_steps": 200,
            "replay": 10_251,
            "eval_episodes": 10,
        },
        source=f"{_CODE}, cartpole: episodes of 200 steps",
    ),
    "cartpole": _task(
        "cartpole", 50, 200, 3, 500, 25, 400, (1e-4, 2.5e-4, 2.5e-4, 5e-4)
    ),
    "reacher": _task(
        "reacher",
        100,
        150,
        4,
        200,
        25,
        400,
        (2.5e-4, 5e-4, 5e-4, 5e-4, 7.5e-4),
        **{"fit.learning_rate": 7.5e-4},
    ),
    "pusher": _task("pusher", 100, 150, 3, 200, 25, 500, (2.5e-4, 5e-4, 5e-4, 7.5e-4)),
    "halfcheetah": _task(
        "half-cheetah",
        300,
        1000,
        4,
        200,
        30,
        500,
        (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4),
        # The velocity in front, then height and angle of the trunk.
        **{"model.absolute": (0,), "model.angles": (2,)},
    ).join(Preset(env={"velocity": True})),
    "ts1": _propagation("TS1", propagation="ts1"),
    "ds": _propagation("DS", propagation="ds"),
    "mm": _propagation("MM", propagation="mm"),
    "expectation": _propagation("E", propagation="mean", particles=1),
    "deterministic": _propagation("DE, TS-infinity", gaussian=False),
    "beta": Preset(
        agent={"model.gaussian": True, "fit.beta": 0.5},
        source="Seitzer et al. 2022: variances without harm to the means",
    ),
    "swingup": Preset(
        agent={
            "model.gaussian": False,
            "model.layers": 2,
            "model.units": 64,
            "model.particles": 5,
            "model.angles": (2,),
            "fit.batch_size": 64,
            "fit.steps": 400,
            "fit.weight_decay": (),
            "plan.samples": 100,
            "plan.elites": 10,
            "plan.iterations": 3,
            "plan.horizon": 20,
        },
        schedule={
            "total": 400,
            "prefill": 50,
            "fit_steps": 50,
            "log_steps": 50,
            "replay": 1_000,
            "eval_episodes": 8,
        },
        source="ours: classic/cartpole_swingup in 400 steps on a CPU",
    ),
}
"""Preset by name."""
