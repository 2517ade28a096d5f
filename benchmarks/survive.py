"""What surviving costs: seconds that training waits for a save, and the guard's share.

python -m benchmarks.survive [replay] [guard] [demo]

- replay: saves of a full pixel replay of 1e5 steps, with stored latents, the whole of
  it and then what 5 minutes of training add and write back;
- guard: one update with the check that it is finite, against one without it, of a
  small agent and of DreamerV3;
- demo: the demo of DreamerV3 with its default cadence, and with a save at every row.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp

import wm
from benchmarks.record import UNIT, clock, record, row
from benchmarks.replay import ROWS, example, steps_of
from wm import envs
from wm.agents.dreamer_v3 import DreamerV3
from wm.data.replay import Replay
from wm.presets import compose
from wm.train import guard as guard_lib
from wm.train.checkpoint import Checkpoints
from wm.train.loop import batched, loop_of
from wm.train.run import train
from wm.train.saving import Saver
from wm.train.schedule import Schedule
from wm.types import Feedback

CADENCE = 300.0
"""Seconds between saves by default (`Schedule.save_minutes`)."""


def replay(capacity: int = 100_000, new: int = 5_000, written: int = 100) -> list[dict]:
    """Seconds of the calling thread for a whole save, and for the ones after it."""
    buffer, step = Replay(capacity, 65), example("pixels 1e5x64x64x3")
    add = jax.jit(
        lambda state: jax.lax.fori_loop(
            0, 100, lambda _, s: buffer.add(s, steps_of(step), step.timestep), state
        ),
        donate_argnums=0,
    )

    def back(state, key):
        state, batch = buffer.sample(state, key, 16, 65)
        drawn = lambda x: jax.random.uniform(key, x.shape).astype(x.dtype)
        fields = {"latent": jax.tree.map(drawn, batch.extras["latent"])}
        mask = jnp.ones(batch.timestep.is_first.shape, bool)
        return buffer.write(state, Feedback(batch.index, fields, mask))

    write = jax.jit(back, donate_argnums=0)
    state = buffer.init(step)
    for _ in range(capacity // ROWS // 100 + 1):
        state = add(state)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        for number in range(5):
            jax.block_until_ready(state)
            begin = time.perf_counter()
            checkpoints.save(number, [("seed_0_replay", state)], {})
            seconds.append(time.perf_counter() - begin)
            checkpoints.wait()
            for _ in range(new // ROWS // 100):
                state = add(state)
            for key in jax.random.split(jax.random.key(number), written):
                state = write(state, key)
            print(f"save {number}: {seconds[-1]:.2f} s", flush=True)
    case = "1e5 pixel steps with latents"
    size = sum(x.nbytes for x in jax.tree.leaves(state))
    later = max(seconds[2:])
    added = f"{new} steps added, {written} batches written back"
    return [
        row("save", f"{case}: all of it", seconds[0], "s", size_bytes=size),
        row("save", f"{case}: {added}", later, "s", size_bytes=size),
        row("save", f"{case}: share of 5 minutes", later / CADENCE, "share", 0.01),
    ]


def guard() -> list[dict]:
    """Microseconds of a chunk (act, step, add, sample, update), guarded and not."""
    one = {"chunk": 1, "updates": 1, "batch_length": 1, "batch_size": 64}
    small = Schedule(envs=4, prefill=0, replay=4_000, **one)
    large = dataclasses.replace(small, batch_size=256)
    demo = compose("dreamer_v3", "demo")
    catch = envs.make("pixels/catch", **demo.env)
    plan = Schedule(**{**demo.schedule, "prefill": 0})
    make = lambda name, env, **values: wm.agent(name, envs.make(env).spec, **values)
    maze, pole, swing = "grid/dyna_maze", "classic/cartpole", "classic/pendulum"
    dqn = make("dqn", pole, layers=(64, 64))
    dreamer = wm.agent("dreamer_v3", catch.spec, "demo")
    return [
        guard_row("q_learning", make("q_learning", maze), maze, small, 2_000, 100),
        guard_row("dqn 64x64", dqn, pole, small, 300, 100),
        guard_row("sac 256x256", make("sac", swing), swing, large, 5, 80),
        guard_row("dreamer_v3 demo", dreamer, catch, plan, 1, 60),
    ]


def guard_row(name, agent, env, schedule, repeats, rounds) -> dict:
    """Time the same chunks in a compiled loop, with the guard and without."""
    env = envs.make(env) if isinstance(env, str) else env
    loop = loop_of(agent, schedule)
    begin = lambda env, key: loop.prefill(env, loop.init(env, key), loop.prefill_chunks)
    start = jax.jit(begin)(batched(env), jax.random.key(0))
    run, states, times = {}, {}, {}
    for label, fn in (("without", unguarded), ("with", guard_lib.guarded)):
        with mock.patch.object(guard_lib, "guarded", fn):
            # A function of its own each: jax would take the other one's trace.
            body = lambda state, _: (loop.one_chunk(batched(env), state), None)
            scan = lambda state: jax.lax.scan(body, state, length=repeats)[0]
            run[label] = jax.jit(scan, donate_argnums=0).lower(start).compile()
        states[label], times[label] = jax.tree.map(jnp.copy, start), []
    # In turn, and the least of each: neighbours disturb both alike.
    for _ in range(rounds):
        for label in run:
            before = clock()
            states[label] = jax.block_until_ready(run[label](states[label]))
            times[label].append((clock() - before) / repeats * 1e6)
    assert not bool(states["with"].guard.skipped)
    least = {label: min(found[1:]) for label, found in times.items()}
    pairs = zip(times["with"][1:], times["without"][1:], strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    more = {"median_of_ratios": ratio}
    unit = f"u{UNIT} per chunk"
    return row("guard", name, least["with"], unit, least["without"], **more)


def unguarded(guard, policy, key, batch, old, update):
    """`guard.guarded` that drops nothing."""
    new, feedback, metrics = update()
    return guard, new, feedback, metrics, jnp.zeros((), bool)


def demo(short: int = 3_000) -> list[dict]:
    """Share of the wall clock that saving takes in the demo: the whole of it with the
    default cadence, and `short` steps with a save at every row."""
    wall, inside, saves = demo_run({})
    case, more = "demo, default cadence", {"wall_s": wall, "saves": saves}
    share = row("save", f"{case}: share of the wall", inside / wall, "share", 0.01)
    wall, inside, saves = demo_run({"total": short, "save_steps": 500})
    each = row("save", "demo, at every row: each", inside / saves, "s", saves=saves)
    often = row(
        "save", "demo, at every row: share", inside / wall, "share", wall_s=wall
    )
    return [share | more, each, often]


def demo_run(changes: dict) -> tuple[float, float, int]:
    """Wall seconds of a run, compiling and evaluation included, those of them that
    training waited for saves, and how many there were."""
    preset = compose("dreamer_v3", "demo")
    env = envs.make("pixels/catch", **preset.env)
    agent = DreamerV3(env.spec, dataclasses.replace(DreamerV3.Config(), **preset.agent))
    schedule = Schedule(**{**preset.schedule, "eval_steps": None, **changes})
    waited, begun = [], []
    book, save = Saver._book, Saver.save

    def booked(saver, begin):
        waited.append(time.monotonic() - begin)
        book(saver, begin)

    def counted(saver, *args):
        begun.append(args[0])
        save(saver, *args)

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(Saver, "_book", booked),
        mock.patch.object(Saver, "save", counted),
    ):
        begin = time.perf_counter()
        train(agent, env, schedule, out=folder)
        wall = time.perf_counter() - begin
    return wall, sum(waited), len(begun)


def main() -> None:
    """What was named, or all."""
    kinds = {"replay": replay, "guard": guard, "demo": demo}
    for kind in sys.argv[1:] or kinds:
        record("survive.json", kinds[kind]())


if __name__ == "__main__":
    main()
