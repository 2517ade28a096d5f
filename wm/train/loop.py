"""The loop on the device: act, step, add, label, learn, in one compiled program.

`Loop` holds pure functions of one seed's `TrainState`; `seeds.py` runs them for
several seeds, `drive.py` decides how far each call goes. No clock, file or print here.

The order inside a chunk is a rule: the buffer is added to before it is read, and every
write depends on what was read. Any other order makes XLA copy the whole buffer in
every iteration. Counts of steps and updates are static, the number of chunks is traced:
one executable serves stretches of any length.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, cast

import jax
import jax.numpy as jnp

from wm.envs import statistics
from wm.envs.batched import Batched, batch
from wm.nodes import Node
from wm.ops.spread import spread
from wm.train import guard as guard_lib
from wm.train.buffers import RESERVED, default_buffer
from wm.train.guard import Guard
from wm.train.schedule import Schedule
from wm.types import Key, Metrics, Step, TimeStep, Tree


class TrainState(Node):
    """Everything of one seed's run; a resumed run continues from it bit for bit."""

    agent: Tree
    env: Tree
    timestep: TimeStep
    """`[B, …]`, the newest, not yet acted on."""
    carry: Tree
    """Acting memory, `[B, …]`."""
    buffer: Tree
    stats: statistics.EpisodeStats
    sums: Metrics
    """Sums of the update metrics since the last row."""
    key: Key
    step: jax.Array
    """i32, environment transitions: records that are not `is_first`."""
    chunks: jax.Array
    """i32, chunks since the prefill."""
    updates: jax.Array
    """i32."""
    fits: jax.Array
    """i32, calls of the agent's `fit`."""
    reanalyses: jax.Array
    """i32, calls of the agent's `reanalyse`."""
    since_chunks: jax.Array
    """i32, chunks since the last row."""
    since_updates: jax.Array
    """i32, updates since the last row, dropped ones aside."""
    guard: Guard
    """Of updates that are not finite."""

    def learner(self) -> TrainState:
        """All but what is large and saved otherwise, or not at all."""
        return self.replace(buffer=None, guard=self.guard.replace(batch=None))


