"""How games ended, for every position of theirs."""

from __future__ import annotations

from wm.ops.returns import outcomes
from wm.ops.trees import swap_time
from wm.types import Batch, Feedback


def outcome_labels(batch: Batch, gamma: float = 1.0) -> Feedback:
    """`outcome` f32 and `finished` bool of the records whose game has ended.

    The outcome is as seen by who moves at the record; truncated games have none.

    Args:
      batch: a window that holds whole games, `[B, W]`.
      gamma: discount per move; the environment's own, with its sign, counts besides.
    """
    timestep = swap_time(batch.timestep)
    outcome, known = outcomes(
        timestep.reward, gamma * timestep.discount, timestep.is_first, timestep.is_last
    )
    outcome, known = swap_time((outcome, known))
    return Feedback(batch.index, {"outcome": outcome, "finished": known}, known)
