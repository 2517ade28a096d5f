"""`train_host`: environments, or replay, outside the device.

The same agents, the same order and the same ratio as on the device. Where `overlap` is
on, a chunk's updates run while the environments take the last step of the next chunk,
so acting lags one chunk behind learning; and replay on the host is written one update
late, so that the next batch is drawn and copied to the device while it computes.
Nothing depends on timing.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.data.host_replay import HostReplay
from wm.envs import statistics
from wm.errors import UserError
from wm.train import evaluate, guard
from wm.train.drive import Events, drive
from wm.train.host_env import host_envs, timestep_of
from wm.train.host_state import HostState, restarted, resumed, saved_env
from wm.train.loop import Loop, TrainState, cleared, loop_of, report
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, own
from wm.types import Key, Step, TimeStep, Tree

APART = ("timestep", "carry", "stats", "key")
"""What an update with replay on the host neither needs nor moves to the device."""


class HostRunner:
    """Runs every seed in its own `HostEnv`, one seed after another."""

    def __init__(
        self,
        loop: Loop,
        envs: Sequence[Any],
        seeds: Seeds,
        eval_env: Callable[[], Any] | None = None,
        overlap: bool = True,
    ):
        """Reset the environments; compiles nothing yet.

        Args:
          loop: agent, buffer and schedule.
          envs: a `HostEnv` per seed, each of `schedule.envs` instances.
          seeds: keys.
          eval_env: makes the environments that evaluation plays in; without it, or
            if it returns None, those of training, which then begin new episodes.
          overlap: see the module.

        Raises:
          UserError: another number of instances than `schedule.envs`.
        """
        wrong = [env for env in envs if env.num_envs != loop.schedule.envs]
        if wrong:
            raise UserError(
                f"--train.envs is {loop.schedule.envs}, the environment has "
                f"{wrong[0].num_envs} instances"
            )
        self.loop, self.envs, self.seeds = loop, envs, seeds
        self.overlap = overlap
        self.on_host = isinstance(loop.buffer, HostReplay)
        self._eval_env, self._eval = eval_env, None
        self._eval_act = evaluate.host_act(loop.agent)
        self._first = [timestep_of(env.reset()) for env in envs]
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "wm-learn")
        agent = loop.agent
        act = lambda mode: seeds.announced(
            f"act ({mode})",
            lambda actor, key, carry, timestep: agent.act(
                actor, key, carry, timestep, mode
            ),
        )
        self._act = {"prefill": act("prefill"), "train": act("train")}
        self._split = jax.jit(loop.chunk_keys, static_argnums=1)
        self._update_keys = jax.jit(loop.update_keys)
        self._absorb = seeds.announced("add", self._absorbed, 0)
        self._learn = seeds.announced("train", self._learned, 0)
        self._label = seeds.announced("label", loop.label, 0)
        self._said = seeds.announced("label", lambda s, newest: agent.label(s, newest))
        self._cleared = jax.jit(cleared, donate_argnums=0)
        self._report = jax.jit(report)
        self._update = seeds.announced("train", loop.update, 0)
        none: Any = None  # these functions ignore the environment
        self._fit = seeds.announced("fit", lambda s: loop.fit(none, s), 0)
        reanalyse = lambda s: loop.reanalyse(none, s)
        self._reanalyse = seeds.announced("reanalyse", reanalyse, 0)

    def shapes(self) -> Any:
        """Shapes of one seed's saved state."""
        build = lambda timestep, key: self._begin(timestep, key)[0]
        shapes = jax.eval_shape(build, self._first[0], jax.random.key(0))
        if not self.on_host:
            return shapes
        return shapes.replace(buffer=self.loop.buffer.state(self._replay()))

    def init(self) -> list[HostState]:
        """Every seed before its first action."""
        begin = jax.jit(lambda timestep, *given: self._begin(timestep, *given)[0])
        replay = lambda: self._replay() if self.on_host else None
        return [
            HostState(begin(first, *self.seeds.given(i)), replay())
            for i, first in enumerate(self._first)
        ]

    def restore(
        self, parts: Sequence[Any], notes: Mapping[str, Any]
    ) -> list[HostState]:
        """States from restored trees and `notes`.

        Environments without a state of their own begin new episodes, where they can
        others than the run began with.
        """
        states = []
        saved = notes["environments"]
        for part, env, old in zip(parts, self.envs, saved, strict=True):
            replay = None
            if self.on_host:
                replay = self.loop.buffer.restore(part.buffer)
                part = part.replace(buffer=())
            owes = int(part.updates) < int(part.chunks) * self.loop.chunk[1]
            part = resumed(jax.tree.map(own, part), env, old)
            states.append(HostState(part, replay, owes))
        return states

    def notes(self) -> dict[str, Any]:
        """What is saved beside the states."""
        return {"environments": [saved_env(env) for env in self.envs]}

    @property
    def anew(self) -> bool:
        """Whether a resumed run begins new episodes."""
        return not all(hasattr(env, "state") for env in self.envs)

    def saved(self, states: list[HostState], seed: int) -> Any:
        """The state of one seed, to be saved."""
        state = states[seed]
        if not self.on_host:
            return state.train
        return state.train.replace(buffer=self.loop.buffer.state(state.replay))

    def learner(self, states: list[HostState], seed: int) -> Any:
        """The state of one seed without its replay."""
        return states[seed].train.replace(buffer=None)

    def calm(self, states: list[HostState]) -> list[HostState]:
        """The states after the host has looked at what raised an alarm."""
        for state in states:
            state.train = state.train.replace(guard=guard.calm(state.train.guard))
        return states

    def prefill(self, states, chunks: Sequence[int]):
        """Collect without learning."""
        for index, count in enumerate(chunks):
            for _ in range(count):
                key, keys, _ = self._split(states[index].train.key, "prefill")
                self._collect(states[index], index, key, keys, "prefill", None)
                self._label_newest(states[index])
        return states

    def interval(self, states, chunks: Sequence[int], clear: Sequence[int]):
        """Run chunks, seed by seed; the report has arrays `[S]`."""
        start, reports = time.perf_counter(), []
        for index, (count, fresh) in enumerate(zip(chunks, clear, strict=True)):
            state = states[index]
            state.train = self._cleared(state.train, np.int32(fresh))
            for _ in range(count):
                if state.train.guard.alarm:
                    break
                self._chunk(state, index)
            if int(state.train.step) >= self.loop.schedule.total:
                self._pay_last(state)
            reports.append(jax.device_get(self._report(state.train)))
        inside = self.seeds.inside
        inside["train"] = inside.get("train", 0.0) + time.perf_counter() - start
        return states, jax.tree.map(lambda *x: np.stack(x), *reports)

    def fit(self, states, due: Sequence[bool]):
        """Call the agent's `fit` for the seeds that are due."""
        return self._some(states, due, self._fit)

    def reanalyse(self, states, due: Sequence[bool]):
        """Call the agent's `reanalyse` for the seeds that are due."""
        return self._some(states, due, self._reanalyse)

    def evaluate(self, states, num_episodes: int, first_wave: int = 0):
        """Scores `[S, num_episodes]`."""
        start, found = time.perf_counter(), []
        if self._eval_env is not None:
            self._eval, self._eval_env = self._eval_env(), None
        for index, state in enumerate(states):
            train, env = state.train, self._eval or self.envs[index]
            key = evaluate.evaluation_key(train.key, train.step, first_wave)
            agent, act = self.loop.agent, self._eval_act
            found.append(
                evaluate.evaluate_host(agent, env, act, train.agent, key, num_episodes)
            )
            if env is self.envs[index]:
                state.train = restarted(train, timestep_of(env.reset()))
        inside = self.seeds.inside
        inside["evaluate"] = inside.get("evaluate", 0.0) + time.perf_counter() - start
        return evaluate.Scores(*(np.stack(x) for x in zip(*found, strict=True)))

    def _begin(self, timestep: TimeStep, key: Key, *row) -> tuple[TrainState, Tree]:
        """As `Loop.init`, with a time step that has arrived."""
        loop = self.loop
        key_agent, _, key = jax.random.split(key, 3)
        agent = loop.agent.init(key_agent, *row)
        if self.on_host:
            buffer, blank = (), self._blank(agent)
        else:
            buffer = loop.buffer.init(loop.example(agent, timestep))
            blank = loop.blank(agent, buffer)
        return loop.begin(agent, (), timestep, buffer, blank, key), None

    def _replay(self) -> Any:
        agent = jax.eval_shape(self.loop.agent.init, jax.random.key(0))
        return self.loop.buffer.init(self.loop.example(agent, self._first[0]))

    def _blank(self, agent: Tree) -> tuple[dict[str, jax.Array], Tree]:
        if not self.loop.chunk[1]:
            return {}, {}
        replay = self._replay()
        batches = {
            name: jax.eval_shape(lambda x: x, self._sampled(replay, N, L))
            for name, (N, L) in self.loop.update_batches().items()
        }
        return self.loop.zeros(agent, batches)

    def _sampled(self, replay: Any, N: int, L: int) -> Any:
        """A batch of the right shapes; drawn outside any trace."""
        newest = self.loop.buffer.newest(replay, L)
        spread = lambda x: np.broadcast_to(x[:1], (N, *x.shape[1:]))
        return jax.tree.map(spread, newest)

    def _chunk(self, state: HostState, index: int) -> None:
        """T steps of every environment; updates of this chunk or of the one before."""
        key, keys, learn = self._split(state.train.key, "train")
        _, updates = self.loop.chunk
        before = None
        if self.overlap and updates:
            before = lambda: self._pay(state, learn)
        self._collect(state, index, key, keys, "train", before)
        self._label_newest(state)
        if updates and not self.overlap:
            self._learn_now(state, learn)
        state.owes = self.overlap and updates > 0
        train = state.train
        state.train = train.replace(
            chunks=train.chunks + 1, since_chunks=train.since_chunks + 1
        )

    def _pay(self, state: HostState, keys) -> None:
        """The updates of the chunk before, if they are still owed."""
        if state.owes:
            self._learn_now(state, keys)
            state.owes = False

    def _pay_last(self, state: HostState) -> None:
        """What is owed at the end of the run, when no further chunk pays it."""
        if state.owes:
            key, _, keys = self._split(state.train.key, "train")
            state.train = state.train.replace(key=key)
            self._pay(state, keys)

    def _label_newest(self, state: HostState) -> None:
        """What the agent says of the newest steps, if anything."""
        if not hasattr(self.loop.agent, "label"):
            return
        if not self.on_host:
            state.train = self._label(state.train)
            return
        _, W = self.loop.agent.batches(self.loop.schedule)["label"]
        newest = self.loop.buffer.newest(state.replay, W)
        self._write(state, [self._said(state.train.agent, newest)])

    def _collect(self, state, index: int, key, keys, mode: str, before) -> None:
        """Act and step T times; `before` runs beside the last step."""
        env, act, train = self.envs[index], self._act[mode], state.train
        carry, timestep, records = train.carry, train.timestep, []
        # Programs that run meanwhile consume the state: what is still needed leaves it.
        state.train = train.replace(key=key, carry=None, timestep=None)
        # Programs that run meanwhile consume it too, but never before it was used.
        actor = self.loop.agent.actor(train.agent)
        for t in range(self.loop.chunk[0]):
            if not self.on_host:
                timestep = jax.device_put(timestep)  # once, for acting and for storing
            carry, action, extras = act(actor, keys[t], carry, timestep)
            records.append(Step(timestep, action, extras))
            chosen = np.asarray(action)
            beside = None
            if before is not None and t == self.loop.chunk[0] - 1:
                beside = self._thread.submit(before)
            timestep = timestep_of(env.step(chosen))
            if beside is not None:
                beside.result()
        if self.on_host:
            # Axis 1 is time: rows lead in replay.
            steps = jax.tree.map(lambda *x: np.stack(x, 1), *jax.device_get(records))
            self.loop.buffer.add(state.replay, steps, timestep)
        state.train = self._absorb(state.train, records, timestep, carry)

    def _absorbed(self, state: TrainState, records, last: TimeStep, carry):
        """The state after these records: stored, counted, statistics taken."""
        stats, step = state.stats, state.step
        for timestep in [*(r.timestep for r in records[1:]), last]:
            stats = statistics.update(stats, timestep)
            step = step + jnp.sum(~timestep.is_first, dtype=jnp.int32)
        buffer = state.buffer
        if not self.on_host:
            steps = jax.tree.map(lambda *x: jnp.stack(x), *records)
            buffer = self.loop.add(buffer, steps, last)
        return state.replace(
            buffer=buffer, stats=stats, step=step, timestep=last, carry=carry
        )

    def _learn_now(self, state: HostState, keys) -> None:
        if not self.on_host:
            state.train = self._learn(state.train, keys)
            return
        whole, buffer, owed = state.train, self.loop.buffer, []
        train = whole.replace(**dict.fromkeys(APART))
        for key in keys:
            key_update, key_samples = self._update_keys(key)
            batches = {}
            for name, (N, L) in self.loop.update_batches().items():
                key_sample = key_samples[name]
                _, drawn = buffer.sample(state.replay, key_sample, N, L)
                batches[name] = jax.device_put(drawn)
            train, feedback = self._update(train, key_update, batches)
            said = [feedback[name] for name in sorted(feedback)]
            if self.overlap:
                # The device is busy with this update: write what the one before said.
                said, owed = owed, said
            self._write(state, said)
        self._write(state, owed)
        kept = {name: getattr(whole, name) for name in APART}
        state.train = train.replace(updates=train.updates + len(keys), **kept)

    def _write(self, state: HostState, feedback: list) -> None:
        for each in jax.device_get(feedback):
            self.loop.buffer.write(state.replay, each)

    def _learned(self, state: TrainState, keys) -> TrainState:
        learn = lambda state, key: (self.loop.learn(state, key), None)
        return jax.lax.scan(learn, state, jnp.stack(keys))[0]

    def _some(self, states, due: Sequence[bool], fn: Callable):
        """Run `fn` for the seeds that are due.

        Raises:
          UserError: replay is on the host.
        """
        if self.on_host:
            raise UserError("fit and reanalyse need --train.replay_tier device")
        metrics: dict[str, np.ndarray] = {}
        for index in np.flatnonzero(due):
            states[index].train, out = fn(states[index].train)
            for name, value in jax.device_get(out).items():
                metrics.setdefault(name, np.full(len(states), np.nan))[index] = value
        return states, metrics


def train_host(
    agent: Any,
    env: Any,
    buffer: Any,
    schedule: Schedule,
    key: Key,
    log: Callable[[list[dict]], None],
    overlap: bool = True,
) -> tuple[HostRunner, list[HostState]]:
    """Train without a run directory in a `HostEnv`, or a list of them.

    Args:
      agent: any `Agent`.
      env: a `HostEnv`, or one per seed.
      buffer: a `Buffer` or `HostReplay`, or None for the agent's own.
      schedule: budget and cadence.
      key: one key, or `[S]`.
      log: called with the rows of every log interval.
      overlap: see the module.

    Returns:
      The runner, for evaluation, and the final states.
    """
    keys = key[None] if key.ndim == 0 else key
    envs = host_envs(env, list(range(keys.shape[0])))
    loop = loop_of(agent, schedule, buffer)
    runner = HostRunner(loop, envs, Seeds(keys, "loop"), overlap=overlap)
    states = drive(runner, runner.init(), Events(rows=log))
    return runner, states