@dataclasses.dataclass(frozen=True, eq=False)
class Loop:
    """Agent, environment, buffer and schedule, joined into pure functions.

    Every function takes the batched environment as its first argument, so that the
    arrays of a learned environment are arguments of the program and not constants.
    """

    agent: Any
    buffer: Any
    schedule: Schedule

    @property
    def chunk(self) -> tuple[int, int]:
        """Steps T of every environment per chunk, and updates after it."""
        T, updates = self.schedule.chunk_updates()
        return T, updates if hasattr(self.agent, "update") else 0

    @functools.cached_property
    def agent_update(self) -> Any:
        """`agent.update`, traced once for all that asks for its shapes or runs it."""
        return jax.jit(self.agent.update, inline=True)

    @property
    def chunk_steps(self) -> int:
        """Records per chunk over all environments."""
        return self.chunk[0] * self.schedule.envs

    @property
    def prefill_chunks(self) -> int:
        """Chunks before the first update: `prefill`, or what the buffer needs."""
        least = self.schedule.prefill
        minimum = getattr(self.buffer, "minimum", None)
        if minimum is not None and self.chunk[1]:
            rows = self.schedule.envs
            lengths = [L for _, L in self.update_batches().values()]
            least = max([least, *(minimum(rows, L) for L in lengths)])
        return -(-least // self.chunk_steps)

    def update_batches(self) -> dict[str, tuple[int, int]]:
        """Name → (N, L) of what `update` gets."""
        batches = self.agent.batches(self.schedule)
        return {name: batches[name] for name in sorted(batches) if name not in RESERVED}

    def init(self, env: Batched, key: Key, *row: Tree) -> TrainState:
        """The state before the first action; `row`: hyperparameters, if there are."""
        key_agent, key_env, key = jax.random.split(key, 3)
        agent = self.agent.init(key_agent, *row)
        env_state, timestep = env.reset(key_env, self.schedule.envs)
        buffer = self.buffer.init(self.example(agent, timestep))
        blank = self.blank(agent, buffer)
        return self.begin(agent, env_state, timestep, buffer, blank, key)

    def begin(self, agent, env_state, timestep, buffer, blank, key: Key) -> TrainState:
        """The state of these parts, before the first action; `blank` as of `blank`."""
        sums, batch = blank
        B = timestep.reward.shape[0]
        carry = self.agent.start(self.agent.actor(agent), B)
        zero = jnp.zeros((), jnp.int32)
        state = TrainState(
            agent=agent,
            env=env_state,
            timestep=timestep,
            carry=carry,
            buffer=buffer,
            stats=statistics.update(statistics.init(B), timestep),
            sums=sums,
            key=key,
            step=zero,
            chunks=zero,
            updates=zero,
            fits=zero,
            reanalyses=zero,
            since_chunks=zero,
            since_updates=zero,
            guard=guard_lib.empty(key, batch),
        )
        # A restored state knows no weak types, and a program for other types is another
        # program: it may round differently.
        return jax.tree.map(strong, state)

    def prefill(self, env: Batched, state: TrainState, chunks: jax.Array) -> TrainState:
        """Collect `chunks` without learning, in mode `prefill`."""

        def body(_, state):
            key, key_act = jax.random.split(state.key)
            state = self.collect(env, state.replace(key=key), key_act, "prefill")
            return self.label(state) if hasattr(self.agent, "label") else state

        return jax.lax.fori_loop(0, chunks, body, state)

    def interval(
        self,
        env: Batched,
        state: TrainState,
        chunks: jax.Array,
        clear: jax.Array,
        axis: str | None = None,
    ) -> tuple[TrainState, Metrics]:
        """Run `chunks` chunks; fewer where the host has to look at an update.

        Args:
          env: batched environment.
          state: donated.
          chunks: i32; 0 is allowed.
          clear: i32, 1 where the last row was logged: averages start afresh.
          axis: name of the `vmap` over seeds that this runs in; all of them stop when
            one has to, or every one's whole state would be chosen in every chunk.

        Returns:
          The state, and `report(state)`.
        """

        def going(loop):
            alarm = loop[1].guard.alarm.astype(jnp.int32)
            alarm = alarm if axis is None else jax.lax.pmax(alarm, axis)
            return (loop[0] < chunks) & (alarm == 0)

        body = lambda loop: (loop[0] + 1, self.one_chunk(env, loop[1]))
        first = (jnp.zeros((), jnp.int32), cleared(state, clear))
        state = jax.lax.while_loop(going, body, first)[1]
        return state, report(state)

    def one_chunk(self, env: Batched, state: TrainState) -> TrainState:
        """T steps of every environment, then the updates they pay for."""
        key, key_act, _, key_learn = jax.random.split(state.key, 4)
        state = self.collect(env, state.replace(key=key), key_act, "train")
        if hasattr(self.agent, "label"):
            state = self.label(state)
        _, updates = self.chunk
        if updates:
            keys = jax.random.split(key_learn, updates)
            learn = lambda state, key: (self.learn(state, key), None)
            state, _ = jax.lax.scan(learn, state, keys)
        return state.replace(
            chunks=state.chunks + 1, since_chunks=state.since_chunks + 1
        )

    def chunk_keys(self, key: Key, mode: str):
        """(next key, T acting keys, n update keys), as `one_chunk` and
        `prefill` draw them; tuples of single keys, since indexing outside a program
        takes longer than many an environment's step."""
        T, updates = self.chunk
        if mode == "prefill":
            key, key_act = jax.random.split(key)
            return key, tuple(jax.random.split(key_act, T)), ()
        key, key_act, _, key_learn = jax.random.split(key, 4)
        learn = tuple(jax.random.split(key_learn, updates)) if updates else ()
        return key, tuple(jax.random.split(key_act, T)), learn

    def update_keys(self, key: Key) -> tuple[Key, dict[str, Key]]:
        """(key of the update, key of each batch), as `learn` draws them."""
        key_update, key_sample = jax.random.split(key)
        shapes = self.update_batches()
        keys = jax.random.split(key_sample, len(shapes))
        return key_update, dict(zip(shapes, keys, strict=True))

    def collect(self, env: Batched, state: TrainState, key: Key, mode) -> TrainState:
        """Act and step T times, then add the T steps of every row to the buffer."""
        actor = self.agent.actor(state.agent)

        def body(loop, key):
            env_state, timestep, carry, stats, step = loop
            carry, action, extras = self.agent.act(actor, key, carry, timestep, mode)
            record = Step(timestep._replace(private=None), action, extras)
            env_state, timestep = env.step(env_state, action)
            stats = statistics.update(stats, timestep)
            step = step + jnp.sum(~timestep.is_first, dtype=jnp.int32)
            return (env_state, timestep, carry, stats, step), record

        loop = (state.env, state.timestep, state.carry, state.stats, state.step)
        loop, steps = jax.lax.scan(body, loop, jax.random.split(key, self.chunk[0]))
        env_state, timestep, carry, stats, step = loop
        return state.replace(
            buffer=self.add(state.buffer, steps, timestep),
            env=env_state,
            timestep=timestep,
            carry=carry,
            stats=stats,
            step=step,
        )

    def add(self, buffer: Tree, steps: Step, last: TimeStep) -> Tree:
        """The buffer after `steps` `[T, B, …]` and the time step after them."""
        steps = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), steps)
        return self.buffer.add(buffer, steps, last._replace(private=None))

    def label(self, state: TrainState) -> TrainState:
        """Write what the agent says of the newest W steps: outcomes, priorities."""
        _, W = self.agent.batches(self.schedule)["label"]
        newest = self.buffer.newest(state.buffer, W)
        feedback = self.agent.label(state.agent, newest)
        return state.replace(buffer=self.buffer.write(state.buffer, feedback))

    def learn(self, state: TrainState, key: Key) -> TrainState:
        """One update: sample, update, write back."""
        key_update, keys = self.update_keys(key)
        buffer, batches = self.draw(state.buffer, keys)
        state = state.replace(updates=state.updates + 1)
        state, feedback = self.update(state, key_update, batches)
        for name in sorted(feedback):
            buffer = self.buffer.write(buffer, feedback[name])
        return state.replace(buffer=buffer)

    def update(self, state: TrainState, key: Key, batches: dict[str, Any]):
        """One update of the agent, unless it is not finite: (state, feedback)."""

        def update():
            agent, feedback, metrics = self.agent_update(state.agent, key, batches)
            return agent, feedback, as_float(metrics)

        policy = self.schedule.nonfinite
        guard, agent, feedback, metrics, drop = guard_lib.guarded(
            state.guard, policy, key, batches, state.agent, update
        )
        made = state.since_updates + ~drop
        sums = {name: state.sums[name] + metrics[name] for name in state.sums}
        state = state.replace(agent=agent, guard=guard, sums=sums, since_updates=made)
        return state, feedback

    def draw(self, buffer: Tree, keys: dict[str, Key]) -> tuple[Tree, dict[str, Any]]:
        """The batches of an update."""
        batches = {}
        for name, (N, L) in self.update_batches().items():
            buffer, batch = self.buffer.sample(buffer, keys[name], N, L)
            batches[name] = spread(batch)
        return buffer, batches

    def example(self, agent: Tree, timestep: TimeStep) -> Step:
        """Shapes of the first stored step, `[B, …]`, without computing it."""

        def first(state, timestep):
            actor = self.agent.actor(state)
            carry = self.agent.start(actor, timestep.reward.shape[0])
            key = jax.random.key(0)
            act = self.agent.act(actor, key, carry, timestep, "prefill")
            return Step(timestep._replace(private=None), *act[1:])

        return cast(Step, jax.eval_shape(first, agent, timestep))

    def blank(self, agent: Tree, buffer: Tree) -> tuple[Metrics, Tree]:
        """Zeros for every metric that `update` returns, and shapes of its batches."""
        if not self.chunk[1]:
            return {}, {}
        keys = self.update_keys(jax.random.key(0))[1]
        return self.zeros(agent, jax.eval_shape(self.draw, buffer, keys)[1])

    def zeros(self, agent: Tree, batches: dict[str, Any]) -> tuple[Metrics, Tree]:
        """As `blank`, for batches of these shapes."""
        key = jax.random.key(0)
        metrics = jax.eval_shape(self.agent_update, agent, key, batches)[2]
        return {name: jnp.zeros((), jnp.float32) for name in metrics}, batches

    def fit(self, env: Batched, state: TrainState) -> tuple[TrainState, Metrics]:
        """Let the agent learn from everything collected so far."""
        key, key_fit = jax.random.split(state.key)
        dataset = self.buffer.dataset(state.buffer)
        agent, metrics = self.agent.fit(state.agent, key_fit, dataset)
        metrics, guard = as_float(metrics), state.guard
        bad = ~guard_lib.finite(state.agent, agent, metrics)
        policy = self.schedule.nonfinite
        guard = guard_lib.after(guard, policy, bad, key_fit, guard.batch)
        agent = guard_lib.kept(bad, state.agent, agent)
        state = state.replace(agent=agent, guard=guard, key=key, fits=state.fits + 1)
        return state, metrics

    def reanalyse(self, env: Batched, state: TrainState) -> tuple[TrainState, Metrics]:
        """Refresh stored targets of one batch."""
        key, key_sample, key_agent = jax.random.split(state.key, 3)
        N, L = self.agent.batches(self.schedule)["reanalyse"]
        buffer, sample = self.buffer.sample(state.buffer, key_sample, N, L)
        feedback = self.agent.reanalyse(state.agent, key_agent, sample)
        buffer = self.buffer.write(buffer, feedback)
        count = state.reanalyses + 1
        return state.replace(buffer=buffer, key=key, reanalyses=count), {}


