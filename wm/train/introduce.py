"""The opening lines of a run: what is trained, on what, and what it will occupy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from wm.ops.spread import DATA, SEED
from wm.train import log, memory
from wm.train.log import counted
from wm.train.population import Population
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, cores
from wm.train.tally import params_of
from wm.types import ArraySpec, EnvSpec

SHARED = {"loop": "one after another", "vmap": "at once", "shard": "over {}"}
"""How seeds share the machine, in words, by seed mode."""


def environment(spec: EnvSpec) -> str:
    """`pixels/catch: image 16×16×1, 3 actions, episodes of up to 7 steps; random …`."""
    parts = [seen(spec.observation), acted(spec.action)]
    if spec.time_limit:
        parts.append(f"episodes of up to {spec.time_limit:,} steps")
    known = {"random": spec.random_return, "optimal": spec.optimal_return}
    scores = ", ".join(f"{name} {x:g}" for name, x in known.items() if x is not None)
    return f"{spec.name}: {', '.join(parts)}" + (f"; {scores}" if scores else "")


def seen(observation: ArraySpec | Mapping[str, Any]) -> str:
    """What an observation consists of."""
    arrays = jax.tree.leaves(observation)
    found = ["image " + "×".join(map(str, x.shape)) for x in arrays if x.image]
    found += [f"{x.classes} states" for x in arrays if x.discrete and not x.shape]
    numbers = [x for x in arrays if not x.image and (x.shape or not x.discrete)]
    if numbers:
        size = sum(math.prod(x.shape) for x in numbers)
        count = f" in {len(numbers)} arrays" if len(numbers) > 1 else ""
        found.append(f"{size} number{'s' * (size != 1)}{count}")
    return " and ".join(found)


def acted(action: ArraySpec) -> str:
    """What an action is."""
    if action.discrete:
        return f"{action.classes} actions"
    return f"{math.prod(action.shape)} continuous actions"


def agent(name: str, preset: str, shapes: Any, seeds: Seeds) -> str:
    """`dreamer_v3 (demo): 0.20 M parameters × 4 seeds, at once`."""
    params = params_of(shapes.agent)
    count = sum(x.size for x in jax.tree.leaves(params))
    size = f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}" if count else "no"
    size += " parameters"
    text = f"{name} ({preset}): {size}" if preset else f"{name}: {size}"
    if seeds.count == 1:
        return text
    groups = 1 if seeds.mesh is None else seeds.mesh.shape[SEED]
    kind = "device" if seeds.apart else "group"
    shared = SHARED[seeds.mode].format(counted(groups, kind))
    if seeds.pool is not None:
        shared += f" on {counted(cores(), 'core')}"
    return f"{text} × {seeds.count} seeds, {shared}"


def schedule(plan: Schedule, steps: int, updates: int) -> str:
    """`14,000 steps; 1 update after every 1 × 16 steps`; a run ends with a whole chunk
    of these, and where the total is none it says how far it may go beyond."""
    made, chunk = counted(updates, "update"), steps * plan.envs
    more = (
        f" (up to {chunk - 1:,} more: chunks are whole)" if plan.total % chunk else ""
    )
    every = f"{made} after every {steps} × {plan.envs} steps"
    return f"{plan.total:,} steps{more}; {every}"


def mesh(axes: Mesh, plan: Schedule) -> str:
    """`seed 1 × data 8 × model 1: 8 of 8 devices (cpu), 2 processes`."""
    text = " × ".join(f"{name} {size}" for name, size in axes.shape.items())
    kind = jax.devices()[0].device_kind
    text += f": {axes.size} of {counted(len(jax.devices()), 'device')} ({kind})"
    if jax.process_count() > 1:
        text += f" in {jax.process_count()} processes"
    if plan.envs % axes.shape[DATA]:
        text += f"; {counted(plan.envs, 'environment')} and the replay whole on each"
    return text


def occupied(need: memory.Need, plan: Schedule, each: bool = False) -> str:
    """`replay 41 MB, learner 14 MB (params 4 MB, optimizer 8 MB), of 23.1 GB free`; per
    device where `each`."""
    size, kept, total = memory.megabytes, plan.replay, plan.total
    newest = f" (the newest {kept:,} of {total:,} steps)" if kept < total else ""
    tree = f", search tree {size(need.tree)}" if need.tree else ""
    free = f", of {size(need.free)} free" if need.free else ""
    inside = {"params": need.params, "optimizer": need.optimizer}
    parts = ", ".join(f"{name} {size(x)}" for name, x in inside.items() if x)
    learner = f"learner {size(need.learner)}" + (f" ({parts})" if parts else "")
    learner += f"{tree} on each device" if each else tree
    return f"replay {size(need.replay)}{newest}, {learner}{free}"


def opening(
    config: Mapping[str, Any],
    env: Any,
    shapes: Any,
    axis: Seeds,
    loop: Any,
    need: memory.Need,
) -> list[tuple[str, str]]:
    """The lines (heading, text) that a run begins with.

    Args:
      config: of the run directory.
      env: of the first seed.
      shapes: `TrainState` of one seed.
      axis: of the seeds.
      loop: agent, buffer and schedule.
      need: of memory.
    """
    plan, on_mesh = loop.schedule, axis.mesh is not None
    lines = [
        ("environment", environment(env.spec)),
        ("agent", agent(config["agent"]["name"], config["preset"], shapes, axis)),
        ("schedule", schedule(plan, *loop.chunk)),
    ]
    if axis.mesh is not None:
        lines.append(("mesh", mesh(axis.mesh, plan)))
    return [*lines, ("memory", occupied(need, plan, on_mesh))]


def estimate(steps: int, seconds: float, left: int) -> str:
    """`about 2:10 left, as measured over 512 steps`."""
    whole = log.clock(seconds * left / max(steps, 1))
    return f"about {whole} left, as measured over {counted(steps, 'step')}"


def rough(flops: float, seconds: float, left: int, steps: int) -> str:
    """`roughly 2:10, counted from the program (1.2 GFLOP per 16 steps) …`."""
    size = f"{flops / 1e9:,.1f} GFLOP" if flops >= 1e9 else f"{flops / 1e6:,.1f} MFLOP"
    inside = f" ({size} per {counted(steps, 'step')})" if flops >= 1e5 else ""
    whole = log.clock(seconds * left / steps)
    return f"roughly {whole}, counted from the program{inside} and not measured yet"


def members(agent: Any, scores: np.ndarray) -> list[str]:
    """A line per combination of hyperparameters; none where there are none.

    Args:
      agent: a `Population` or any other.
      scores: f32 `[rows, episodes]`.
    """
    if not isinstance(agent, Population):
        return []
    lines = []
    means = scores.mean(1)
    for one in list({tuple(x.items()): x for x in agent.members}.values()):
        rows = [i for i, x in enumerate(agent.members) if x == one]
        name = ", ".join(f"{name} {value:g}" for name, value in one.items())
        spread = f" ± {means[rows].std():.2f}" if len(rows) > 1 else ""
        lines.append(f"  {name}: {means[rows].mean():.2f}{spread}")
    return lines
