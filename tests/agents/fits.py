"""Agents whose learning is all in `fit`, brought to the end of their prefill."""

from typing import Any, NamedTuple

import jax
import numpy as np

import wm
from wm.train.device import DeviceRunner
from wm.train.loop import Loop, loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys

SCHEDULE = Schedule(
    total=60, envs=2, train_ratio=0.0, prefill=20, fit_steps=20, replay=100
)


class Ready(NamedTuple):
    """An agent, its loop, and two seeds after the prefill."""

    agent: Any
    loop: Loop
    runner: DeviceRunner
    states: list


def ready(system: str, env_name: str, settings: dict[str, Any]) -> Ready:
    env = wm.env(env_name)
    agent = wm.agent(system, env.spec, **settings)
    loop = loop_of(agent, SCHEDULE)
    runner = DeviceRunner(loop, env, Seeds(seed_keys(0, 2), "loop"))
    return Ready(agent, loop, runner, runner.prefill(runner.init(), [10, 10]))


def same(a, b, tolerance=0.0):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.allclose(x, y, tolerance, tolerance) for x, y in pairs)
