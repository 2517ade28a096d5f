"""Ring storage of steps, the part that every device buffer shares.

A ring is a pytree of columns `[rows, slots, …]`, one row per environment, and one
count: all rows grow together. The absolute time of a step is the number of steps that
its row had stored before it; it lies in slot `time % slots` and doubles as a generation
stamp. Functions only; what is drawn, and in which order, is decided by the buffers.

In a compiled loop the order is add, then read, then write what depends on the read.
Reading before adding, or writing something that does not depend on the read, makes XLA
copy the whole ring in every iteration.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.errors import UserError
from wm.nodes import Node, static
from wm.types import Batch, Dataset, Feedback, Index, Step, TimeStep, Tree


@dataclasses.dataclass(frozen=True)
class Column:
    """What one column holds, before packing."""

    shape: tuple[int, ...]
    """Of one step, without row and slot axes."""
    dtype: str
    """A numpy or ml_dtypes name."""

    @property
    def packed_shape(self) -> tuple[int, ...]:
        """Trailing axes are joined: accelerators pad small minor axes."""
        return self.shape if len(self.shape) < 2 else (math.prod(self.shape),)

    @property
    def packed_dtype(self) -> np.dtype:
        """Floats narrower than 32 bits are kept as integers of their width.

        A bfloat16 scatter on CPU converts the whole column to float32 and back.
        """
        dtype = jnp.dtype(self.dtype)
        narrow = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
        return np.dtype(f"uint{8 * dtype.itemsize}") if narrow else np.dtype(dtype)


class Ring(Node):
    """Stored steps. Build with `empty`."""

    columns: Step
    """Packed, every leaf `[rows, slots, …]`; `private` is None."""
    count: jax.Array
    """i32, steps stored per row since the beginning."""
    layout: tuple[Column, ...] = static()
    """What each leaf of `columns` holds, in leaf order."""

    @property
    def rows(self) -> int:
        """Environments."""
        return self.columns.timestep.reward.shape[0]

    @property
    def slots(self) -> int:
        """Steps kept per environment."""
        return self.columns.timestep.reward.shape[1]

    @property
    def oldest(self) -> jax.Array:
        """i32, time of the oldest step still stored."""
        return jnp.maximum(self.count - self.slots, 0)


def empty(example: Step, slots: int) -> Ring:
    """A ring without steps.

    Args:
      example: one step of every row, `[rows, …]` arrays or their shapes.
      slots: steps kept per row.
    """
    example = stored_part(example)
    rows = example.timestep.reward.shape[0]
    layout = columns_of(example)
    leaves = [
        jnp.zeros((rows, slots, *column.packed_shape), column.packed_dtype)
        for column in layout
    ]
    columns = jax.tree.unflatten(jax.tree.structure(example), leaves)
    return Ring(columns=columns, count=jnp.zeros((), jnp.int32), layout=layout)


def append(ring: Ring, steps: Step) -> Ring:
    """Store `steps` `[rows, T, …]` behind the newest ones, in place when donated."""
    steps = stored_part(steps)
    T = steps.timestep.reward.shape[1]
    if ring.slots < T:
        raise does_not_fit(T, ring.slots)
    slots = (ring.count + jnp.arange(T)) % ring.slots

    def put(column, values, layout):
        values = pack(values, layout, lead=2)
        return column.at[:, slots].set(
            values, mode="promise_in_bounds", unique_indices=True
        )

    leaves = map(
        put, jax.tree.leaves(ring.columns), jax.tree.leaves(steps), ring.layout
    )
    columns = jax.tree.unflatten(jax.tree.structure(ring.columns), list(leaves))
    return ring.replace(columns=columns, count=ring.count + T)


def windows(ring: Ring, row: jax.Array, start: jax.Array, L: int) -> Index:
    """Index `[N, L]` of the L steps from `start` `[N]` on, in `row` `[N]`."""
    time = start[:, None] + jnp.arange(L)
    return Index(jnp.broadcast_to(row[:, None], time.shape), time)


def read(ring: Ring, index: Index, probability: jax.Array) -> Batch:
    """The steps at `index` `[N, L]`, unpacked.

    Where the next record of a window is the next stored step and begins an episode,
    `is_last` is forced: the episode was abandoned there (a restart), which is a
    truncation. Times that are not stored any more read what replaced them; see `holds`.
    """
    slot = index.time % ring.slots
    return _read(ring, index, probability, lambda column: column[index.row, slot])


def read_rows(ring: Ring, time: jax.Array) -> Batch:
    """The steps at `time` `[rows, L]` of every row, as `read` gives them.

    Rows stay where they are: on a mesh nothing is sent.
    """
    row = jnp.arange(ring.rows)[:, None]
    index = Index(jnp.broadcast_to(row, time.shape), time)
    slot = time % ring.slots
    take = jax.vmap(lambda column, slot: column[slot])
    ones = jnp.ones(ring.rows, jnp.float32)
    return _read(ring, index, ones, lambda column: take(column, slot))


def _read(ring: Ring, index: Index, probability: jax.Array, take: Any) -> Batch:
    steps = unpack_all(ring, take, jax.tree.leaves(ring.columns))
    timestep = steps.timestep
    follows = (index.time[:, 1:] == index.time[:, :-1] + 1) & (
        index.row[:, 1:] == index.row[:, :-1]
    )
    ends = jnp.pad(follows & timestep.is_first[:, 1:], ((0, 0), (0, 1)))
    timestep = timestep._replace(is_last=timestep.is_last | ends)
    return Batch(timestep, steps.action, steps.extras, index, probability)


def holds(ring: Ring, index: Index) -> jax.Array:
    """bool, like `index.time`: that very step is stored, not its successor."""
    return (index.time >= ring.oldest) & (index.time < ring.count)


def write(ring: Ring, feedback: Feedback) -> Ring:
    """Replace stored extras where the mask is true and the step is still stored.

    Sequences may overlap: of several values for one slot, the one latest in batch
    order (row major) wins, on every platform. Values are cast within their kind.

    Raises:
      ValueError: a field that is not stored, or of another kind (integer, float).
    """
    index = feedback.index
    chosen = winners(
        index.row * ring.slots + index.time % ring.slots,
        feedback.mask & holds(ring, index),
    )
    # Losers get rows past the end, all different, and are dropped by the scatter.
    outside = ring.rows + jnp.arange(chosen.size, dtype=jnp.int32)
    row = jnp.where(chosen, index.row, outside.reshape(chosen.shape))
    slot = index.time % ring.slots

    def put(column, values, layout):
        values = pack(values, layout, lead=2)
        return column.at[row, slot].set(values, mode="drop", unique_indices=True)

    extras = dict(ring.columns.extras)
    layouts = jax.tree.unflatten(jax.tree.structure(ring.columns), ring.layout).extras
    for name, values in feedback.fields.items():
        if name not in extras:
            raise ValueError(f"no stored field {name!r}; stored: {sorted(extras)}")
        extras[name] = jax.tree.map(put, extras[name], values, layouts[name])
    return ring.replace(columns=ring.columns._replace(extras=extras))


def write_parts(ring: Ring, feedback: Feedback, parts: int) -> Ring:
    """`write` where the i-th part of a batch came from the i-th part of the rows."""
    rows = ring.rows // parts

    def one(columns, part, first):
        index = part.index._replace(row=part.index.row - first)
        part = part._replace(index=index)
        return write(ring.replace(columns=columns), part).columns

    split = lambda tree: split_rows(tree, parts)
    first = rows * jnp.arange(parts)
    columns = jax.vmap(one)(split(ring.columns), split(feedback), first)
    return ring.replace(columns=joined_rows(columns))


def split_rows(tree: Tree, parts: int) -> Tree:
    """Leaves `[rows, …]` as `[parts, rows / parts, …]`."""
    return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), tree)


def joined_rows(tree: Tree) -> Tree:
    """The inverse of `split_rows`."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def winners(slot: jax.Array, valid: jax.Array) -> jax.Array:
    """bool, like `slot`: the last valid entry (row major) of each distinct slot."""
    flat = jnp.where(valid, slot, jnp.iinfo(jnp.int32).max).reshape(-1)
    position = jnp.arange(flat.size)
    # Slots numbered by rank, so that the table is as small as the batch. A maximum
    # does not depend on the order of a scatter. (A stable argsort takes four times it.)
    rank = jnp.searchsorted(jnp.sort(flat), flat)
    last = jnp.zeros(flat.size, jnp.int32).at[rank].max(position)
    return (last[rank] == position).reshape(slot.shape) & valid


