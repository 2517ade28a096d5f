"""Checks that need several devices; run by test_mesh.py in a process that has eight.

python -m tests.train.many_devices NAME …
"""

from __future__ import annotations

import dataclasses
import sys

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from tests.models.tiny import CONFIG
from tests.train.test_loop import assert_same, leaves
from wm import envs
from wm.agents.dqn import DQN
from wm.agents.dreamer_v3 import DreamerV3
from wm.agents.ppo import PPO
from wm.train.device import DeviceRunner
from wm.train.loop import loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys
from wm.train.sharding import Layout

SCHEDULE = Schedule(
    total=640,
    envs=8,
    batch_size=8,
    batch_length=4,
    train_ratio=4.0,
    prefill=64,
    replay=512,
    log_steps=80,
    eval_episodes=8,
)
SYSTEMS = {
    "dreamer_v3": lambda spec: DreamerV3(spec, CONFIG),
    "ppo": lambda spec: PPO(spec, PPO.Config(layers=(16,), minibatches=2)),
    "dqn": lambda spec: DQN(spec, DQN.Config(layers=(16,))),
}
CHUNKS = 4


def runner_of(system, layout=None, seeds=1, mode=None, schedule=SCHEDULE):
    env = envs.make("gymnax/CartPole-v1")
    if system == "ppo":
        schedule = dataclasses.replace(schedule, chunk=8, updates=1)
    loop = loop_of(SYSTEMS[system](env.spec), schedule)
    return DeviceRunner(loop, env, Seeds(seed_keys(0, seeds), mode, mesh=layout))


def trained(runner, chunks=CHUNKS):
    """Every seed's state, whole, after the prefill and some chunks; and the report."""
    count = runner.seeds.count
    states = runner.prefill(runner.init(), [runner.loop.prefill_chunks] * count)
    states, report = runner.interval(states, [chunks] * count, [0] * count)
    return states, report


def same_as_one_device(system, layout, tolerance, seeds=1):
    ours, alone = runner_of(system, layout, seeds), runner_of(system, None, seeds)
    states, report = trained(ours)
    expected, other = trained(alone)
    for name in other:
        np.testing.assert_allclose(
            report[name], other[name], tolerance, tolerance, err_msg=name
        )
    for seed in range(seeds):
        ours_one = ours.seeds.pick(states, seed)
        assert_same(ours_one.agent, expected[seed].agent, tolerance)
        assert_same(ours_one.timestep, expected[seed].timestep, tolerance)
    assert int(expected[0].updates) > 0
    return ours, states


def worst(a, b):
    return max(
        np.max(np.abs(x.astype(float) - y) / (1e-2 + np.abs(y)), initial=0.0)
        for x, y in zip(leaves(a), leaves(b), strict=True)
    )


if __name__ == "__main__":
    import time

    for system in sys.argv[1:]:
        t = time.time()
        for layout in (Layout(data=8),):
            ours, alone = runner_of(system, layout), runner_of(system)
            states, report = trained(ours)
            print(system, "mesh", time.time() - t)
            t = time.time()
            expected, other = trained(alone)
            print("alone", time.time() - t)
            t = time.time()
            print({k: (float(report[k][0]), float(other[k][0])) for k in report})
            s = ours.seeds.pick(states, 0)
            e = expected[0]
            print(
                worst(s.agent, e.agent),
                worst(s.timestep, e.timestep),
                worst(s.buffer, e.buffer),
            )
            print(ours.program("train", None, states, 2).executable.memory_analysis())
            import re, collections

            text = ours.program("train", None, states, 2).executable.as_text()
            open(f"/tmp/hlo_{system}.txt", "w").write(text)
            print(
                collections.Counter(
                    re.findall(
                        r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(",
                        text,
                    )
                )
            )
            print(jax.tree.leaves(states[0].buffer)[0].sharding.spec)
