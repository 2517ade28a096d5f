"""Which runner a run gets: everything on the device, or parts of it on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from wm.train import evaluate, recipes
from wm.train.device import DeviceRunner
from wm.train.host import HostRunner
from wm.train.host_env import AsHost, host_envs, is_host
from wm.train.loop import Loop
from wm.train.seeds import Seeds


def runner_of(
    loop: Loop,
    env: Any,
    axis: Seeds,
    numbers: Sequence[int],
    evaluation: Callable[[], Any],
) -> tuple[Any, Any]:
    """On the device, unless environment or replay are not.

    Args:
      loop: agent, buffer and schedule.
      env: as `train` takes it.
      axis: of the seeds; a runner on the host gets one that runs them in turn.
      numbers: of the seeds.
      evaluation: makes the environment that a host environment is scored in.

    Returns:
      The runner, and the environment of the first seed.
    """
    if not is_host(env) and loop.schedule.replay_tier == "device":
        return DeviceRunner(loop, env, axis), env
    if axis.mode != "loop":
        axis = Seeds(axis.keys, "loop", axis.announce, axis.rows)
    if is_host(env):
        envs = host_envs(env, numbers)
        return HostRunner(loop, envs, axis, evaluation), envs[0]
    # The second of three keys is the environment's, as in `Loop.init`.
    keys = [jax.random.split(key, 3)[1] for key in axis.keys]
    envs = [AsHost(env, loop.schedule.envs, key) for key in keys]
    _, rows = evaluate.waves(loop.schedule.eval_episodes)
    second = lambda: AsHost(env, rows, jax.random.key(recipes.EVALUATION_SEED))
    return HostRunner(loop, envs, axis, second), env
