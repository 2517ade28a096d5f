"""`train_device`: a run whose environment and replay live on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from wm.train import evaluate, guard, sharding
from wm.train.drive import Events, drive
from wm.train.leaves import part
from wm.train.loop import Loop, batched, loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import AXIS, Program, SeedMode, Seeds
from wm.train.sharding import Layout
from wm.train.workload import Work
from wm.types import Key

States = Any
"""`TrainState` of every seed, in the form of the seed mode."""


class DeviceRunner:
    """The compiled programs of a run; `drive` calls them.

    Programs are compiled when first needed, each announced with its seconds.
    """

    def __init__(self, loop: Loop, env: Any, seeds: Seeds):
        """Join the parts; compiles nothing yet.

        Args:
          loop: agent, buffer and schedule.
          env: an `Env` or its batch.
          seeds: keys and mode.
        """
        self.loop = loop
        self.env = seeds.shared(batched(env))
        self.eval_env = seeds.shared(evaluate.frozen(env))
        self.seeds = seeds
        self._programs: dict[Any, Program] = {}

    def shapes(self) -> Any:
        """Shapes of one seed's `TrainState`."""
        return state_shapes(self.loop, self.env)

    anew = False
    """Whether a resumed run begins new episodes."""

    def restore(self, parts: Sequence[Any], notes: Mapping[str, Any]) -> States:
        """States from one restored tree per seed."""
        return self.seeds.join(parts)

    def notes(self) -> dict[str, Any]:
        """What is saved beside the states: nothing."""
        return {}

    def saved(self, states: States, seed: int) -> Any:
        """The `TrainState` of one seed, to be saved; on a mesh all processes call."""
        if self.seeds.mesh is not None:
            return sharding.fetch(self.seeds.pick(states, seed))
        if self.seeds.mode == "loop":
            return states[seed]
        replay = jax.tree.map(lambda x: part(x, seed), states.buffer)
        return self.learner(states, seed).replace(buffer=replay)

    def init(self) -> States:
        """Every seed before its first action."""
        return self.seeds.init("init", self.loop.init, self.env)

    def prefill(self, states: States, chunks: Sequence[int]) -> States:
        """Collect without learning."""
        fn = lambda env, state, chunks: (self.loop.prefill(env, state, chunks), {})
        program = self.program("prefill", fn, states, 1)
        return program.call(self.env, states, chunks)[0]

    def interval(
        self, states: States, chunks: Sequence[int], clear: Sequence[int]
    ) -> tuple[States, dict[str, np.ndarray]]:
        """Run chunks; the report has arrays `[S]`. Blocks until they are done."""
        program = self.program("train", self.stretch, states, 2)
        return program.call(self.env, states, chunks, clear)

    def stretch(self, env: Any, state: Any, chunks: Any, clear: Any):
        """`Loop.interval` in this seed mode."""
        axis = None if self.seeds.mode == "loop" else AXIS
        return self.loop.interval(env, state, chunks, clear, axis)

    def learner(self, states: States, seed: int) -> Any:
        """The state of one seed without its replay."""
        if self.seeds.mode == "loop":
            state = states[seed].replace(buffer=None)
            return state if self.seeds.mesh is None else sharding.fetch(state)
        return self.seeds.pick(states.replace(buffer=None), seed)

    def calm(self, states: States) -> States:
        """The states after the host has looked at what raised an alarm."""
        if self.seeds.mesh is None:
            one = lambda state: state.replace(guard=guard.calm(state.guard))
        else:
            one = lambda state: state.replace(guard=_calm(state.guard))
        return [*map(one, states)] if self.seeds.mode == "loop" else one(states)

    def fit(self, states: States, due: Sequence[bool]):
        """Call the agent's `fit` for the seeds that are due."""
        return self._some("fit", self.loop.fit, states, due)

    def reanalyse(self, states: States, due: Sequence[bool]):
        """Call the agent's `reanalyse` for the seeds that are due."""
        return self._some("reanalyse", self.loop.reanalyse, states, due)

    def evaluate(
        self, states: States, num_episodes: int, first_wave: int = 0
    ) -> evaluate.Scores:
        """Scores `[S, num_episodes]`; `first_wave` moves on to other episodes."""
        count, rows = evaluate.waves(num_episodes)
        loop = self.loop

        def wave(env, state, number):
            key = evaluate.evaluation_key(state.key, state.step, number)
            actor = loop.agent.actor(state.agent)
            return evaluate.episodes(loop.agent, env, actor, key, rows)

        program = self.program("evaluate", wave, states, 1, rows, self.eval_env)
        numbers = [[first_wave + n] * self.seeds.count for n in range(count)]
        parts = [program.call(self.eval_env, states, number) for number in numbers]
        return evaluate.concatenate(parts, num_episodes)

    def program(
        self,
        name: str,
        fn: Callable,
        states: States,
        counts: int,
        variant: Any = None,
        env: Any = None,
    ) -> Program:
        """The compiled program called `name`; with `env` set, states are kept."""
        if (name, variant) not in self._programs:
            donate = env is None
            self._programs[name, variant] = self.seeds.program(
                name, fn, self.env if donate else env, states, counts, donate
            )
        return self._programs[name, variant]

    def work(self, states: States) -> Work:
        """Of a chunk of all seeds, as much of it as a device does by itself; after the
        first `interval`."""
        axis, one = self.seeds, self._programs["train", None].work
        calls = axis.count / axis.at_once if axis.mode == "loop" else 1
        sharing = 1
        if axis.mesh is not None and not axis.apart:  # else it was traced for one
            sharing = axis.mesh.size
        return Work().plus(one, calls / sharing)

    def _some(self, name: str, fn: Callable, states: States, due: Sequence[bool]):
        """Run `fn` for the seeds that are due; at once they all are, or none."""
        program = self.program(name, fn, states, 0)
        if self.seeds.mode != "loop" or all(due):
            return program.call(self.env, states)
        states, metrics = list(states), {}
        for seed in np.flatnonzero(due):
            states[seed], out = program.executable(self.env, states[seed])
            for key, value in sharding.fetch(out).items():
                metrics.setdefault(key, np.full(len(states), np.nan))[seed] = value
        return states, metrics


