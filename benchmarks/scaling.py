"""How `wm` scales over devices: measured on virtual ones, predicted for 256 chips.

- `overhead`: a whole interval on a mesh of one device against no mesh, interleaved.
- `weak`: 1, 2, 4, 8 virtual devices of one process with equal work on each. They share
  the cores, so the figure is the work that dividing adds: N times the seconds of one
  device by the seconds of N. Wires are not in it.
- `forms`: the chunk of one device in the forms that are written on a mesh, against
  those of one CPU device (`wm.ops.spread.ways`): what weak scaling owes to them.
- `traffic`: bytes and calls of collectives in the compiled chunk on eight devices.
- `paper`: bytes and operations per chunk and chip of each system at its published
  sizes, and the efficiency that they predict.

    python -m benchmarks.scaling [overhead weak forms traffic paper]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import os
import statistics
import time
from typing import Any, NamedTuple
from unittest import mock

DEVICES = 8
_FLAG = f"--xla_force_host_platform_device_count={DEVICES}"
if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}"

import jax  # noqa: E402
from jax.sharding import AbstractMesh  # noqa: E402

import wm  # noqa: E402
from benchmarks import collectives, record  # noqa: E402
from wm.ops.spread import DATA, MODEL, SEED  # noqa: E402
from wm.train import memory, sharding, workload  # noqa: E402
from wm.train.device import DeviceRunner  # noqa: E402
from wm.train.loop import loop_of  # noqa: E402
from wm.train.schedule import Schedule  # noqa: E402
from wm.train.seeds import Seeds, seed_keys  # noqa: E402
from wm.types import ArraySpec, EnvSpec, TimeStep  # noqa: E402

FILE = "scaling.json"


class Chip(NamedTuple):
    """One accelerator among 256."""

    flops: float
    """Peak per second, bfloat16."""
    memory: float
    """Bytes per second."""
    wire: float
    """Bytes per second that a chip sends while all sum an array (2 bytes per byte of
    it and chip)."""
    latency: float
    """Seconds of the smallest sum over all 256."""
    source: str


CHIPS = {
    "TPU v5e": Chip(
        197e12,
        819e9,
        200e9,
        32e-6,
        "cloud.google.com/tpu/docs/v5e: 197 TFLOP/s, 819 GB/s, 1600 Gbit/s per chip, "
        "16 x 16 torus; latency assumed: 1 us per hop, 2 x 2 x 8 hops",
    ),
    "H100": Chip(
        989e12,
        3.35e12,
        1 / (1 / 450e9 + 1 / 400e9),
        50e-6,
        "NVIDIA H100 SXM data sheet: 989 TFLOP/s dense, 3.35 TB/s, NVLink 450 GB/s "
        "each way, a 400 Gbit/s port per GPU: summed within 8, an eighth of it between "
        "32 nodes; latency assumed",
    ),
}
SHARE = 0.4
"""Of the peak that matrix products are assumed to reach. High on purpose: the faster
the arithmetic, the more the wires cost."""
COUNT = 256

IMAGE = EnvSpec({"image": ArraySpec((64, 64, 3), "uint8")}, ArraySpec((), "int32", 6))
GRAY = EnvSpec(ArraySpec((84, 84, 1), "uint8"), ArraySpec((), "int32", 6))
BODY = EnvSpec(ArraySpec((27,)), ArraySpec((8,)))

SYSTEMS = {
    "dreamer_v3 size12m": ("dreamer_v3", "size12m", IMAGE),
    "dreamer_v3 size200m": ("dreamer_v3", "size200m", IMAGE),
    "ppo brax": ("ppo", "brax", BODY),
    "ppo atari": ("ppo", "atari", GRAY),
    "sac": ("sac", "", BODY),
    "dqn nature": ("dqn", "nature", GRAY),
}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["overhead", "weak", "paper"])
    parser.add_argument("--systems", nargs="*", default=None)
    args = parser.parse_args()
    for part in args.parts:
        for system in args.systems or WORK if part in MEASURED else SYSTEMS:
            record.record(FILE, globals()[part](system))


# Measured


class Work(NamedTuple):
    """What a measured device does per chunk; environments and batch are per device."""

    system: str
    env: str
    agent: dict[str, Any]
    schedule: dict[str, Any]


WORK = {
    "ppo": Work(
        "ppo",
        "gymnax/CartPole-v1",
        {"layers": (256, 256), "minibatches": 4, "epochs": 4},
        {"envs": 32, "chunk": 32, "updates": 1},
    ),
    "dreamer_v3": Work(
        "dreamer_v3",
        "probe/hidden_point",
        {"deter": 256, "hidden": 128, "units": 128, "groups": 16, "classes": 16},
        {"envs": 4, "batch_size": 4, "batch_length": 32, "chunk": 8, "updates": 1},
    ),
}
MEASURED = ("overhead", "weak", "forms", "traffic")
FORMS = {
    "products": ("wm.nets.products",),
    "whole batches": ("wm.nets.parts",),
    "both": ("wm.nets.products", "wm.nets.parts"),
}
"""Modules that ask how many devices share a batch: products whose gradients are fast on
one CPU device, and convolutions cut for its cache."""


def runner_of(name: str, devices: int, mesh: Any = None, parts: int = 1):
    """A runner of `devices` times the work of one, ready to run intervals."""
    work = WORK[name]
    env = wm.env(work.env)
    agent = wm.agent(work.system, env.spec, **work.agent)
    values = dict(work.schedule)
    for size in ("envs", "batch_size"):
        if size in values:
            values[size] *= devices
    replay = 4096 * values["envs"]
    values |= {"replay": replay, "prefill": 64 * values["envs"]}
    if name != "ppo":
        values["replay_parts"] = parts
    loop = loop_of(agent, Schedule(**values))
    runner = DeviceRunner(loop, env, Seeds(seed_keys(0, 1), "loop", mesh=mesh))
    states = runner.prefill(runner.init(), [loop.prefill_chunks])
    return runner, states


def seconds_of(runner, states, chunks: int):
    """States after `chunks`, and CPU and wall seconds of the call."""
    wall, cpu = time.perf_counter(), time.process_time()
    states, _ = runner.interval(states, [chunks], [0])
    return states, time.process_time() - cpu, time.perf_counter() - wall


def overhead(name: str, repeats: int = 15, chunks: int = 4) -> list[dict]:
    """Seconds on a mesh of one device by seconds without; pairs, one after another."""
    plain, a = runner_of(name, 1)
    meshed, b = runner_of(name, 1, sharding.mesh())
    ratios, seconds = [], []
    for number in range(repeats + 1):
        a, one, _ = seconds_of(plain, a, chunks)
        b, other, _ = seconds_of(meshed, b, chunks)
        if number:  # the first call compiles
            ratios.append(other / one)
            seconds.append(one)
    case = f"{name}, mesh of one device"
    more = {"lowest": min(ratios), "highest": max(ratios)}
    seconds = statistics.median(seconds)
    ratio = statistics.median(ratios)
    row = record.row("scaling/overhead", case, ratio, "x", cpu_s=seconds, **more)
    return [row]


def in_turn(runners: dict, repeats: int, chunks: int) -> dict:
    """CPU seconds per chunk of each runner, `repeats` of them after one that is not
    counted; `{name: (runner, states)}`, whose states move on."""
    times: dict = {name: [] for name in runners}
    for number in range(repeats + 1):
        for name, (runner, states) in runners.items():
            states, cpu, _ = seconds_of(runner, states, chunks)
            runners[name] = runner, states
            if number:
                times[name].append(cpu / chunks)
    return times


def weak(name: str, repeats: int = 7, chunks: int = 2) -> list[dict]:
    """Work of one device times N by work of N devices, for 1, 2, 4 and 8."""
    runners = {}
    for count in (1, 2, 4, 8):
        parts = 1 if name == "ppo" else count
        mesh = sharding.mesh(data=count) if count > 1 else None
        runners[count] = runner_of(name, count, mesh, parts)
    times, rows = in_turn(runners, repeats, chunks), []
    one = statistics.median(times[1])
    for count, values in times.items():
        seconds = statistics.median(values)
        case = f"{name}, {count} devices"
        efficiency = count * one / seconds
        rows.append(
            record.row("scaling/weak", case, efficiency, "of ideal", cpu_s=seconds)
        )
    return rows


def forms(name: str, repeats: int = 15, chunks: int = 4) -> list[dict]:
    """Seconds of one device in its own forms by those in a mesh's; above 1: the mesh's
    are faster."""
    runners = {"its own": runner_of(name, 1)}
    for form, modules in FORMS.items():
        with contextlib.ExitStack() as patches:
            for module in modules:
                patches.enter_context(mock.patch(f"{module}.ways", return_value=2))
            runner, states = runner_of(name, 1)
            # Compiled here, where the form holds.
            states, _ = runner.interval(states, [1], [0])
        runners[form] = runner, states
    times, rows = in_turn(runners, repeats, chunks), []
    for form in FORMS:
        pairs = zip(times["its own"], times[form], strict=True)
        ratios = [one / other for one, other in pairs]
        case = f"{name}, one device in a mesh's form: {form}"
        more = {"lowest": min(ratios), "highest": max(ratios)}
        ratio = statistics.median(ratios)
        rows.append(record.row("scaling/forms", case, ratio, "x", **more))
    return rows


def traffic(name: str) -> list[dict]:
    """Bytes and calls of collectives in one chunk, on eight devices."""
    rows = []
    for parts in (1, DEVICES) if name != "ppo" else (1,):
        runner, states = runner_of(name, DEVICES, sharding.mesh(data=DEVICES), parts)
        runner.interval(states, [0], [0])
        text = runner.program("train", None, states, 2).executable.as_text()  # type: ignore[arg-type]
        sent = collectives.traffic(text)
        state = runner.shapes()
        gradient = memory.size_bytes(state.agent.params)
        case = f"{name}, {DEVICES} devices, replay in {parts}"
        more = {"calls": sent.calls, "bytes": sent.bytes, "parameters_bytes": gradient}
        total = sum(sent.bytes.values())
        rows.append(record.row("scaling/traffic", case, total, "bytes/chunk", **more))
    return rows


# Predicted


class Load(NamedTuple):
    """Of one chip in one chunk: T steps of its environments, then the updates."""

    flops: float
    """Of acting and learning."""
    moved: float
    """Bytes between the chip and its memory: every update reads and writes the learner
    and reads the gradient; batches are read once."""
    summed: float
    """Bytes of the arrays that are summed over all chips: gradients."""
    gathered: float
    """Bytes of the others' data that every chip receives where neither replay nor
    shuffling is divided into parts (`replay_parts`, `shuffle_parts`)."""
    calls: float
    """Sums and gathers."""
    kept: float
    """Bytes in memory: the learner, and a chip's part of the replay, whose size is that
    of the whole run."""


def paper(name: str) -> list[dict]:
    """Rows of one system: its load, and the efficiency on each kind of chip."""
    load = load_of(*SYSTEMS[name])
    shown = {field: getattr(load, field) for field in Load._fields}
    rows = [record.row("scaling/load", name, load.flops, "FLOP/chunk", **shown)]
    for kind, chip in CHIPS.items():
        alone = max(load.flops / (SHARE * chip.flops), load.moved / chip.memory)
        far = (COUNT - 1) / COUNT
        waits = load.calls * chip.latency
        for divided in (True, False):
            sent = 2 * load.summed + (0.0 if divided else load.gathered)
            wires = far * sent / chip.wire
            efficiency = alone / (alone + wires + waits)
            case = f"{name}, {COUNT} x {kind}" + ("" if divided else ", undivided")
            more = {"alone_s": alone, "wires_s": wires, "latency_s": waits}
            more["source"] = chip.source
            rows.append(
                record.row("scaling/predicted", case, efficiency, "of ideal", **more)
            )
    return rows


def load_of(system: str, preset: str, spec: EnvSpec) -> Load:
    """At the preset's batch and environments per chip."""
    agent: Any = wm.agent(system, spec, preset=preset)
    schedule = Schedule(**(agent.schedule or {}))
    schedule = dataclasses.replace(schedule, replay_tier="device")
    mesh = AbstractMesh((1, COUNT, 1), (SEED, DATA, MODEL))
    # As on an accelerator: a batch that is split is not also cut for a CPU's cache.
    with jax.sharding.use_abstract_mesh(mesh):
        loop = loop_of(agent, schedule)
        key = jax.random.key(0)
        state = jax.eval_shape(agent.init, key)
        timestep = arrivals(spec, schedule.envs)
        buffer = jax.eval_shape(loop.buffer.init, loop.example(state, timestep))
        T, updates = loop.chunk

        def learn(state, buffer, key):
            key_update, keys = loop.update_keys(key)
            _, batches = loop.draw(buffer, keys)
            return agent.update(state, key_update, batches)

        learning = workload.count(learn, state, buffer, key)

        def act(state, key, timestep):
            actor = agent.actor(state)
            carry = agent.start(actor, schedule.envs)
            return agent.act(actor, key, carry, timestep, "train")

        acting = workload.count(act, state, key, timestep)
        batches = 0.0
        for N, L in loop.update_batches().values():
            draw = functools.partial(loop.buffer.sample, N=N, L=L)
            batches += memory.size_bytes(jax.eval_shape(draw, buffer, key)[1])
    learned = state.params if hasattr(state, "params") else (state.actor, state.critic)
    gradient = memory.size_bytes(learned)
    steps = optimizer_steps(agent)
    # One device draws for all and sends to all; of a replay twice, to add it up, and
    # what is written back comes as it went.
    undivided = 1 if system == "ppo" else 2
    learner = memory.size_bytes(state)
    return Load(
        flops=T * acting + updates * learning,
        moved=updates * (steps * (2 * learner + 2 * gradient) + batches),
        summed=updates * steps * gradient,
        gathered=undivided * updates * batches * COUNT,
        calls=calls_of(system, agent, schedule, T, updates),
        kept=learner + memory.size_bytes(buffer) / COUNT,
    )


def optimizer_steps(agent: Any) -> int:
    """Gradients per update."""
    config = agent.config
    return getattr(config, "epochs", 1) * getattr(config, "minibatches", 1)


def calls_of(system: str, agent: Any, schedule: Schedule, T: int, updates: int):
    """Collectives per chunk, counted in compiled programs (`traffic`): statistics of
    episodes at every step; per gradient a few; DreamerV3's biases at every step of
    backpropagation through time."""
    per_gradient = {"dreamer_v3": 8 + schedule.batch_length, "ppo": 5}.get(system, 4)
    return 3 * T + updates * optimizer_steps(agent) * per_gradient


def arrivals(spec: EnvSpec, rows: int) -> TimeStep:
    """Shapes of a time step of `rows` environments."""
    shape = lambda x: jax.ShapeDtypeStruct((rows, *x.shape), x.dtype)
    number = jax.ShapeDtypeStruct((rows,), "float32")
    flag = jax.ShapeDtypeStruct((rows,), "bool")
    return TimeStep(jax.tree.map(shape, spec.observation), number, number, flag, flag)


if __name__ == "__main__":
    main()
