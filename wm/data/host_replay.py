"""Replay in host memory, for what does not fit on the device.

`HostReplay` has the methods and the semantics of `Replay`, in numpy, with one
difference: its state is mutable, `add`, `sample` and `write` change it and return it.
`train_host` draws a batch and copies it to the device while the one before is learned
from.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import jax
import numpy as np

from wm.data.replay import check_capacity, queue_bounds, slots_per_row
from wm.data.ring import check_values, does_not_fit, stored_part
from wm.types import Batch, Dataset, Feedback, Index, Key, Step, TimeStep


@dataclasses.dataclass
class HostReplayState:
    """Stored steps, mutable. Build with `HostReplay.init`."""

    steps: Step
    """numpy leaves `[rows, slots, …]`."""
    count: int
    """Steps stored per row since the beginning."""
    served: int
    """Queued windows handed out or skipped so far."""

    @property
    def rows(self) -> int:
        """Environments."""
        return self.steps.timestep.reward.shape[0]

    @property
    def slots(self) -> int:
        """Steps kept per environment."""
        return self.steps.timestep.reward.shape[1]

    @property
    def oldest(self) -> int:
        """Time of the oldest step still stored."""
        return max(self.count - self.slots, 0)


@dataclasses.dataclass(frozen=True)
class HostReplay:
    """Uniform windows with a queue of new ones, in numpy; see `Replay`."""

    capacity: int
    """Steps over all rows; each row gets `capacity // rows` slots."""
    length: int
    """Steps per queued window; samples of other lengths are all uniform."""
    newest_first: bool = True
    """Whether the queue is served before uniform windows."""

    def __post_init__(self):
        check_capacity(self.capacity, self.length)

    def init(self, example: Step) -> HostReplayState:
        """Empty storage for steps like `example`, `[rows, …]` arrays or shapes.

        Pages are touched when first written: memory grows with what is stored.

        Raises:
          ValueError: `capacity` leaves less than `length` slots per row.
        """
        example = stored_part(example)
        slots = slots_per_row(self.capacity, self.length, example)
        steps = jax.tree.map(
            lambda x: np.zeros((x.shape[0], slots, *x.shape[1:]), x.dtype), example
        )
        return HostReplayState(steps=steps, count=0, served=0)

    def minimum(self, rows: int, L: int) -> int:
        """Steps over all rows to collect before `sample(…, L)` is meaningful."""
        return rows * L

    def add(
        self, state: HostReplayState, steps: Step, last: TimeStep
    ) -> HostReplayState:
        """Append `steps` `[rows, T, …]`, T at most the slots; `last` is not kept."""
        steps = stored_part(steps)
        T = steps.timestep.reward.shape[1]
        if state.slots < T:
            raise does_not_fit(T, state.slots)
        begin = state.count % state.slots
        fits = min(T, state.slots - begin)

        def put(column, values):
            values = np.asarray(values)
            check_values(values, 2, column.shape[2:], column.dtype)
            column[:, begin : begin + fits] = values[:, :fits]
            column[:, : T - fits] = values[:, fits:]

        jax.tree.map(put, state.steps, steps)
        state.count += T
        return state

    def sample(
        self, state: HostReplayState, key: Key, N: int, L: int
    ) -> tuple[HostReplayState, Batch]:
        """N windows of L consecutive steps as numpy arrays; see `Replay.sample`.

        Args:
          state: holds at least `minimum(rows, L)` steps.
          key: consumed; seeds a numpy generator.
          N: windows.
          L: steps per window.
        """
        row, start, probability = self.draw(state, key, N, L)
        return state, copy_windows(state.steps, state.slots, row, start, L, probability)

    def draw(
        self, state: HostReplayState, key: Key, N: int, L: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, start times and probabilities `[N]` of a sample; advances the queue."""
        if not 1 <= L <= state.slots:
            raise ValueError(f"L must be in 1..{state.slots} (slots per row), got {L}")
        words = np.asarray(jax.random.key_data(key)).tolist()
        generator = np.random.default_rng(words)
        starts = max(min(state.count, state.slots) - L + 1, 1)
        row = generator.integers(0, state.rows, N)
        start = state.oldest + generator.integers(0, starts, N)
        if self.newest_first and self.length == L:
            head, tail = queue_bounds(
                state.count, state.oldest, state.served, L, state.rows
            )
            number = head + np.arange(N)
            row = np.where(number < tail, number % state.rows, row)
            start = np.where(number < tail, number // state.rows * L, start)
            state.served = int(min(head + N, tail))
        probability = np.full(N, 1 / (state.rows * starts), np.float32)
        return row.astype(np.int32), start.astype(np.int32), probability

    def newest(self, state: HostReplayState, W: int) -> Batch:
        """The newest W steps of every row, `[rows, W, …]`; see `Replay.newest`."""
        if not 1 <= W <= state.slots:
            raise ValueError(f"W must be in 1..{state.slots} (slots per row), got {W}")
        row = np.arange(state.rows, dtype=np.int32)
        start = np.full(state.rows, state.count - W, np.int32)
        ones = np.ones(state.rows, np.float32)
        return copy_windows(state.steps, state.slots, row, start, W, ones)

    def write(self, state: HostReplayState, feedback: Feedback) -> HostReplayState:
        """Replace stored extras; see `ring.write` for who wins and what is dropped."""
        row, time = (np.asarray(x) for x in feedback.index)
        mask = np.asarray(feedback.mask) & self.holds(state, feedback.index)
        row, slot = row[mask], time[mask] % state.slots

        def put(column, values):
            values = np.asarray(values)
            check_values(values, 2, column.shape[2:], column.dtype)
            # Repeated indices: numpy keeps the last value, which is our rule.
            column[row, slot] = values[mask].astype(column.dtype)

        for name, values in feedback.fields.items():
            if name not in state.steps.extras:
                known = sorted(state.steps.extras)
                raise ValueError(f"no stored field {name!r}; stored: {known}")
            jax.tree.map(put, state.steps.extras[name], values)
        return state

    def read(self, state: HostReplayState, index: Index) -> Batch:
        """The steps at `index` `[N, L]`, whatever lies there now; see `holds`."""
        row, time = (cast(Any, np.asarray(x)) for x in index)
        steps = jax.tree.map(lambda x: x[row, time % state.slots], state.steps)
        return as_batch(steps, Index(row, time), np.ones(time.shape[0], np.float32))

    def holds(self, state: HostReplayState, index: Index) -> np.ndarray:
        """bool, like `index.time`: that very step is still stored."""
        time = np.asarray(index.time)
        return (time >= state.oldest) & (time < state.count)

    def dataset(self, state: HostReplayState) -> Dataset:
        """Everything in slot order. Leaves are the storage itself, not copies."""
        slot = np.arange(state.slots)
        time = state.count - 1 - (state.count - 1 - slot) % state.slots
        follows = (time >= 0) & (time < state.count - 1)
        timestep = state.steps.timestep
        next_first = np.roll(timestep.is_first, -1, axis=1)
        mask = follows & ~next_first & ~timestep.is_last
        return Dataset(state.steps, mask, self.size(state))  # type: ignore[arg-type]

    def size(self, state: HostReplayState) -> Any:
        """Stored steps over all rows."""
        return np.int32(min(state.count, state.slots) * state.rows)

    def state(self, state: HostReplayState) -> dict[str, Any]:
        """What a checkpoint keeps: a pytree of numpy arrays, not copied."""
        counters = {"count": np.int64(state.count), "served": np.int64(state.served)}
        return {"steps": state.steps, **counters}

    def restore(self, saved: dict[str, Any]) -> HostReplayState:
        """The inverse of `state`."""
        steps = jax.tree.map(lambda x: np.require(x, requirements="W"), saved["steps"])
        return HostReplayState(steps, int(saved["count"]), int(saved["served"]))


def copy_windows(steps, slots: int, row, start, L: int, probability) -> Batch:
    """Windows `[N, L, …]` by contiguous slices: fancy indexing takes three times it."""

    def gather(column):
        out = np.empty((len(row), L, *column.shape[2:]), column.dtype)
        for n, (r, begin) in enumerate(zip(row, start % slots, strict=True)):
            fits = min(L, slots - begin)
            out[n, :fits] = column[r, begin : begin + fits]
            out[n, fits:] = column[r, : L - fits]
        return out

    time = start[:, None] + np.arange(L, dtype=np.int32)
    rows = np.broadcast_to(row[:, None], time.shape)
    index = Index(cast(Any, rows), cast(Any, time))
    return as_batch(jax.tree.map(gather, steps), index, probability)


def as_batch(steps: Step, index: Any, probability: Any) -> Batch:
    """Steps `[N, L]` as a Batch, abandoned episodes ended (see `ring.read`)."""
    timestep = steps.timestep
    follows = (index.time[:, 1:] == index.time[:, :-1] + 1) & (
        index.row[:, 1:] == index.row[:, :-1]
    )
    ends = np.pad(follows & timestep.is_first[:, 1:], ((0, 0), (0, 1)))
    timestep = timestep._replace(is_last=timestep.is_last | ends)
    return Batch(timestep, steps.action, steps.extras, index, probability)
