"""Settings with which DreamerV3 learns each probe task in about a CPU minute.

The published entropy scale and step size are for budgets a hundred times larger; on
observations of a few numbers the reconstruction loss must be raised, since all of it
is less than one nat while a latent nat costs 1.1.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import wm
from wm.train.schedule import Schedule

SMALL: dict[str, Any] = {
    "deter": 96,
    "hidden": 64,
    "units": 64,
    "groups": 8,
    "classes": 8,
    "bins": 63,
    "warmup_steps": 50,
    "rec_scale": 20.0,
    "entropy": 0.01,
}
SEQUENCES = {"envs": 8, "batch_size": 16, "batch_length": 32, "train_ratio": 64.0}

PROBES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "probe/recall": (
        {"learning_rate": 2e-3, "imagine_length": 5},
        {"total": 12_000, "batch_length": 16, "train_ratio": 16.0},
    ),
    "probe/hidden_point": (
        {"learning_rate": 1e-3, "imagine_length": 10, "horizon": 20.0},
        {"total": 5_000, **SEQUENCES},
    ),
    "probe/sparse_point": (
        {"learning_rate": 1e-3, "imagine_length": 15, "horizon": 25.0},
        {"total": 10_000, **SEQUENCES},
    ),
    "gymnax/CartPole-v1": (
        {
            "learning_rate": 5e-4,
            "imagine_length": 15,
            "horizon": 100.0,
            "entropy": 0.003,
        },
        {
            "total": 28_000,
            "batch_length": 16,
            "train_ratio": 32.0,
            "eval_steps": 4_000,
            "eval_episodes": 50,
        },
    ),
}
"""Environment → settings of the agent beyond `SMALL`, and of the schedule."""


def score(name: str, seed: int = 0, steps: int | None = None, **settings: Any) -> float:
    """Mean return of one seed trained on `name`, over 100 episodes at the end; of a
    task that is evaluated on the way, the median of the last three such means.

    Args:
      name: a key of `PROBES`, or `pixels/catch` with the settings of the demo.
      seed: of the run.
      steps: budget in place of the probe's own.
      **settings: of the agent, in place of the probe's own; for ablations.
    """
    run = trained(name, seed, steps, **settings)
    means: dict[int, list[float]] = {}
    for line in (run.path / "scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        means.setdefault(row["step"], []).append(row["return"])
    return float(np.median([np.mean(x) for x in list(means.values())[-3:]]))


def trained(name: str, seed: int = 0, steps: int | None = None, **settings: Any):
    """The run behind `score`."""
    env = wm.env(name)
    if name == "pixels/catch":
        agent = wm.agent("dreamer_v3", env.spec, preset="demo", **settings)
        schedule = Schedule(**agent.schedule)
    else:
        agent = agent_of(name, **settings)
        base = {"envs": 16, "batch_size": 16, "prefill": 400, "replay": 50_000}
        schedule = Schedule(**{**base, "log_steps": 1_000, **PROBES[name][1]})
    return wm.train(agent, env, schedule, steps=steps, seed=seed, quiet=True)


def agent_of(name: str, **settings: Any):
    """DreamerV3 with the settings of a key of `PROBES`."""
    own = {**SMALL, **PROBES[name][0], **settings}
    return wm.agent("dreamer_v3", wm.env(name).spec, **own)