def dataset(ring: Ring) -> Dataset:
    """Everything in slot order; see `wm.types.Dataset`. `is_last` is as stored."""
    steps = unpack_all(ring, lambda column: column, jax.tree.leaves(ring.columns))
    slot = jnp.arange(ring.slots)
    # Time that each slot holds: the newest t < count with t % slots == slot.
    time = ring.count - 1 - (ring.count - 1 - slot) % ring.slots
    follows = (time >= 0) & (time < ring.count - 1)
    next_first = jnp.roll(steps.timestep.is_first, -1, axis=1)
    mask = follows & ~next_first & ~steps.timestep.is_last
    return Dataset(steps, mask, stored(ring))


def stored(ring: Ring) -> jax.Array:
    """i32, steps stored over all rows."""
    return jnp.minimum(ring.count, ring.slots) * ring.rows


def stored_part(step: Step) -> Step:
    """`step` without what is never stored: the rules' private state."""
    timestep: TimeStep = step.timestep._replace(private=None)
    return Step(timestep, step.action, step.extras)


def columns_of(example: Step) -> tuple[Column, ...]:
    """Layout of steps like `example`, whose leaves are `[rows, …]`."""
    return tuple(
        Column(tuple(leaf.shape[1:]), jnp.dtype(leaf.dtype).name)
        for leaf in jax.tree.leaves(example)
    )


