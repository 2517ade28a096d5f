"""Settings of the tabular systems, as in Sutton & Barto's mazes."""

from __future__ import annotations

from wm.presets.preset import Preset

_BOOK = "Sutton & Barto 2018"
_EVERY_STEP = Preset(
    schedule={
        "envs": 1,
        "chunk": 1,
        "updates": 1,
        "prefill": 0,
        "total": 10_000,
        "log_steps": 500,
        "eval_episodes": 10,
    },
    source="ours: one environment, one update after every step",
)

Q_LEARNING: dict[str, Preset] = {"default": _EVERY_STEP}
DYNA_Q: dict[str, Preset] = {
    "default": _EVERY_STEP,
    "figure_8_4": Preset(
        agent={"planning_steps": 10, "rate": 1.0},
        schedule={"total": 3_000},
        source=f"{_BOOK}, Figure 8.4 (rate: code of ShangtongZhang)",
    ),
    "figure_8_5": Preset(
        agent={"planning_steps": 50, "rate": 1.0},
        schedule={"total": 6_000},
        source=f"{_BOOK}, Figure 8.5 (rate: code of ShangtongZhang)",
    ),
    "plus": Preset(
        agent={"bonus": 1e-3, "all_actions": True},
        source=f"{_BOOK}, section 8.3 (Dyna-Q+); bonus of Figure 8.5 (8.4: 1e-4)",
    ),
}
PRIORITIZED_SWEEPING: dict[str, Preset] = {
    "default": _EVERY_STEP,
    "counted": Preset(
        agent={"model": "counted"},
        source="Moore & Atkeson 1993: full backups over counted transitions",
    ),
}