def _calm(old: guard.Guard) -> guard.Guard:
    """`guard.calm` of a guard on a mesh; every array stays where it lies."""
    flags = old.replace(key=None, batch=None)
    at = jax.tree.map(lambda x: x.sharding, flags)
    flags = jax.jit(guard.calm, out_shardings=at)(flags)
    return flags.replace(key=old.key, batch=old.batch)


def state_shapes(loop: Loop, env: Any) -> Any:
    """Shapes of one seed's `TrainState`; computes nothing."""
    return jax.eval_shape(loop.init, batched(env), jax.random.key(0))


def train_device(
    agent: Any,
    env: Any,
    buffer: Any,
    schedule: Schedule,
    key: Key,
    log: Callable[[list[dict]], None],
    mode: SeedMode | None = None,
    mesh: Mesh | Layout | None = None,
) -> tuple[DeviceRunner, States]:
    """Train without a run directory: nothing is written.

    Args:
      agent: any `Agent`.
      env: an `Env`; batched with its default autoreset.
      buffer: a `Buffer`, or None for the agent's own.
      schedule: budget and cadence.
      key: one key, or `[S]` keys for as many seeds.
      log: called with the rows of every log interval, one dict per seed.
      mode: of the seed axis.
      mesh: devices, or how many along each axis.

    Returns:
      The runner, for evaluation, and the final states.
    """
    keys = key[None] if key.ndim == 0 else key
    axis = Seeds(keys, mode, mesh=mesh)
    loop = loop_of(agent, schedule, buffer)
    sharding.check(axis.mesh, loop.update_batches())
    runner = DeviceRunner(loop, env, axis)
    states = drive(runner, runner.init(), Events(rows=log))
    return runner, states
