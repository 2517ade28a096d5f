"""What runs survive: kill -9, flipped bits, cut files, a full disk.

python -m benchmarks.faults kill [--count 50] [--seed 0] [--minutes 10] [--more]
python -m benchmarks.faults term [--count 5]
python -m benchmarks.faults flips [--count 1000]
python -m benchmarks.faults disk      (as root: it mounts a small tmpfs)

Every line that a fault should have prevented ends the script with an error; the counts
go to results/faults.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np

from benchmarks.record import RESULTS, record, row
from wm.data.host_replay import HostReplay
from wm.train.checkpoint import Checkpoints
from wm.types import Step, TimeStep

SAVE = 100
OPTIONS = {
    "env": "gymnax/CartPole-v1",
    "steps": 3_000,
    "agent.layers": 8,
    "train.envs": 2,
    "train.batch_size": 8,
    "train.chunk": 1,
    "train.updates": 1,
    "train.prefill": 64,
    "train.replay": 2_000,
    "train.log_steps": 25,
    "train.save_steps": SAVE,
    "train.eval_steps": 1_000,
    "train.eval_episodes": 4,
}
CHUNK = OPTIONS["train.envs"] * OPTIONS["train.chunk"]
"""Steps of a chunk: an interval ends with the first whole one."""
CLOCK = ("time/", "rate/")


def start(out: Path, log: Path, cache=None, **changes) -> subprocess.Popen:
    """`wm train` with the options above, its lines in `log`; `cache`: of programs."""
    options = {**OPTIONS, **changes}
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "wm", "train", "dqn", *words, "--out", str(out)]
    # Programs of any size come from the cache: kills hit more than compiling.
    env = {**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    if cache is not None:
        env["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    with open(log, "w") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=env)


def finish(process: subprocess.Popen, log: Path) -> None:
    """Wait for a good end."""
    if process.wait():
        raise RuntimeError(f"exit code {process.returncode}: {log.read_text()[-2000:]}")


def contents(run: Path) -> list:
    """All rows and scores without the clock."""
    keep = lambda name: not name.startswith(CLOCK)
    lines = [
        json.loads(line)
        for name in ("metrics", "scores")
        if (run / f"{name}.jsonl").exists()
        for line in (run / f"{name}.jsonl").read_text().splitlines()
    ]
    return [{name: x for name, x in line.items() if keep(name)} for line in lines]


def kill(count: int, seed: int, minutes: float, more: bool) -> list[dict]:
    """Kill runs at random instants; each is continued, and equals one left alone."""
    generator, begun = random.Random(seed), time.monotonic()
    phases, lost, killed, runs = Counter(), [0], 0, 0
    late = lambda: time.monotonic() > begun + 60 * minutes
    before = json.loads((RESULTS / "faults.json").read_text()) if more else []
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        whole, log = Path(folder) / "whole", Path(folder) / "log"
        finish(start(whole, log), log)
        shutil.rmtree(whole)
        begin = time.monotonic()
        finish(start(whole, log), log)
        length = time.monotonic() - begin
        print(f"a run of {length:.1f} s", flush=True)
        while killed < count and not late():
            runs += 1
            run = Path(folder) / f"run{runs}"
            ended = False
            while killed < count and not late():
                aim = generator.choice(AIMS)
                cold = Path(folder) / f"cache{killed}" if aim == "compiling" else None
                process = start(run, log, cold)
                if not killed_at(process, run, generator, aim, length):
                    finish(process, log)
                    ended = True
                    break
                killed += 1
                lost.append(inspect(run, log, aim, phases))
                print(killed, aim, dict(phases), f"lost {lost[-1]}", flush=True)
            if not ended:
                finish(start(run, log), log)
            if contents(run) != contents(whole):
                raise RuntimeError(f"{run} differs from the run that was left alone")
            shutil.rmtree(run)
            rows = told(killed, runs, lost, phases, before)
            record("faults.json", rows)  # at once: a longer stop may be a kill of ours
    return rows


def told(killed: int, runs: int, lost: list[int], phases: Counter, before: list[dict]):
    """Rows of what happened, with what was recorded `before`."""
    case = "kill -9 at random instants"
    rows = [
        row("faults", f"{case}: continued", killed, "kills", killed, phases=phases),
        row("faults", f"{case}: equal at the end", runs, "runs", runs),
        row("faults", f"{case}: most steps lost", max(lost), "steps", SAVE),
    ]
    return [added(one, before) for one in rows]


AIMS = ("any", "any", "compiling", "saving", "writing")
"""Instants of a kill: of the whole run; of a start with an empty cache; while a step is
being written; when rows have just been."""


def killed_at(
    process: subprocess.Popen, run: Path, generator: random.Random, aim: str, length
) -> bool:
    """Kill a process at an instant of this kind; False where it has ended before."""
    begin = time.monotonic()
    after = generator.uniform(0, length * (2 if aim == "compiling" else 1))
    while time.monotonic() < begin + after and process.poll() is None:
        time.sleep(0.001)
    rows = lambda: [x.stat().st_size for x in run.glob("*.jsonl")]
    before = rows()
    come = {
        "saving": lambda: list((run / "checkpoints").glob("*.unfinished")),
        "writing": lambda: rows() != before,
    }
    while process.poll() is None and not come.get(aim, lambda: True)():
        time.sleep(0.0005)
    if aim == "saving":
        time.sleep(generator.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def added(row: dict, before: list[dict]) -> dict:
    """A row together with the recorded one of the same name."""
    for one in before:
        if one["case"] != row["case"]:
            continue
        if row["unit"] == "steps":
            value = max(row["value"], one["value"])
            row |= {"value": value, "ratio": value / row["peer_value"]}
        else:
            value = row["value"] + one["value"]
            row |= {"value": value, "peer_value": value}
        if "phases" in row:
            row["phases"] = Counter(one["phases"]) + Counter(row["phases"])
    return row


def term(count: int = 5) -> list[dict]:
    """SIGTERM at random instants: exit code 75, and the run goes on where it was."""
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        whole, run, log = (Path(folder) / name for name in ("whole", "run", "log"))
        finish(start(whole, log), log)
        for number in range(count):
            process = start(run, log)
            until(process, lambda: "steps/s" in log.read_text(), log)
            time.sleep(generator.uniform(0, 0.5))
            process.send_signal(signal.SIGTERM)
            if process.wait() != 75:
                raise RuntimeError(f"exit code {process.returncode}: {log.read_text()}")
            at = max(line["step"] for line in contents(run))
            if Checkpoints(run / "checkpoints", sweep=False).steps()[-1] < at:
                raise RuntimeError(f"stop {number} lost steps")
        finish(start(run, log), log)
        if contents(run) != contents(whole):
            raise RuntimeError("the run that was stopped differs")
    return [row("faults", "SIGTERM: code 75, nothing lost", count, "stops", count)]


def inspect(run: Path, log: Path, aim: str, phases: Counter) -> int:
    """What a killed run left behind; steps lost.

    Raises:
      RuntimeError: more than one save interval is lost, or a row is damaged.
    """
    text, rows = log.read_text(), []
    if (run / "metrics.jsonl").exists():
        data = (run / "metrics.jsonl").read_bytes()
        if data and not data.endswith(b"\n"):
            raise RuntimeError(f"{run} has half a row")
        rows = [json.loads(line) for line in data.splitlines()]
    checkpoints = Checkpoints(run / "checkpoints", sweep=False)
    saved = (checkpoints.steps() or [0])[-1]
    reached = max((line["step"] for line in rows), default=0)
    if reached - saved >= SAVE + CHUNK:
        raise RuntimeError(f"steps lost: reached {reached}, saved {saved}")
    if list((run / "checkpoints").glob("*.unfinished")):
        phases["saving"] += 1
    elif "compile" not in text:
        phases["starting"] += 1
    elif "steps/s" not in text:
        phases["compiling or restoring"] += 1
    elif aim == "writing":
        phases["just after a row"] += 1
    else:
        phases["acting and learning"] += 1
    return max(reached - saved, 0)


def flips(count: int) -> list[dict]:
    """Flip a bit or cut a file of the newest step; the one before has to be used."""
    generator, found = random.Random(0), Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoints"
        targets, files = small_checkpoint(path)
        for number in range(count):
            newest = number % 5 > 0
            file = generator.choice(files[1 if newest else 0])
            data = file.read_bytes()
            how = damage(generator, file, data)
            lines: list[str] = []
            restored = Checkpoints(path, sweep=True).restore(targets, lines.append)
            expected = 1 if newest else 2
            name = file.name if file.parent.name == "segments" else file.parts[-1]
            told = len(lines) == 1 and f"checkpoint {2 if newest else 1} of" in lines[0]
            if restored is None or restored.step != expected or not told:
                raise RuntimeError(f"{how} of {file} was not noticed: {lines}")
            if name not in lines[0]:
                raise RuntimeError(f"{file} is not named: {lines}")
            found[how] += 1
            file.write_bytes(data)
    print(dict(found), flush=True)
    return [
        row("faults", f"{how}: noticed", size, "faults", size)
        for how, size in sorted(found.items())
    ]


def small_checkpoint(path: Path) -> tuple[dict, list[list[Path]]]:
    """Two steps of a learner and a replay: targets, and the files of each step."""
    generator = np.random.default_rng(0)
    buffer, zeros = HostReplay(400, 4), np.zeros(4, np.float32)
    first = TimeStep(np.zeros((4, 8), np.float32), zeros, zeros, zeros > 1, zeros > 1)
    step = Step(first, np.zeros(4, np.int32), {"latent": np.zeros((4, 16), np.float16)})
    state, checkpoints, before = buffer.init(step), Checkpoints(path), set()
    learner = {f"layer{i}": generator.normal(size=(8, 8)) for i in range(6)}
    files = []
    for number in (1, 2):
        noise = lambda x: generator.uniform(0, 9, (4, 30, *x.shape[1:])).astype(x.dtype)
        buffer.add(state, jax.tree.map(noise, step), first)
        items = {"learner": {**learner, "key": jax.random.key(0)}}
        items["seed_0_replay"] = buffer.state(state)
        checkpoints.save(number, items.items(), {"rows": number})
        checkpoints.wait()
        now = {x for x in path.rglob("*") if x.is_file()}
        files.append(sorted(now - before))
        before = now
    shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)
    return {name: jax.tree.map(shape, tree) for name, tree in items.items()}, files


def damage(generator: random.Random, file: Path, data: bytes) -> str:
    """Change a file at a random place; how."""
    if generator.random() < 0.5:
        place = generator.randrange(8 * len(data))
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        file.write_bytes(bytes(changed))
        return "one flipped bit"
    file.write_bytes(data[: generator.randrange(len(data))])
    return "a file cut short"


def disk() -> list[dict]:
    """Fill the disk under a run; it goes on, and saves again when there is room."""
    with tempfile.TemporaryDirectory() as folder:
        place, log = Path(folder) / "disk", Path(folder) / "log"
        whole = Path(folder) / "whole"
        finish(start(whole, log, steps=2_000), log)
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
        subprocess.run(mount, check=True)
        try:
            run = place / "run"
            process = start(run, log, steps=2_000)
            saved = lambda: Checkpoints(run / "checkpoints", sweep=False).steps()
            until(process, saved, log)
            fill(place / "filler")
            until(process, lambda: "training goes on" in log.read_text(), log)
            left = list((run / "checkpoints").glob("*.unfinished"))
            (place / "filler").unlink()
            until(process, lambda: "there is room again" in log.read_text(), log)
            finish(process, log)
            lines = [x for x in log.read_text().splitlines() if x.startswith("wm:")]
            print(*lines, sep="\n", flush=True)
            if contents(run) != contents(whole) or left:
                raise RuntimeError("the run on the full disk differs")
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
    return [row("faults", "disk full for a while: equal at the end", 1, "runs", 1)]


def until(process: subprocess.Popen, done, log: Path) -> None:
    """Wait for something while the process runs.

    Raises:
      RuntimeError: it ended before.
    """
    while not done():
        if process.poll() is not None:
            raise RuntimeError(f"the run has ended: {log.read_text()[-2000:]}")
        time.sleep(0.01)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with contextlib.suppress(OSError), open(path, "wb", 0) as file:
        while True:
            file.write(bytes(1 << 12))


def main() -> None:
    """One kind of fault, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=("kill", "term", "flips", "disk"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0, help="of kill, about")
    parser.add_argument("--more", action="store_true", help="add to what is recorded")
    given = parser.parse_args()
    kinds = {
        "kill": lambda: kill(given.count or 50, given.seed, given.minutes, given.more),
        "term": lambda: term(given.count or 5),
        "flips": lambda: flips(given.count or 1_000),
        "disk": disk,
    }
    for kind in [given.kind] if given.kind else kinds:
        record("faults.json", kinds[kind]())


if __name__ == "__main__":
    main()
