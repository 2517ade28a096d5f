"""How far each call of the compiled loop goes, and what happens between calls.

The same for every runner. All decisions follow from counters in the states and from
`Marks`, both saved, so a resumed run takes the same ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from wm.errors import RunError
from wm.train.schedule import Schedule

Report = dict[str, np.ndarray]
"""Counters and averages, `[S]` each; see `loop.report`."""

COUNTERS = ("chunks", "fits", "reanalyses", "since_chunks", "alarm")
"""Entries of a report that rows do not show."""


class Interrupted(Exception):
    """The run was asked to stop; everything is saved. Exit code 75."""


class Runner(Protocol):
    """What `drive` needs of a runner."""

    loop: Any
    seeds: Any

    def prefill(self, states: Any, chunks: Sequence[int]) -> Any: ...
    def interval(
        self, states: Any, chunks: Sequence[int], clear: Sequence[int]
    ) -> tuple[Any, Report]: ...
    def fit(self, states: Any, due: Sequence[bool]) -> tuple[Any, Report]: ...
    def reanalyse(self, states: Any, due: Sequence[bool]) -> tuple[Any, Report]: ...
    def calm(self, states: Any) -> Any: ...


@dataclasses.dataclass
class Marks:
    """What happened last, in steps of the slowest seed. Saved beside the states."""

    evaluated: int = 0
    saved: int = 0


@dataclasses.dataclass
class Events:
    """What to do between calls; anything left out is not done."""

    rows: Callable[[list[dict]], None] = lambda rows: None
    progress: Callable[[Report], None] = lambda report: None
    evaluate: Callable[[Any, Report], None] | None = None
    save: Callable[[Any, Report, Marks], None] | None = None
    due: Callable[[], bool] = lambda: False
    """Whether to save now, whatever the step."""
    stop: Callable[[], bool] = lambda: False
    alarm: Callable[[Any, Report, Marks], tuple[Any, bool]] | None = None
    """Look at updates that are not finite: the states to go on with, and whether they
    are earlier ones; without it such updates are skipped, or end the run."""


def drive(runner: Runner, states: Any, events: Events, marks: Marks | None = None):
    """Run until every seed has `schedule.total` steps.

    Args:
      runner: compiled programs.
      states: fresh or restored; consumed.
      events: what to do between calls.
      marks: restored with the states, or None.

    Returns:
      The final states.

    Raises:
      Interrupted: `events.stop()` was true; the states were saved.
    """
    loop, schedule = runner.loop, runner.loop.schedule
    marks = marks or Marks()
    states, report, logged = begin(runner, states)
    while True:
        events.progress(report)
        done = bool((report["step"] >= schedule.total).all())
        states = between(runner, states, report, events, marks, done)
        if done:
            return states
        states, report = occasional(runner, states, report, events)
        chunks = plan(report, logged, loop, marks, events)
        states, report = runner.interval(states, chunks, logged.astype(int).tolist())
        if report["alarm"].any():
            states, earlier = alarmed(runner, states, report, events, marks)
            if earlier:
                states, report, logged = begin(runner, states)
                continue
        due = due_rows(report, loop, together=runner.seeds.mode != "loop")
        events.rows(rows_of(report, due))
        logged = due


def begin(runner: Runner, states: Any) -> tuple[Any, Report, np.ndarray]:
    """States that may be fresh, after their prefill; their report, and whose newest row
    was logged."""
    zeros = [0] * runner.seeds.count
    states, report = runner.interval(states, zeros, zeros)
    if not report["step"].any():
        chunks = [runner.loop.prefill_chunks] * runner.seeds.count
        states = runner.prefill(states, chunks)
        states, report = runner.interval(states, zeros, zeros)
    return states, report, report["since_chunks"] >= log_chunks(runner.loop)


def alarmed(runner, states, report: Report, events: Events, marks: Marks):
    """What to go on with after updates that were not finite, and whether it is earlier.

    Raises:
      RunError: the run does not go on.
    """
    if events.alarm is not None:
        return events.alarm(states, report, marks)
    if runner.loop.schedule.nonfinite != "skip":
        step = int(report["step"][report["alarm"]].min())
        raise RunError(f"an update at step {step:,} is not finite")
    return runner.calm(states), False


def between(runner, states, report: Report, events: Events, marks: Marks, done: bool):
    """Evaluate, save and stop where due; evaluation and save precede the stop."""
    schedule: Schedule = runner.loop.schedule
    step = int(report["step"].min())
    if events.evaluate and (
        reached(step, marks.evaluated, schedule.eval_steps)
        or (done and step > marks.evaluated)
    ):
        events.evaluate(states, report)
        marks.evaluated = step
    stop = events.stop()
    if events.save and (
        reached(step, marks.saved, schedule.save_steps)
        or ((done or stop or events.due()) and step > marks.saved)
    ):
        marks.saved = step
        events.save(states, report, marks)
    if stop and not done:
        raise Interrupted(f"stopped at step {step:,}")
    return states


def occasional(runner, states, report: Report, events: Events):
    """`fit` and `reanalyse` where due, at the start of a chunk."""
    loop, schedule = runner.loop, runner.loop.schedule
    kinds = (("fit", "fits", schedule.fit_steps),)
    kinds += (("reanalyse", "reanalyses", schedule.reanalyse_steps),)
    for name, counter, steps in kinds:
        if steps is None or not hasattr(loop.agent, name):
            continue
        due = report["chunks"] // chunks_of(steps, loop) + 1 > report[counter]
        due &= report["step"] < schedule.total
        if due.any():
            states, metrics = getattr(runner, name)(states, due)
            report = {**report, counter: report[counter] + due}
            shown = {"step": report["step"], "updates": report["updates"], **metrics}
            if metrics:
                events.rows(rows_of(shown, due))
    return states, report


def plan(
    report: Report, logged: np.ndarray, loop: Any, marks: Marks, events: Events
) -> list[int]:
    """Chunks that each seed runs next: up to the next row, evaluation, save or end.

    Records that begin an episode are no steps, so a target may take several calls.
    """
    schedule: Schedule = loop.schedule
    target = schedule.total
    for event, mark, steps in (
        (events.evaluate, marks.evaluated, schedule.eval_steps),
        (events.save, marks.saved, schedule.save_steps),
    ):
        if event is not None and steps is not None:
            target = min(target, following(mark, steps))
    chunks = -(-np.maximum(target - report["step"], 0) // loop.chunk_steps)
    since = np.where(logged, 0, report["since_chunks"])
    chunks = np.minimum(chunks, np.maximum(log_chunks(loop) - since, 1))
    for steps in (schedule.fit_steps, schedule.reanalyse_steps):
        if steps is not None:
            period = chunks_of(steps, loop)
            chunks = np.minimum(chunks, period - report["chunks"] % period)
    return chunks.tolist()


def following(mark: int, steps: int) -> int:
    """The first multiple of `steps` above `mark`."""
    return (mark // steps + 1) * steps


def reached(step: int, mark: int, steps: int | None) -> bool:
    """Whether a multiple of `steps` lies in `(mark, step]`."""
    return steps is not None and step >= following(mark, steps)


def due_rows(report: Report, loop: Any, together: bool) -> np.ndarray:
    """bool `[S]`: seeds whose row is complete, or that have ended with part of one.

    Seeds that run `together` share one switch that clears the averages, so there the
    last row waits for the slowest.
    """
    ended = report["step"] >= loop.schedule.total
    if together:
        ended = np.full_like(ended, ended.all())
    whole = report["since_chunks"] >= log_chunks(loop)
    return whole | (ended & (report["since_chunks"] > 0))


def chunks_of(steps: int, loop: Any) -> int:
    """An interval in chunks, rounded up."""
    return -(-steps // loop.chunk_steps)


def log_chunks(loop: Any) -> int:
    """Chunks per row."""
    return chunks_of(loop.schedule.log_steps, loop)


def rows_of(report: Report, due: np.ndarray) -> list[dict]:
    """One flat row per seed that is due; numbers only."""
    names = [name for name in report if name not in COUNTERS]
    return [
        {"step": int(report["step"][seed]), "seed": int(seed)}
        | {name: report[name][seed].item() for name in names if name != "step"}
        for seed in np.flatnonzero(due)
    ]
