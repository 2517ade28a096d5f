"""What `train_device` spends outside the compiled program: (wall − inside) / wall.

DreamerV3 with its demo preset in Catch from pixels, rows written to a file and the
progress line drawn as in a run; compiling, evaluation, report and saves are aside.
Inside is the wall time of the calls of the executables, waited for.

python -m benchmarks.host_share [--steps 6000] [--seeds 1 4]
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import tempfile
import time
from pathlib import Path

from benchmarks.record import record, row
from wm import envs
from wm.agents.dreamer_v3 import DreamerV3
from wm.presets import compose
from wm.train import log
from wm.train.device import DeviceRunner
from wm.train.drive import Events, drive
from wm.train.loop import loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys


def main() -> None:
    """Measure for every number of seeds asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 4])
    arguments = parser.parse_args()
    for seeds in arguments.seeds:
        record("host_share.json", [measure(seeds, arguments.steps)])


def measure(seeds: int, steps: int) -> dict:
    """One row: the host's share of a run of `steps` steps."""
    preset = compose("dreamer_v3", "demo")
    env = envs.make("pixels/catch", **preset.env)
    config = dataclasses.replace(DreamerV3.Config(), **preset.agent)
    schedule = Schedule(**{**preset.schedule, "total": steps, "eval_steps": None})
    loop = loop_of(DreamerV3(env.spec, config), schedule)
    runner = DeviceRunner(loop, env, Seeds(seed_keys(0, seeds)))
    zeros = [0] * seeds
    states = runner.prefill(runner.init(), zeros)
    states, _ = runner.interval(states, zeros, zeros)
    inside = sum(runner.seeds.inside.values())
    with tempfile.TemporaryDirectory() as folder:
        display = log.Display(steps, io.StringIO())
        clock = log.Clock(runner.seeds.inside, None)

        def rows(rows):
            rows = [clock.stamp(given) for given in rows]
            log.append(Path(folder) / "metrics.jsonl", rows)
            display.rows(rows)

        progress = lambda report: display.progress(report["step"].tolist())
        start = time.perf_counter()
        drive(runner, states, Events(rows=rows, progress=progress))
        wall = time.perf_counter() - start
    inside = sum(runner.seeds.inside.values()) - inside
    share = (wall - inside) / wall
    case = f"catch demo, {seeds} seeds, {runner.seeds.mode}"
    return row("host_share", case, share, "share of wall", wall_s=wall)


if __name__ == "__main__":
    main()
