"""How published numbers were taken, and what sets a run of ours apart from them.

Two numbers compare when they average the same kind of episodes, of the same part of
training, after as many simulator steps, over as many runs. What differs is said; what
is not known is said too.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from wm.report.reference import Published
from wm.report.summary import Summary

FEW_SEEDS = 3
"""Below this many of ours, the spread between seeds is a guess."""
BUDGET = 0.02
"""Relative difference of budgets that is none (records that begin episodes)."""


class Protocol(NamedTuple):
    """What a published number is the mean of."""

    episodes: Literal["training", "evaluation", ""]
    """With exploration, or played apart from training; empty where unknown."""
    window: float | None
    """Last part of the budget whose episodes count; None: after training."""
    said: str
    """The same in words."""


TRAINING = "training episodes (exploration included) of the last {:.1%} of the budget"
RULES = (
    ("atari100k", ("DreamerV3 (2023)", "DreamerV3 (2024)", "PPO (Dre"), 0.025),
    ("atari_200m", ("DreamerV3", "DreamerV2"), 0.01),
    ("dmc_", ("DreamerV3 (2023)", "DreamerV3 (2024)", "PPO (Dre", "D4PG"), 0.04),
    ("procgen_hard", ("DreamerV3",), 0.02),
    ("dmlab30", ("DreamerV3",), 0.02),
)
"""Benchmark, methods (by how their names begin) and window of those that report
training episodes; see `data/README.md`."""
EVALUATED = (
    ("atari100k", ("IRIS", "delta-IRIS", "DIAMOND", "STORM", "TWM", "REM")),
    ("dmc_", ("TD-MPC", "DrQ-v2", "CURL")),
)
"""Those that report evaluation episodes after training."""


WINDOW = re.compile(r"last (\d+)(k?) (?:frames|environment steps)")
"""How the note of a row says its own window."""


def protocol(row: Published) -> Protocol:
    """How a published number was taken; the row's own note wins over `RULES`."""
    for name, methods, window in RULES:
        if row.benchmark.startswith(name) and row.method.startswith(methods):
            said = WINDOW.search(row.note)
            if said and row.env_steps:
                size = int(said[1]) * (1_000 if said[2] else 1)
                window = size / row.env_steps
            return Protocol("training", window, TRAINING.format(window))
    for name, methods in EVALUATED:
        if row.benchmark.startswith(name) and row.method.startswith(methods):
            return Protocol("evaluation", None, "evaluation episodes")
    return Protocol("", None, "a protocol that the table does not say")


def differences(summary: Summary, row: Published) -> list[str]:
    """Why a run's score and a published number do not compare; empty if they do."""
    found = [*_episodes(summary, row), *_budget(summary, row), *_seeds(summary, row)]
    if summary.task is not None and summary.task.note:
        found.append(f"ours is {summary.task.note}")
    return found


def _episodes(summary: Summary, row: Published) -> list[str]:
    theirs = protocol(row)
    ours = "evaluation" if summary.evaluated else "training"
    if not theirs.episodes:
        return [f"protocol: ours are {ours} episodes, theirs {theirs.said}"]
    if theirs.episodes != ours:
        return [f"protocol and window: ours are {ours} episodes, theirs {theirs.said}"]
    return []


def _budget(summary: Summary, row: Published) -> list[str]:
    if not row.env_steps:
        return []
    ours, theirs = summary.frames, row.env_steps
    if abs(ours - theirs) <= BUDGET * theirs:
        return []
    return [f"steps: ours {ours:,}, theirs {theirs:,} simulator steps"]


def _seeds(summary: Summary, row: Published) -> list[str]:
    ours = len(summary.per_seed)
    theirs = int(row.seeds) if row.seeds.isdigit() else None
    if theirs is not None and ours < theirs:
        return [f"seeds: ours {ours}, theirs {theirs}"]
    if theirs is None and ours < FEW_SEEDS:
        return [f"seeds: ours {ours}, theirs not said"]
    if theirs is None:
        return ["seeds: theirs not said"]
    return []
