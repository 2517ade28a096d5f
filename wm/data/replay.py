"""Uniform replay on the device, with a queue that serves new data first.

Everything is in place inside a compiled loop, also under `vmap` over seeds, as long as
the order is add, sample, write (`ring.py` says why).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.data import ring as ring_lib
from wm.data.ring import Ring
from wm.errors import UserError
from wm.nodes import Node
from wm.types import Batch, Dataset, Feedback, Index, Key, Step, TimeStep


class ReplayState(Node):
    """Stored steps and the position in the queue."""

    ring: Ring
    served: jax.Array
    """i32, queued windows handed out or skipped so far."""


@dataclasses.dataclass(frozen=True)
class Replay:
    """Uniform windows over everything stored; implements `wm.types.Buffer`.

    Each row cuts its stream into windows of `length` steps. Whenever one is complete it
    joins a queue, and samples of that length are served from the queue, oldest window
    first, before any is drawn uniformly; windows partly overwritten meanwhile are
    skipped. So all data is trained on once, soon after it was collected.
    All rows grow together, hence the queue is two counters and no storage.

    Source: danijar/dreamerv3 e3f0224, embodied/core/replay.py (`online`). Differs: the
    first queued window of a row starts at its first step, theirs at the second.
    """

    capacity: int
    """Steps over all rows; each row gets `capacity // rows` slots."""
    length: int
    """Steps per queued window; samples of other lengths are all uniform."""
    newest_first: bool = True
    """Whether the queue is served before uniform windows."""
    parts: int = 1
    """Equal parts of the rows that give equal parts of every batch: devices between
    which the parts are split draw and write without sending anything."""

    def __post_init__(self):
        check_capacity(self.capacity, self.length)
        if self.parts < 1:
            raise ValueError(f"parts must be at least 1, got {self.parts}")

    def init(self, example: Step) -> ReplayState:
        """Empty storage.

        Args:
          example: one step of every row, `[rows, …]` arrays or their shapes.

        Raises:
          UserError: `capacity` leaves less than `length` slots per row, or rows do not
            divide into `parts`.
        """
        check_parts(self.parts, example.timestep.reward.shape[0], "--train.envs")
        slots = slots_per_row(self.capacity, self.length, example)
        return ReplayState(
            ring=ring_lib.empty(example, slots), served=jnp.zeros((), jnp.int32)
        )

    def minimum(self, rows: int, L: int) -> int:
        """Steps over all rows to collect before `sample(…, L)` is meaningful.

        Earlier samples are safe but contain empty steps (all zeros).
        """
        return rows * L

    def add(self, state: ReplayState, steps: Step, last: TimeStep) -> ReplayState:
        """Append `steps` `[rows, T, …]`, T at most the slots; `last` is not kept."""
        return state.replace(ring=ring_lib.append(state.ring, steps))

    def sample(
        self, state: ReplayState, key: Key, N: int, L: int
    ) -> tuple[ReplayState, Batch]:
        """N windows of L consecutive steps, never across the seam of the ring.

        `probability` is that of a uniform draw, also for queued windows.

        Args:
          state: holds at least `minimum(rows, L)` steps.
          key: consumed.
          N: windows.
          L: steps per window.

        Returns:
          The state with the queue advanced, and `Batch` `[N, L, …]`.
        """
        if self.parts == 1:
            return self._sample(state, key, N, L)
        check_parts(self.parts, N, "--train.batch_size")
        ring, parts = state.ring, self.parts

        def one(columns, key):
            part = state.replace(ring=ring.replace(columns=columns))
            part, batch = self._sample(part, key, N // parts, L)
            return part.served, batch

        # All rows grow together, so every part's queue is as long.
        columns = ring_lib.split_rows(ring.columns, parts)
        keys = jax.random.split(key, parts)
        served, batch = jax.vmap(one, out_axes=(None, 0))(columns, keys)
        first = ring.rows // parts * jnp.arange(parts)[:, None, None]
        index = batch.index._replace(row=batch.index.row + first)
        probability = batch.probability / parts
        batch = batch._replace(index=index, probability=probability)
        return state.replace(served=served), ring_lib.joined_rows(batch)

    def _sample(
        self, state: ReplayState, key: Key, N: int, L: int
    ) -> tuple[ReplayState, Batch]:
        """`sample` from one part."""
        ring = state.ring
        row, start, probability = draw_uniform(ring, key, N, L)
        served = state.served
        if self.newest_first and self.length == L:
            head, tail = queue_bounds(ring.count, ring.oldest, served, L, ring.rows)
            number = head + jnp.arange(N)
            queued = number < tail
            row = jnp.where(queued, number % ring.rows, row)
            start = jnp.where(queued, number // ring.rows * L, start)
            served = jnp.minimum(head + N, tail)
        index = ring_lib.windows(ring, row, start, L)
        batch = ring_lib.read(ring, index, probability)
        return state.replace(served=served), batch

    def newest(self, state: ReplayState, W: int) -> Batch:
        """The newest W steps of every row, `[rows, W, …]`.

        While fewer are stored the first ones are empty, with a negative time (which
        `write` drops).
        """
        return newest(state.ring, W)

    def write(self, state: ReplayState, feedback: Feedback) -> ReplayState:
        """Replace stored extras; see `ring.write` for who wins and what is dropped."""
        if self.parts == 1:
            return state.replace(ring=ring_lib.write(state.ring, feedback))
        return state.replace(
            ring=ring_lib.write_parts(state.ring, feedback, self.parts)
        )

    def read(self, state: ReplayState, index: Index) -> Batch:
        """The steps at `index` `[N, L]`, whatever lies there now; see `holds`."""
        ones = jnp.ones(index.time.shape[0], jnp.float32)
        return ring_lib.read(state.ring, index, ones)

    def holds(self, state: ReplayState, index: Index) -> jax.Array:
        """bool, like `index.time`: that very step is still stored."""
        return ring_lib.holds(state.ring, index)

    def dataset(self, state: ReplayState) -> Dataset:
        """Everything in slot order."""
        return ring_lib.dataset(state.ring)

    def size(self, state: ReplayState) -> jax.Array:
        """i32, stored steps over all rows."""
        return ring_lib.stored(state.ring)


def check_capacity(capacity: int, length: int) -> None:
    """Room for one window.

    Raises:
      ValueError: `length` below 1.
      UserError: less room.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    if capacity < length:
        raise UserError(
            f"a replay of {capacity:,} steps holds no sequence of {length}: raise "
            "--train.replay"
        )


