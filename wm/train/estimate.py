"""How long a run will take, said as soon as its first steps have been made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from wm.train import introduce

LEAST_S = 0.3
"""Seconds of a stretch that is worth reporting: calls of a program take time too."""
GROWTH = 8
"""How much longer the next stretch is where one was shorter."""


class Measured:
    """A runner whose first stretches are short and timed; then the runner itself.

    Where a call ends changes nothing of what is computed.
    """

    def __init__(self, runner: Any, say: Callable[[str, str], None]):
        """Wrap `runner`; `say(heading, text)` gets the estimate."""
        self.runner, self.say = runner, say
        self.few: int | None = 1
        """Chunks of the next stretch; None once the estimate has been given."""

    def __getattr__(self, name: str) -> Any:
        """Whatever else the runner has."""
        return getattr(self.runner, name)

    def interval(
        self, states: Any, chunks: Sequence[int], clear: Sequence[int]
    ) -> tuple[Any, Any]:
        """As the runner's; the first with any chunks are cut short."""
        if self.few is None or not max(chunks):
            return self.runner.interval(states, chunks, clear)
        cut = [min(count, self.few) for count in chunks]
        start = time.perf_counter()
        states, report = self.runner.interval(states, cut, clear)
        seconds = time.perf_counter() - start
        if seconds < LEAST_S and max(chunks) > self.few:
            self.few *= GROWTH
            return states, report
        self.few, loop = None, self.runner.loop
        # Records that begin an episode are no steps, so this counts a few too many.
        steps = max(cut) * loop.chunk_steps
        left = loop.schedule.total - int(report["step"].min())
        fits = hasattr(loop.agent, "fit") and loop.schedule.fit_steps is not None
        text = introduce.estimate(steps, seconds, left)
        self.say("estimate", text + ("; fits come on top" if fits else ""))
        return states, report