def pack(values: Any, column: Column, lead: int) -> jax.Array:
    """Values with `lead` leading axes in the form in which they are stored."""
    values = jnp.asarray(values)
    dtype = jnp.dtype(column.dtype)
    check_values(values, lead, column.shape, dtype)
    values = values.astype(dtype)
    if column.packed_dtype != dtype:
        values = jax.lax.bitcast_convert_type(values, column.packed_dtype)
    return values.reshape(*values.shape[:lead], *column.packed_shape)


def check_values(values: Any, lead: int, shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse values that a column of `shape` and `dtype` would have to bend.

    Raises:
      ValueError: another shape behind the `lead` axes, or floats for integers.
    """
    floating = lambda dtype: jnp.issubdtype(dtype, jnp.floating)
    if floating(values.dtype) != floating(dtype):
        raise ValueError(f"stored as {dtype}, got {values.dtype}")
    if values.shape[lead:] != shape:
        raise ValueError(f"stored with shape {shape}, got {values.shape[lead:]}")


def unpack(values: jax.Array, column: Column) -> jax.Array:
    """The inverse of `pack`."""
    lead = values.ndim - len(column.packed_shape)
    values = values.reshape(*values.shape[:lead], *column.shape)
    if column.packed_dtype != jnp.dtype(column.dtype):
        values = jax.lax.bitcast_convert_type(values, jnp.dtype(column.dtype))
    return values


def unpack_all(ring: Ring, take: Any, leaves: list[Tree]) -> Step:
    """`take` applied to every column, unpacked."""
    leaves = [
        unpack(take(leaf), column)
        for leaf, column in zip(leaves, ring.layout, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(ring.columns), leaves)


def does_not_fit(steps: int, slots: int) -> UserError:
    """The error that a chunk is larger than the storage of a row."""
    return UserError(
        f"cannot add {steps:,} steps of each environment at once to a replay of "
        f"{slots:,}: raise --train.replay, or --train.train_ratio for shorter chunks"
    )
