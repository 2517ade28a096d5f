"""Settings of PILCO: the scenarios of the authors' code."""

from __future__ import annotations

from math import pi

from wm.presets.preset import Preset

_CODE = "UCL-SML/pilco-matlab a0b48b7"


def _trials(count: int, length: int = 40) -> dict[str, int]:
    """One episode at random, then so many, with a fit before each."""
    return {
        "total": (count + 1) * length,
        "replay": (count + 2) * (length + 1),
    }


PILCO: dict[str, Preset] = {
    "default": Preset(
        schedule={
            "envs": 1,
            "train_ratio": 0.0,
            "prefill": 40,
            # An episode, and the record that begins the next one.
            "fit_steps": 41,
            "log_steps": 41,
            "eval_episodes": 10,
            **_trials(10),
        },
        source=f"{_CODE}: episodes of 40 steps, a fit after every episode",
    ),
    "pendulum": Preset(
        agent={
            "model.angles": (0,),
            "model.target": (pi, 0.0),
            "model.distance": (0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
            "model.width": 0.5,
            "model.points": 400,
            "policy.basis": 20,
            "iterations": 75,
        },
        schedule=_trials(10),
        source=f"{_CODE}, settings_pendulum.m, loss_pendulum.m (one of two known "
        "copies; the other has dt 0.2, 6 Nm, 30 basis functions)",
    ),
    "cartpole": Preset(
        agent={
            "model.angles": (2,),
            "model.target": (0.0, 0.0, pi, 0.0),
            # Row 1: x + 0.5 sin, row 2: 0.5 cos, of (x, v, angle, w, sin, cos).
            "model.distance": (
                *(1.0, 0.0, 0.0, 0.0, 0.5, 0.0),
                *(0.0, 0.0, 0.0, 0.0, 0.0, 0.5),
            ),
            "model.width": 0.25,
            "model.points": 600,
            "policy.basis": 10,
            "iterations": 150,
        },
        schedule=_trials(15),
        env={"time_limit": 40},
        source=f"{_CODE}, settings_cp.m, loss_cp.m",
    ),
}
"""Preset by name."""
