"""Seconds of one DreamerV3 update, its useful GFLOP/s, and its share of the peak.

Batch 16 x 64, imagination 15, float32, on random data; sizes 1m and 12m, images
64x64x3 with 6 discrete actions and 24 numbers with 6 continuous ones. With `--peer`
and a checkout of the authors' code, theirs runs on the same processors in the same
minute (see `peer_dreamer_v3.py`); ratios are theirs / ours. On a shared core the CPU
seconds are the steadier figure. `update` is one call, `update_in_loop` one of four in
a compiled loop, as training runs them: the memory of the temporaries is then asked of
the system once and not per update. Theirs is always one call, as theirs trains.

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
from benchmarks import record
from benchmarks.peak import matmul_peak
from wm.agents.dreamer_v3 import DreamerV3
from wm.train import workload
from wm.types import ArraySpec, Batch, EnvSpec, Index, TimeStep

SPECS = {
    "image": EnvSpec(
        observation={"image": ArraySpec((64, 64, 3), "uint8")},
        action=ArraySpec((), "int32", classes=6),
    ),
    "vector": EnvSpec(observation={"vector": ArraySpec((24,))}, action=ArraySpec((6,))),
}
N, L = 16, 65
IN_LOOP = 4
"""Updates per call where they run as in training, in one compiled loop."""


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
    work = workload.count(agent.update, state, jax.random.key(1), {"replay": batch})
    alone, compiled = program(agent, 1, state, batch)
    looped, _ = program(agent, IN_LOOP, state, batch)
    times: dict[str, list[tuple[float, float]]] = {"alone": [], "looped": []}
    peaks, peer, peer_cpu = [], None, None
    # Before and after the peer, so that a busy minute meets both.
    for half in range(2):
        for name, run, count in (("alone", alone, 1), ("looped", looped, IN_LOOP)):
            for step in range(-1, args.updates):
                peaks.append(matmul_peak(dtype=args.dtype))
                state, spent = timed(run, state, batch, step + 1)
                if step >= 0:
                    times[name].append(tuple(x / count for x in spent))
        if args.peer and not half:
            peer, peer_cpu = peer_seconds(size, observation, args)
    case, row = f"{size} {observation} {args.dtype}", record.row

    def against(name: str, value: float, unit: str, theirs: float | None) -> dict:
        return row(name, case, value, unit, theirs, theirs and theirs / value)

    median = lambda name, i: statistics.median(x[i] for x in times[name])
    rate, peak = work / median("looped", 0) / 1e9, max(peaks)
    cpu = "s of CPU"
    record.record(
        "dreamer_v3.json",
        [
            against("dreamer_v3/update", median("alone", 0), "s", peer),
            against("dreamer_v3/update_cpu", median("alone", 1), cpu, peer_cpu),
            against("dreamer_v3/update_in_loop", median("looped", 0), "s", peer),
            against(
                "dreamer_v3/update_in_loop_cpu", median("looped", 1), cpu, peer_cpu
            ),
            row("dreamer_v3/work", case, work / 1e9, "GFLOP"),
            row("dreamer_v3/rate", case, rate, "GFLOP/s", peak, rate / peak),
            row("dreamer_v3/compile", case, compiled, "s"),
        ],
    )


def program(agent: DreamerV3, count: int, state, batch):
    """`count` updates as one executable, and seconds to compile it."""

    def run(state, key, batch):
        def body(state, key):
            state, feedback, metrics = agent.update(state, key, {"replay": batch})
            # One number of what would be written back, so that it is computed.
            return state, (metrics, jax.tree.map(lambda x: x.ravel()[0], feedback))

        if count == 1:
            return agent.update(state, key, {"replay": batch})
        return jax.lax.scan(body, state, jax.random.split(key, count))

    start = time.perf_counter()
    compiled = jax.jit(run, donate_argnums=0).lower(state, jax.random.key(0), batch)
    return compiled.compile(), time.perf_counter() - start


def timed(run, state, batch, step: int):
    """The next state, and (wall, CPU) seconds of the call."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    state, *rest = run(state, jax.random.key(step), batch)
    jax.block_until_ready((state, rest))
    wall, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    return state, (wall, cpu)


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
