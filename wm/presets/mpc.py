"""Settings of planning on the rules, with the planners' published forms."""

from __future__ import annotations

from typing import Any

from wm.planners import published
from wm.presets.preset import Preset


def _form(planner: str, source: str, **values: Any) -> Preset:
    settings = {f"plan.{planner}.{name}": value for name, value in values.items()}
    return Preset(agent={"planner": planner, **settings}, source=source)


PRESETS: dict[str, Preset] = {
    "default": Preset(
        schedule={
            "envs": 4,
            "chunk": 1,
            "updates": 1,
            "prefill": 0,
            "total": 400,
            "log_steps": 200,
            "eval_episodes": 16,
        },
        env={"rules": True},
        source="ours: nothing is learned, so few steps and then the evaluation",
    ),
    "pets": _form("cem", "kchua/handful-of-trials 77fd880 (cartpole)"),
    "planet": _form(
        "cem",
        "Hafner et al. 2019, section 3",
        **published.PLANET,
    ),
    "icem": _form("icem", "martius-lab/iCEM 98c1c1f (blitz budget)"),
    "icem_white": _form("icem", "the same without colored noise", beta=0.0),
    "mbrl_lib": _form("mppi", "facebookresearch/mbrl-lib 3f93ccc (MPPI)"),
    "td_mpc": _form(
        "mppi",
        "Hansen et al. 2022 (TD-MPC), without samples of the policy",
        **published.TD_MPC,
    ),
    "mb_mf": _form("shooting", "nagaban2/nn_dynamics b76a62f (half-cheetah)"),
    "grbal": _form("shooting", "iclavera/learning_to_adapt bd7d99b", **published.GRBAL),
}
"""Preset by name."""
