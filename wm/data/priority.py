"""Prioritized replay: a sum tree, and windows drawn in proportion to a priority."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.data import replay as replay_lib
from wm.data import ring as ring_lib
from wm.data.ring import Ring
from wm.nodes import Node
from wm.types import Batch, Dataset, Feedback, Index, Key, Step, TimeStep

FIELD = "priority"
"""Name under which agents give priorities back."""


def tree_empty(leaves: int) -> jax.Array:
    """A sum tree of at least `leaves` zeros, f32 `[2 · 2^d]`; node 1 is the sum."""
    depth = max(leaves - 1, 1).bit_length()
    return jnp.zeros(2 << depth, jnp.float32)


def tree_depth(tree: jax.Array) -> int:
    """Levels below the root."""
    return tree.shape[0].bit_length() - 2


def tree_set(
    tree: jax.Array, leaf: jax.Array, value: jax.Array, valid: jax.Array
) -> jax.Array:
    """Set leaves `[M]` to values `[M]` where `valid`; in place when donated.

    Parents are summed anew, so nothing drifts. Of several valid values for one leaf
    the last wins.
    """
    size = tree.shape[0]
    chosen = ring_lib.winners(leaf, valid)
    outside = size + jnp.arange(leaf.shape[0], dtype=jnp.int32)
    node = jnp.where(chosen, size // 2 + leaf, outside)
    tree = tree.at[node].set(value, mode="drop", unique_indices=True)

    def level(_, loop):
        tree, node = loop
        node = node // 2
        # Children of one parent write the same sum twice: any order is the same.
        total = tree[jnp.minimum(2 * node, size - 2)]
        total += tree[jnp.minimum(2 * node + 1, size - 1)]
        target = jnp.where(chosen, node, size)
        return tree.at[target].set(total, mode="drop"), node

    node = jnp.where(chosen, node, size // 2)
    return jax.lax.fori_loop(0, tree_depth(tree), level, (tree, node))[0]


def tree_find(tree: jax.Array, mass: jax.Array) -> jax.Array:
    """Leaves `[N]` at which the running sum of leaves exceeds `mass` `[N]`.

    Never a leaf of zero while the tree holds any mass: rounding at the end of a
    subtree is caught by not entering empty ones.
    """

    def level(_, loop):
        node, mass = loop
        left, right = tree[2 * node], tree[2 * node + 1]
        go_right = ((mass >= left) & (right > 0)) | (left <= 0)
        return 2 * node + go_right, jnp.where(go_right, mass - left, mass)

    start = (jnp.ones(mass.shape, jnp.int32), mass)
    node, _ = jax.lax.fori_loop(0, tree_depth(tree), level, start)
    return node - tree.shape[0] // 2


class PrioritizedState(Node):
    """Stored steps and the priorities of the windows that begin at them."""

    ring: Ring
    tree: jax.Array
    """f32, sum tree over `row * slots + slot`; 0 where no whole window begins."""
    largest: jax.Array
    """f32, largest leaf ever set; new windows get it."""


@dataclasses.dataclass(frozen=True)
class PrioritizedReplay:
    """Windows drawn in proportion to `priority ** exponent`.

    A priority belongs to the window of `length` steps that begins at a step. New
    windows get the largest priority so far. Agents write `"priority"` `[N, L]` back:
    entry (n, l) is for the window beginning there; negative or NaN entries, masked
    ones, and those of windows that are incomplete or overwritten change nothing.
    Weights against the bias are the agent's, from `Batch.probability`.

    Source: Schaul et al. 2016, section 3.3 (proportional, stratified draws).
    """

    capacity: int
    """Steps over all rows; each row gets `capacity // rows` slots."""
    length: int
    """Steps per window; the only L that `sample` takes."""
    exponent: float = 0.6
    """0 is uniform, 1 fully proportional (Schaul et al. 2016, Table 3: 0.6)."""

    def __post_init__(self):
        replay_lib.check_capacity(self.capacity, self.length)
        if self.exponent < 0:
            raise ValueError(f"exponent must be at least 0, got {self.exponent}")

    def init(self, example: Step) -> PrioritizedState:
        """Empty storage for steps like `example`, `[rows, …]` arrays or shapes.

        Raises:
          ValueError: `capacity` leaves less than `length` slots per row.
        """
        slots = replay_lib.slots_per_row(self.capacity, self.length, example)
        ring = ring_lib.empty(example, slots)
        return PrioritizedState(
            ring=ring,
            tree=tree_empty(ring.rows * slots),
            largest=jnp.ones((), jnp.float32),
        )

    def minimum(self, rows: int, L: int) -> int:
        """Steps over all rows to collect before `sample(…, L)` is meaningful."""
        return rows * L

    def add(
        self, state: PrioritizedState, steps: Step, last: TimeStep
    ) -> PrioritizedState:
        """Append `steps` `[rows, T, …]`; windows they complete become drawable."""
        T = steps.timestep.reward.shape[1]
        ring = ring_lib.append(state.ring, steps)
        added = state.ring.count + jnp.arange(T)
        begun = added - self.length + 1
        # First the overwritten slots, then the windows completed and still whole: the
        # later entry of one slot wins.
        time = jnp.concatenate([added, begun])
        value = jnp.where(jnp.arange(2 * T) < T, 0.0, state.largest)
        row = jnp.arange(ring.rows)[:, None]
        leaf = row * ring.slots + time % ring.slots
        every = lambda x: jnp.broadcast_to(x, leaf.shape).reshape(-1)
        valid = time >= ring.oldest
        tree = tree_set(state.tree, leaf.reshape(-1), every(value), every(valid))
        return state.replace(ring=ring, tree=tree)

    def sample(
        self, state: PrioritizedState, key: Key, N: int, L: int
    ) -> tuple[PrioritizedState, Batch]:
        """N windows of L = `length` steps, one from each of N equal strata of mass.

        Args:
          state: holds at least `minimum(rows, L)` steps.
          key: consumed.
          N: windows.
          L: equal to `length`.
        """
        if self.length != L:
            raise ValueError(f"L must be length={self.length}, got {L}")
        ring, total = state.ring, state.tree[1]
        strata = (jnp.arange(N) + jax.random.uniform(key, (N,))) / N
        leaf = jnp.minimum(
            tree_find(state.tree, strata * total), ring.rows * ring.slots - 1
        )
        row, slot = leaf // ring.slots, leaf % ring.slots
        start = ring.oldest + (slot - ring.oldest) % ring.slots
        probability = state.tree[state.tree.shape[0] // 2 + leaf] / total
        index = ring_lib.windows(ring, row, start, L)
        return state, ring_lib.read(ring, index, probability)

    def newest(self, state: PrioritizedState, W: int) -> Batch:
        """The newest W steps of every row, `[rows, W, …]`; see `Replay.newest`."""
        return replay_lib.newest(state.ring, W)

    def write(self, state: PrioritizedState, feedback: Feedback) -> PrioritizedState:
        """Replace stored extras, and priorities where `"priority"` is among them."""
        fields = dict(feedback.fields)
        priority = fields.pop(FIELD, None)
        if fields:
            rest = feedback._replace(fields=fields)
            state = state.replace(ring=ring_lib.write(state.ring, rest))
        if priority is None:
            return state
        ring, index = state.ring, feedback.index
        end = index._replace(time=index.time + self.length - 1)
        valid = feedback.mask & ring_lib.holds(ring, index) & ring_lib.holds(ring, end)
        valid &= priority >= 0  # False for NaN.
        value = jnp.where(valid, priority, 0).astype(jnp.float32) ** self.exponent
        leaf = index.row * ring.slots + index.time % ring.slots
        tree = tree_set(
            state.tree, leaf.reshape(-1), value.reshape(-1), valid.reshape(-1)
        )
        largest = jnp.maximum(state.largest, jnp.max(jnp.where(valid, value, 0)))
        return state.replace(tree=tree, largest=largest)

    def read(self, state: PrioritizedState, index: Index) -> Batch:
        """The steps at `index` `[N, L]`, whatever lies there now."""
        ones = jnp.ones(index.time.shape[0], jnp.float32)
        return ring_lib.read(state.ring, index, ones)

    def dataset(self, state: PrioritizedState) -> Dataset:
        """Everything in slot order."""
        return ring_lib.dataset(state.ring)

    def size(self, state: PrioritizedState) -> jax.Array:
        """i32, stored steps over all rows."""
        return ring_lib.stored(state.ring)
