"""Environment steps per second of whole training, on the device.

Everything of a run but its logs: acting, environment, replay, updates. First at train
ratios 32, 256 and 1024 (size1m, 16 x 64 sequences, a vector task); then 1, 4 and 16
seeds of the small pixel demo as the seed modes run them, against one seed alone.

    python -m benchmarks.end_to_end [--seeds 1 4 16]
"""

from __future__ import annotations

import argparse
import time

import jax
import numpy as np

import wm
from benchmarks import record
from wm.train.device import DeviceRunner
from wm.train.loop import loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys


def main() -> None:
    """Measure ratios, then seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratios", type=int, nargs="*", default=[32, 256, 1024])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--modes", nargs="*", default=["loop", "vmap"])
    args = parser.parse_args()
    for ratio in args.ratios:
        record.record("end_to_end.json", ratio_rows(ratio))
    alone = seeds_rate(1, "loop", {})
    for seeds in args.seeds:
        for mode in args.modes:
            record.record("end_to_end.json", seeds_rows(seeds, mode, alone))


def ratio_rows(ratio: int) -> list[dict]:
    """Steps and updates per second at one train ratio, and seconds to compile."""
    env = wm.env("probe/hidden_point")
    agent = wm.agent("dreamer_v3", env.spec, preset="size1m")
    schedule = Schedule(train_ratio=float(ratio), replay=100_000, prefill=2_048)
    _, updates = schedule.chunk_updates()
    chunks = max(1, 4 // updates)
    seconds, compiled, steps = timed(agent, env, schedule, 1, "loop", chunks, repeats=2)
    case = f"size1m, 16 x 64, train ratio {ratio}"
    return [
        record.row("end_to_end/steps", case, steps / seconds, "steps/s"),
        record.row("end_to_end/updates", case, chunks * updates / seconds, "updates/s"),
        record.row("end_to_end/compile", case, compiled, "s"),
    ]


def seeds_rows(seeds: int, mode: str, alone: float) -> list[dict]:
    """Steps per second of all seeds together, and relative to one seed alone."""
    compiled: dict[str, float] = {}
    rate = seeds_rate(seeds, mode, compiled)
    case = f"{seeds} seeds by {mode}"
    return [
        record.row("end_to_end/seeds", case, rate, "steps/s", alone),
        record.row("end_to_end/seeds_compile", case, compiled["s"], "s"),
    ]


def seeds_rate(seeds: int, mode: str, compiled: dict[str, float]) -> float:
    """Environment steps per second over all seeds of the small pixel demo."""
    env = wm.env("pixels/catch")
    agent = wm.agent("dreamer_v3", env.spec, preset="demo")
    schedule = Schedule(**agent.schedule)
    seconds, compiled["s"], steps = timed(agent, env, schedule, seeds, mode, 16, 3)
    return steps / seconds


def timed(agent, env, schedule, seeds: int, mode: str, chunks: int, repeats: int):
    """Median seconds of `chunks` chunks, compile seconds, and steps of all seeds."""
    loop = loop_of(agent, schedule)
    keys = seed_keys(0, seeds)
    runner = DeviceRunner(loop, env, Seeds(keys, mode))
    states = runner.prefill(runner.init(), [loop.prefill_chunks] * seeds)
    start = time.perf_counter()
    call = lambda states: runner.interval(states, [chunks] * seeds, [1] * seeds)
    states, report = call(states)
    jax.block_until_ready((states, report))
    first = time.perf_counter() - start
    seconds, steps = [], []
    for _ in range(repeats):
        before = np.sum(np.asarray(report["step"]))
        start = time.perf_counter()
        states, report = call(states)
        jax.block_until_ready((states, report))
        seconds.append(time.perf_counter() - start)
        steps.append(np.sum(np.asarray(report["step"])) - before)
    median = float(np.median(seconds))
    return median, first - median, float(np.median(steps))


if __name__ == "__main__":
    main()