def loop_of(agent: Any, schedule: Schedule, buffer: Any = None) -> Loop:
    """A `Loop` with the agent's own buffer, or uniform replay, by default."""
    return Loop(agent, buffer or default_buffer(agent, schedule), schedule)


def batched(env: Any) -> Batched:
    """`env` as a batch with its default autoreset; a batch stays as it is."""
    return env if isinstance(env, Batched) else batch(env)


def strong(leaf: jax.Array) -> jax.Array:
    """The same array, its type as if it had been asked for."""
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return leaf if is_key else leaf.astype(leaf.dtype)


def as_float(metrics: Metrics) -> Metrics:
    """Metrics as float32 scalars."""
    return {name: jnp.mean(jnp.asarray(x, jnp.float32)) for name, x in metrics.items()}


def cleared(state: TrainState, clear: jax.Array) -> TrainState:
    """The state with averages started afresh where `clear` is 1."""
    fresh = state.replace(
        stats=statistics.clear(state.stats),
        sums=jax.tree.map(jnp.zeros_like, state.sums),
        since_chunks=jnp.zeros_like(state.since_chunks),
        since_updates=jnp.zeros_like(state.since_updates),
    )
    select = lambda new, old: jnp.where(clear > 0, new, old)
    return state.replace(
        stats=jax.tree.map(select, fresh.stats, state.stats),
        sums=jax.tree.map(select, fresh.sums, state.sums),
        since_chunks=select(fresh.since_chunks, state.since_chunks),
        since_updates=select(fresh.since_updates, state.since_updates),
    )


def report(state: TrainState) -> Metrics:
    """What a row says: counters, episodes, and averages since the last row."""
    count = jnp.maximum(state.since_updates, 1).astype(jnp.float32)
    return {
        "step": state.step,
        "chunks": state.chunks,
        "updates": state.updates,
        "fits": state.fits,
        "reanalyses": state.reanalyses,
        "since_chunks": state.since_chunks,
        "skipped": state.guard.skipped,
        "alarm": state.guard.alarm,
        **statistics.summary(state.stats),
        **{name: total / count for name, total in state.sums.items()},
    }
