"""Environment steps per second of PPO and SAC, whole training, beside brax's own.

brax/inverted_pendulum (spring). PPO: 64 environments x 10, 8 minibatches, 4 epochs,
actor 4 x 32, critic 5 x 256, scaled observations. SAC: 16 environments, updates of 256
transitions per environment step, 2 x 256. With `--peer` brax's trainers run at the same
sizes on the same processors between two halves of ours; ratios are ours / theirs.

    taskset -c 0 python -m benchmarks.model_free [--peer]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

import wm
from benchmarks import record
from benchmarks.end_to_end import timed
from benchmarks.peer_brax import BATCH, ENVS, SAC_ENVS, TASK, UNROLL
from wm.train.schedule import Schedule

SYSTEMS = {
    "ppo": (
        {"preset": "brax", "minibatches": 8, "reward_scale": 1.0},
        {"envs": ENVS, "chunk": UNROLL, "updates": 1, "prefill": 0},
        100,
    ),
    "sac": (
        {"preset": "brax", "reward_scale": 1.0},
        {
            "envs": SAC_ENVS,
            "chunk": 1,
            "updates": SAC_ENVS,
            "batch_size": BATCH,
            "prefill": 1_024,
            "replay": 10_240,
        },
        32,
    ),
}
"""Settings, schedule, and chunks that are timed at once."""


def main() -> None:
    """Both systems."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--peer", action="store_true", help="run brax's trainers too")
    args = parser.parse_args()
    for system in args.systems:
        before = rates(system)
        theirs = peer_rate(system) if args.peer else None
        rate = statistics.median([*before, *(rates(system) if args.peer else [])])
        case = f"brax/{TASK}, {SYSTEMS[system][1]['envs']} environments"
        row = record.row(f"model_free/{system}", case, rate, "steps/s", theirs)
        record.record("model_free.json", [row])


def rates(system: str, repeats: int = 3) -> list[float]:
    """Environment steps per second."""
    settings, values, chunks = SYSTEMS[system]
    env = wm.env(f"brax/{TASK}")
    agent = wm.agent(system, env.spec, **settings)
    schedule = Schedule(**values)
    seconds, _, steps = timed(agent, env, schedule, 1, "loop", chunks, repeats)
    return [steps / seconds]


def peer_rate(system: str) -> float:
    """Median environment steps per second of brax's trainer, in its own process."""
    command = [sys.executable, "-m", "benchmarks.peer_brax", system]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return statistics.median(json.loads(output.splitlines()[-1]))


if __name__ == "__main__":
    main()
