"""The newest steps only, for agents that learn from what they just did."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.data import replay as replay_lib
from wm.data import ring as ring_lib
from wm.data.ring import Ring
from wm.nodes import Node
from wm.types import Batch, Dataset, Feedback, Index, Key, Step, TimeStep


class RolloutState(Node):
    """The newest T steps of every row, and the time step after them."""

    ring: Ring
    """Its newest record is `last` with zeros for action and extras."""


@dataclasses.dataclass(frozen=True)
class Rollout:
    """The newest T steps and `last`; implements `wm.types.Buffer`.

    T transitions need T + 1 records, since rewards arrive with the next observation.
    So `sample(…, N=rows, L=T + 1)` and `newest(T + 1)` give every row from its oldest
    step to `last`, which carries the newest action's reward and has no action yet
    (zeros, also for extras). It gives way to the real step at the next `add`.
    """

    T: int
    """Steps kept per row, besides `last`."""

    def __post_init__(self):
        if self.T < 1:
            raise ValueError(f"T must be at least 1, got {self.T}")

    def init(self, example: Step) -> RolloutState:
        """Empty storage for steps like `example`, `[rows, …]` arrays or shapes."""
        return RolloutState(ring=ring_lib.empty(example, self.T + 1))

    def minimum(self, rows: int, L: int) -> int:
        """Steps over all rows to collect before `sample(…, L)` is meaningful."""
        return rows * max(L - 1, 1)

    def add(self, state: RolloutState, steps: Step, last: TimeStep) -> RolloutState:
        """Append `steps` `[rows, T', …]` (T' at most T) and `last` `[rows, …]`."""
        ring = state.ring
        ring = ring.replace(count=jnp.maximum(ring.count - 1, 0))
        ring = ring_lib.append(ring, steps)
        blank = lambda tree: jax.tree.map(lambda x: jnp.zeros_like(x[:, :1]), tree)
        after = Step(
            jax.tree.map(lambda x: x[:, None], last),
            blank(steps.action),
            blank(steps.extras),
        )
        return state.replace(ring=ring_lib.append(ring, after))

    def sample(
        self, state: RolloutState, key: Key, N: int, L: int
    ) -> tuple[RolloutState, Batch]:
        """N windows of L records, rows in turn, starts uniform.

        With N = rows and L = T + 1 that is everything, in order, whatever the key.

        Args:
          state: holds at least `minimum(rows, L)` steps.
          key: consumed.
          N: windows.
          L: records per window, at most T + 1.
        """
        _, start, probability = replay_lib.draw_uniform(state.ring, key, N, L)
        if state.ring.rows == N:
            time = start[:, None] + jnp.arange(L)
            batch = ring_lib.read_rows(state.ring, time)
            return state, batch._replace(probability=probability)
        row = jnp.arange(N) % state.ring.rows
        index = ring_lib.windows(state.ring, row, start, L)
        return state, ring_lib.read(state.ring, index, probability)

    def newest(self, state: RolloutState, W: int) -> Batch:
        """The newest W records of every row, `last` among them, `[rows, W, …]`."""
        return replay_lib.newest(state.ring, W)

    def write(self, state: RolloutState, feedback: Feedback) -> RolloutState:
        """Replace stored extras; those of `last` are lost at the next `add`."""
        return state.replace(ring=ring_lib.write(state.ring, feedback))

    def read(self, state: RolloutState, index: Index) -> Batch:
        """The records at `index` `[N, L]`, whatever lies there now."""
        ones = jnp.ones(index.time.shape[0], jnp.float32)
        return ring_lib.read(state.ring, index, ones)

    def dataset(self, state: RolloutState) -> Dataset:
        """Everything in slot order, `[rows, T + 1, …]`; `last` begins no transition."""
        data = ring_lib.dataset(state.ring)
        return data._replace(size=self.size(state))

    def size(self, state: RolloutState) -> jax.Array:
        """i32, stored steps over all rows, `last` not counted."""
        return jnp.clip(state.ring.count - 1, 0, self.T) * state.ring.rows
