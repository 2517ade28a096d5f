"""How long a run will take: roughly before its first step, by what the compiled program
does; then as measured over the first steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from wm.train import distributed, introduce, workload
from wm.train.workload import Work

LEAST_S = 0.3
"""Seconds of a stretch that is worth reporting: calls of a program take time too."""
FIRST_S = 3.0
"""Of the very first, in which memory is touched for the first time: that of the demo of
DreamerV3 took 6 times as long as later ones."""
GROWTH = 8
"""How much longer the next stretch is where one was shorter."""


class Measured:
    """A runner whose first stretches are short and timed; then the runner itself.

    Where a call ends changes nothing of what is computed.
    """

    def __init__(self, runner: Any, say: Callable[[str, str], None]):
        """Wrap `runner`; `say(heading, text)` gets the estimates."""
        self.runner, self.say = runner, say
        self.foretold = False
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
            states, report = self.runner.interval(states, chunks, clear)
            if self.few is not None and not self.foretold:
                self._foretell(states, report)
            return states, report
        cut = [min(count, self.few) for count in chunks]
        start = time.perf_counter()
        states, report = self.runner.interval(states, cut, clear)
        seconds = time.perf_counter() - start
        # Clocks differ, and all processes must make the same calls.
        least = FIRST_S if self.few == 1 else LEAST_S
        if distributed.anywhere(seconds < least) and max(chunks) > self.few:
            self.few *= GROWTH
            return states, report
        self.few, loop = None, self.runner.loop
        # Records that begin an episode are no steps, so this counts a few too many.
        steps = max(cut) * loop.chunk_steps
        left = loop.schedule.total - int(report["step"].min())
        text = introduce.estimate(steps, seconds, left)
        self.say("estimate", text + self._besides())
        return states, report

    def _foretell(self, states: Any, report: Any) -> None:
        """Before the first step: no program of training has done any work yet."""
        self.foretold, loop = True, self.runner.loop
        left = loop.schedule.total - int(report["step"].min())
        if left <= 0:
            return
        here = hasattr(self.runner, "work")
        work = self.runner.work(states) if here else _alone(loop, states)
        text = introduce.rough(
            work.flops, workload.seconds(work), left, loop.chunk_steps
        )
        self.say("estimate", text + self._besides("environments" * (not here)))

    def _besides(self, *more: str) -> str:
        """What is not in the estimate."""
        loop = self.runner.loop
        fits = hasattr(loop.agent, "fit") and loop.schedule.fit_steps is not None
        found = [*filter(None, more), *["fits"] * fits]
        return f"; {' and '.join(found)} come on top" if found else ""


def _alone(loop: Any, states: Any) -> Work:
    """Of a chunk of all seeds whose environments are on the host, those aside."""
    train, agent, key = states[0].train, loop.agent, jax.random.key(0)
    act = lambda *given: agent.act(agent.actor(given[0]), key, *given[1:], "train")
    steps, updates = loop.chunk
    one = jax.make_jaxpr(act)(train.agent, train.carry, train.timestep)
    work = Work().plus(workload.of(one), steps)
    if updates:
        update = jax.make_jaxpr(agent.update)(train.agent, key, train.guard.batch)
        work = work.plus(workload.of(update), updates)
    return Work().plus(work, len(states))
