"""Replay: microseconds of add, sample and write, and resident memory.

python -m benchmarks.replay
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import measure, record, row
from wm.data.host_replay import HostReplay
from wm.data.priority import PrioritizedReplay
from wm.data.replay import Replay
from wm.types import Feedback, Step, TimeStep

ROWS, N, L, REPEATS = 16, 16, 65, 200
CASES = {"vectors 1e6x32": 1_000_000, "pixels 1e5x64x64x3": 100_000}
DETER, GROUPS = 512, 32
"""Stored latents of DreamerV3 at size 1m: h in bfloat16, class indices in bytes."""


def example(case: str) -> Step:
    """One step of every row, random."""
    pixels = case.startswith("pixels")
    generator = np.random.default_rng(0)
    if pixels:
        observation = generator.integers(0, 255, (ROWS, 64, 64, 3), np.uint8)
    else:
        observation = generator.normal(size=(ROWS, 32)).astype(np.float32)
    flags = np.zeros(ROWS, bool)
    ones = np.ones(ROWS, np.float32)
    timestep = TimeStep(observation, ones, ones, flags, flags)
    extras = {"value": ones}
    if pixels:
        h = generator.normal(size=(ROWS, DETER)).astype(jnp.bfloat16)
        extras["latent"] = {"h": h, "z": np.zeros((ROWS, GROUPS), np.int8)}
    return jax.tree.map(jnp.asarray, Step(timestep, np.zeros(ROWS, np.int32), extras))


def steps_of(step: Step) -> Step:
    """The example as `[rows, 1]` steps."""
    return jax.tree.map(lambda x: x[:, None], step)


def payload(step: Step) -> int:
    """Bytes of one step of one row."""
    return sum(x.nbytes for x in jax.tree.leaves(step)) // ROWS


def filled(buffer, step: Step):
    """A state whose ring has gone round once."""
    state = buffer.init(step)
    fill = jax.jit(
        lambda state, steps: jax.lax.fori_loop(
            0, 2_000, lambda _, s: buffer.add(s, steps, step.timestep), state
        ),
        donate_argnums=0,
    )
    return jax.block_until_ready(fill(state, steps_of(step)))


def device_rows(name: str, buffer, case: str) -> list[dict]:
    """Microseconds per iteration of a compiled loop, by what the loop does."""
    step = example(case)
    state, steps = filled(buffer, step), steps_of(step)
    mask = jnp.ones((N, L), bool)

    def add(state, batch, key):
        return buffer.add(state, steps, step.timestep), batch

    def sample(state, batch, key):
        return buffer.sample(state, key, N, L)

    def write(state, batch, key):
        fields = dict(batch.extras)
        if isinstance(buffer, PrioritizedReplay):
            fields["priority"] = batch.timestep.reward
        return buffer.write(state, Feedback(batch.index, fields, mask)), batch

    def looped(parts):
        def body(loop, key):
            for part in parts:
                loop = part(*loop, key)
            return loop, None

        # The batch is carried, or nothing would need the whole of it.
        run = lambda state, batch, keys: jax.lax.scan(body, (state, batch), keys)[0]
        return jax.jit(run, donate_argnums=0)

    rows = []
    state, batch = jax.jit(
        lambda state, key: buffer.sample(state, key, N, L), donate_argnums=0
    )(state, jax.random.key(1))
    parts = {
        "add": (add,),
        "add, sample": (add, sample),
        "add, sample, write": (add, sample, write),
    }
    for label, chosen in parts.items():
        loop = looped(chosen)
        keys = jax.random.split(jax.random.key(0), REPEATS)

        def call(loop=loop, keys=keys):
            nonlocal state
            state, last = loop(state, batch, keys)
            return last

        microseconds = measure(call) / REPEATS * 1e6
        rows.append(row(name, f"{case}: {label}, in a loop", microseconds, "us"))
    return rows


def host_rows(case: str) -> list[dict]:
    """Microseconds per call of the numpy ring, and of the copy to the device."""
    step = jax.tree.map(np.asarray, example(case))
    buffer = HostReplay(CASES[case], L, newest_first=False)
    state, steps = buffer.init(step), steps_of(step)
    for _ in range(500):
        buffer.add(state, steps, step.timestep)
    key = jax.random.key(0)
    batch = buffer.sample(state, key, N, L)[1]
    calls = {
        "add": lambda: buffer.add(state, steps, step.timestep) and 0,
        "sample": lambda: buffer.sample(state, key, N, L)[1].probability,
        "write": lambda: (
            buffer.write(
                state, Feedback(batch.index, batch.extras, np.ones((N, L), bool))
            )
            and 0
        ),
        "batch to device": lambda: jax.device_put(batch),
    }
    return [
        row("host replay", f"{case}: {label}", measure(call, 20) * 1e6, "us")
        for label, call in calls.items()
    ]


def memory_row(seeds: int) -> dict:
    """Resident bytes over payload, measured in a process without anything else."""
    command = [sys.executable, "-m", "benchmarks.replay", "memory", str(seeds)]
    root = Path(__file__).parent.parent
    result = subprocess.run(command, capture_output=True, text=True, cwd=root)
    if result.returncode:
        raise RuntimeError(result.stderr)
    resident, expected = json.loads(result.stdout.splitlines()[-1])
    case = f"{list(CASES)[1]} with latents, {seeds} seed{'s' * (seeds > 1)}"
    return row("replay resident memory", case, resident, "B", expected)


def measure_memory(seeds: int) -> None:
    """Print (bytes that filling a replay added to this process, payload)."""
    case = list(CASES)[1]
    step = example(case)

    def run(capacity: int, chunks: int):
        buffer = Replay(capacity, L)
        init = jax.jit(jax.vmap(lambda _: buffer.init(step)))
        steps = steps_of(step)

        def fill(state):
            add = jax.vmap(lambda s: buffer.add(s, steps, step.timestep))
            return jax.lax.fori_loop(0, chunks, lambda _, s: add(s), state)

        state = init(jnp.arange(seeds))
        return jax.block_until_ready(jax.jit(fill, donate_argnums=0)(state))

    run(ROWS * L, 2)  # compilers and thread pools take their memory first
    before = resident_bytes("VmRSS")
    state = run(CASES[case], CASES[case] // ROWS)
    after = resident_bytes("VmRSS")
    stored = int(state.ring.count[0]) * ROWS
    print(json.dumps([after - before, payload(step) * stored * seeds]))


def resident_bytes(field: str) -> int:
    """Memory of this process as Linux counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")


def main() -> None:
    """Everything, to results/replay.json."""
    rows = []
    for case, capacity in CASES.items():
        rows += device_rows("replay", Replay(capacity, L), case)
        if case.startswith("vectors"):
            buffer = PrioritizedReplay(capacity, L)
            rows += device_rows("prioritized replay", buffer, case)
        rows += host_rows(case)
    if jax.default_backend() == "cpu" and Path("/proc/self/status").exists():
        rows += [memory_row(seeds) for seeds in (1, 4)]
    record("replay.json", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        measure_memory(int(sys.argv[2]))
    else:
        main()