def check_parts(parts: int, count: int, option: str) -> None:
    """Equal parts.

    Raises:
      UserError: they do not divide.
    """
    if count % parts:
        raise UserError(
            f"--train.replay_parts {parts} does not divide {option} {count}"
        )


def slots_per_row(capacity: int, length: int, example: Step) -> int:
    """Slots of each row, at least `length`.

    Raises:
      UserError: there would be fewer.
    """
    rows = example.timestep.reward.shape[0]
    slots = capacity // rows
    if slots < length:
        raise UserError(
            f"a replay of {capacity:,} steps leaves {slots:,} for each of {rows} "
            f"environments, fewer than one sequence of {length}: raise --train.replay"
        )
    return slots


def draw_uniform(
    ring: Ring, key: Key, N: int, L: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rows `[N]`, start times `[N]` and probabilities `[N]` of uniform windows."""
    if not 1 <= L <= ring.slots:
        raise ValueError(f"L must be in 1..{ring.slots} (slots per row), got {L}")
    key_row, key_start = jax.random.split(key)
    starts = jnp.maximum(jnp.minimum(ring.count, ring.slots) - L + 1, 1)
    row = jax.random.randint(key_row, (N,), 0, ring.rows)
    start = ring.oldest + jax.random.randint(key_start, (N,), 0, starts)
    probability = 1 / (ring.rows * starts.astype(jnp.float32))
    return row, start, jnp.broadcast_to(probability, (N,))


def queue_bounds(count, oldest, served, length: int, rows: int):
    """First and past-last number of the windows waiting; works on numpy too.

    Window `number` is the steps from `number // rows * length` on of row
    `number % rows`: rows complete their windows together.
    """
    tail = count // length * rows
    first_whole = -(-oldest // length) * rows
    head = served + (first_whole - served) * (first_whole > served)
    return head, tail


def newest(ring: Ring, W: int) -> Batch:
    """The newest W steps of every row."""
    if not 1 <= W <= ring.slots:
        raise ValueError(f"W must be in 1..{ring.slots} (slots per row), got {W}")
    time = ring.count - W + jnp.arange(W)
    return ring_lib.read_rows(ring, jnp.broadcast_to(time, (ring.rows, W)))
