"""Seconds of one DreamerV3 update, its useful GFLOP/s, and its share of the peak.

Batch 16 x 64, imagination 15, float32, on random data; sizes 1m and 12m, images
64x64x3 with 6 discrete actions and 24 numbers with 6 continuous ones. With `--peer`
and a checkout of the authors' code, theirs runs on the same processors in the same
minute (see `peer_dreamer_v3.py`); ratios are theirs / ours. On a shared core the CPU
seconds are the steadier figure.

    taskset -c 0 python -m benchmarks.dreamer_v3 [--peer CHECKOUT] [--sizes size1m]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import wm.presets
from benchmarks import flops, record
from benchmarks.peak import matmul_peak
from wm.agents.dreamer_v3 import DreamerV3
from wm.types import ArraySpec, Batch, EnvSpec, Index, TimeStep

SPECS = {
    "image": EnvSpec(
        observation={"image": ArraySpec((64, 64, 3), "uint8")},
        action=ArraySpec((), "int32", classes=6),
    ),
    "vector": EnvSpec(observation={"vector": ArraySpec((24,))}, action=ArraySpec((6,))),
}
N, L = 16, 65


def main() -> None:
    """Measure every combination that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", default=["size1m", "size12m"])
    parser.add_argument("--observations", nargs="*", default=["image", "vector"])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--peer", help="checkout of danijar/dreamerv3")
    args = parser.parse_args()
    for size in args.sizes:
        for observation in args.observations:
            measure(size, observation, args)


def measure(size: str, observation: str, args) -> None:
    """Rows of one size and observation."""
    options = wm.presets.compose("dreamer_v3", size).agent
    config = DreamerV3.Config(**{**options, "dtype": args.dtype})
    agent = DreamerV3(SPECS[observation], config)
    state = jax.jit(agent.init)(jax.random.key(0))
    batch = random_batch(agent)
    key = jax.random.key(1)
    work = flops.count(agent.update, state, key, {"replay": batch})
    update = jax.jit(agent.update, donate_argnums=0)
    start = time.perf_counter()
    update = update.lower(state, key, {"replay": batch}).compile()
    compiled = time.perf_counter() - start
    seconds, cpu_seconds, peaks = [], [], []
    for step in range(args.updates + 1):
        peaks.append(matmul_peak())
        begin, begin_cpu = time.perf_counter(), time.process_time()
        state, _, metrics = update(state, jax.random.key(step), {"replay": batch})
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - begin)
        cpu_seconds.append(time.process_time() - begin_cpu)
    ours, peak = statistics.median(seconds[1:]), max(peaks)
    ours_cpu = statistics.median(cpu_seconds[1:])
    peer, peer_cpu = peer_seconds(size, observation, args) if args.peer else (None,) * 2
    case = f"{size} {observation} {args.dtype}"
    rate = work / ours / 1e9
    row = record.row
    record.record(
        "dreamer_v3.json",
        [
            row("dreamer_v3/update", case, ours, "s", peer, peer and peer / ours),
            row(
                "dreamer_v3/update_cpu",
                case,
                ours_cpu,
                "s of CPU",
                peer_cpu,
                peer_cpu and peer_cpu / ours_cpu,
            ),
            row("dreamer_v3/work", case, work / 1e9, "GFLOP"),
            row("dreamer_v3/rate", case, rate, "GFLOP/s", peak, rate / peak),
            row("dreamer_v3/compile", case, compiled, "s"),
        ],
    )


def peer_seconds(size: str, observation: str, args) -> tuple[float, float]:
    """Median wall and CPU seconds of the authors' update, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peer_dreamer_v3", args.peer, size]
    command += [observation, "--updates", str(args.updates), "--dtype", args.dtype]
    command += ["--platform", "cuda" if jax.default_backend() == "gpu" else "cpu"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    measured = json.loads(output.splitlines()[-1])
    return statistics.median(measured["wall_s"]), statistics.median(measured["cpu_s"])


def random_batch(agent: DreamerV3) -> Batch:
    """Random steps of the agent's task, `[16, 65, …]`; one in 100 begins an episode."""
    random = np.random.default_rng(0)

    def array(spec: ArraySpec):
        shape = (N, L, *spec.shape)
        if spec.discrete:
            return jnp.asarray(random.integers(0, spec.classes, shape), spec.dtype)
        if spec.image:
            return jnp.asarray(random.integers(0, 256, shape), jnp.uint8)
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    timestep = TimeStep(
        observation=jax.tree.map(array, agent.spec.observation),
        reward=jnp.asarray(random.normal(size=(N, L)), jnp.float32),
        discount=jnp.ones((N, L)),
        is_first=jnp.asarray(random.random((N, L)) < 0.01),
        is_last=jnp.zeros((N, L), bool),
    )
    config = agent.config
    latent = {
        "deter": jnp.asarray(random.normal(size=(N, L, config.deter)), jnp.bfloat16),
        "stoch": jnp.zeros((N, L, config.groups), jnp.uint8),
    }
    rows = jnp.broadcast_to(jnp.arange(N)[:, None], (N, L))
    times = jnp.broadcast_to(jnp.arange(L)[None], (N, L))
    return Batch(
        timestep=timestep,
        action=array(agent.spec.action),
        extras={"latent": latent},
        index=Index(rows, times),
        probability=jnp.ones(N),
    )


if __name__ == "__main__":
    main()
