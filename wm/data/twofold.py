"""Everything for fits and the newest for updates: two buffers that are fed alike.

For systems that first learn from all they have collected and later from what they
just did.
"""

from __future__ import annotations

import dataclasses

import jax

from wm.data.replay import Replay, ReplayState
from wm.data.rollout import Rollout, RolloutState
from wm.nodes import Node
from wm.types import Batch, Dataset, Feedback, Index, Key, Step, TimeStep


class TwofoldState(Node):
    """Both."""

    replay: ReplayState
    window: RolloutState


@dataclasses.dataclass(frozen=True)
class Twofold:
    """`dataset` and `size` are those of a replay; `sample`, `read` and `newest` those
    of a window of the newest steps. Implements `wm.types.Buffer`.

    The window is not waited for, however short the prefill: until it is full, records
    that were not written yet are drawn as zeros.
    """

    replay: Replay
    window: Rollout

    def init(self, example: Step) -> TwofoldState:
        """Empty storage for steps like `example`, `[rows, …]` arrays or shapes."""
        return TwofoldState(self.replay.init(example), self.window.init(example))

    def add(self, state: TwofoldState, steps: Step, last: TimeStep) -> TwofoldState:
        """Append `steps` `[rows, T, …]` to both; only the window keeps `last`."""
        return TwofoldState(
            self.replay.add(state.replay, steps, last),
            self.window.add(state.window, steps, last),
        )

    def sample(
        self, state: TwofoldState, key: Key, N: int, L: int
    ) -> tuple[TwofoldState, Batch]:
        """As `Rollout.sample`."""
        window, batch = self.window.sample(state.window, key, N, L)
        return state.replace(window=window), batch

    def newest(self, state: TwofoldState, W: int) -> Batch:
        """As `Rollout.newest`: the time step after the steps is among them."""
        return self.window.newest(state.window, W)

    def write(self, state: TwofoldState, feedback: Feedback) -> TwofoldState:
        """Replace stored extras in both."""
        return TwofoldState(
            self.replay.write(state.replay, feedback),
            self.window.write(state.window, feedback),
        )

    def read(self, state: TwofoldState, index: Index) -> Batch:
        """As `Rollout.read`."""
        return self.window.read(state.window, index)

    def dataset(self, state: TwofoldState) -> Dataset:
        """As `Replay.dataset`."""
        return self.replay.dataset(state.replay)

    def size(self, state: TwofoldState) -> jax.Array:
        """As `Replay.size`."""
        return self.replay.size(state.replay)
