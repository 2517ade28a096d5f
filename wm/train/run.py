"""`train(agent, env, …)` and `load(path)`: a run with its directory.

Starting again on the same directory continues the run; a larger total extends it.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from wm.errors import RunError, Stopped, UserError
from wm.train import (
    checks,
    distributed,
    evaluate,
    introduce,
    log,
    memory,
    recipes,
    rundir,
    sharding,
)
from wm.train.checkpoint import Checkpoints
from wm.train.drive import Events, Interrupted, Marks, drive
from wm.train.estimate import Measured
from wm.train.host_env import is_host
from wm.train.loop import loop_of
from wm.train.mishap import Mishaps
from wm.train.population import Population, member
from wm.train.results import Run
from wm.train.runner import runner_of
from wm.train.saving import Saver, joined, parts
from wm.train.schedule import Schedule
from wm.train.seeds import SeedMode, Seeds, seed_keys
from wm.train.signals import asked
from wm.train.tally import told_apart

ANEW = 0xFA11
"""Folded into the key of a seed that is rolled back."""


def train(
    agent: Any,
    env: Any,
    schedule: Schedule | None = None,
    *,
    steps: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    buffer: Any = None,
    seed_mode: SeedMode | None = None,
    hypers: Mapping[str, Sequence[float]] | None = None,
    mesh: sharding.Layout | None = None,
    about: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Train, evaluate and save; continue where the directory already holds this run.

    Args:
      agent: any `Agent`.
      env: an `Env` or a `HostEnv` (for several seeds: one per seed, or a function of
        the seed).
      schedule: budget and cadence; by default what the agent's preset says.
      steps: budget, in place of `schedule.total`.
      seeds: independent learners.
      seed: of the first; the others count up.
      out: run directory; a temporary one if None.
      buffer: in place of the agent's own.
      seed_mode: how seeds share the machine.
      hypers: settings of the agent that differ between rows, `{name: values}`; every
        combination gets `seeds` learners.
      mesh: devices along each axis.
      about: for config.json: `system`, `env_options`, `preset`, `command`.
      quiet: print nothing.

    Returns:
      The run.

    Raises:
      Stopped: Ctrl-C or SIGTERM came; everything is saved.
      UserError: an impossible setting, an agent built for another environment, or the
        directory holds a run with other settings.
      RunError: the directory is foreign, damaged or cannot be written, or the run
        does not fit into memory.
    """
    schedule = _schedule(agent, schedule, steps)
    checks.seeds(seed, seeds)
    checks.environment(env)
    if hypers:
        agent = Population(agent, hypers, seeds)
        seeds = len(agent.members)
    if out is None:
        out = distributed.same(tempfile.mkdtemp(prefix="wm-"))
    parts = agent, env, schedule, seeds, seed, Path(out), buffer, seed_mode, mesh
    with distributed.together():
        session = Session(*parts, about, quiet)
    with session.held:
        session.run()
    return Run(Path(out), session.agent, session.env)


def load(path: str | Path, agent: Any = None, env: Any = None) -> Run:
    """Open a run.

    Args:
      path: its directory.
      agent: in place of the one that config.json describes.
      env: likewise; needed where it was an object of the user's own.

    Raises:
      RunError: no run there, or agent and environment cannot be built.
    """
    path = Path(path)
    rundir.read_config(path)
    return Run(path, agent, env)


class Session:
    """One call of `train`: the run directory, the programs, the terminal."""

    until: int | None = None
    """Step at which to stop, as if asked to."""

    def __init__(
        self, agent, env, schedule, seeds, seed, out, buffer, mode, mesh, about, quiet
    ):
        """Check everything that can be checked before anything is compiled.

        Raises:
          UserError: as `train`.
          RunError: as `train`.
        """
        self.agent, self.schedule, self.seed = agent, schedule, seed
        self.out = distributed.own_folder(out)
        self.display = log.Display(
            schedule.total, quiet=quiet or not distributed.chief()
        )
        self.compiling = 0.0
        self.numbers = [seed + i for i in range(seeds)]
        keys, rows = seed_keys(seed, seeds), getattr(agent, "rows", None)
        self.axis = Seeds(keys, mode, self._compiled, rows, mesh)
        loop = loop_of(agent, schedule, buffer)
        on_host = schedule.replay_tier == "host"
        away = on_host or is_host(env)
        sharding.check(self.axis.mesh, loop.update_batches(), mesh, away)
        second = lambda: recipes.evaluation_env(self.config)
        self.runner, self.env = runner_of(loop, env, self.axis, self.numbers, second)
        self.axis = self.runner.seeds
        checks.match(agent, self.env)
        prefill = loop.prefill_chunks * loop.chunk[0] * schedule.envs
        checks.budget(schedule, loop.chunk, prefill)
        self.shapes = self.runner.shapes()
        need = memory.need(self.shapes, seeds, on_host, self.axis.mesh)
        self.need = need = told_apart(need, loop, self.shapes, self.axis)
        memory.check(need, schedule.replay)
        self.config = rundir.describe(agent, self.env, schedule, seeds, seed, about)
        self.continued = rundir.prepare(self.out, self.config)
        self.held = rundir.hold(self.out)
        described = self.config, self.env, self.shapes, self.axis, loop, need
        for line in introduce.opening(*described):
            self.display.say(*line)
        kept, chief = schedule.keep_checkpoints, distributed.chief()
        self.checkpoints = Checkpoints(out / "checkpoints", kept, sweep=chief)
        self.stop, self.written = False, 0
        book = lambda name: log.Book(self.out / f"{name}.jsonl", self.warn)
        self.metrics, self.scores = book("metrics"), book("scores")

    def run(self) -> None:
        """Train to the end.

        Raises:
          Stopped: a signal stopped it before.
        """
        with distributed.together():
            states, marks = self._states()
            # Only now: a run that cannot be continued stays as it was.
            rundir.extend(self.out, self.schedule, self.config["command"])
        distributed.agree("checkpoints", marks.saved)
        mishaps = Mishaps(
            self.out, self.schedule.nonfinite, self.numbers, self.warn, self._back
        )
        events = Events(
            rows=self._rows,
            progress=self._progress,
            evaluate=self._evaluate,
            save=self._save,
            due=lambda: distributed.anywhere(distributed.chief() and self.saver.due()),
            stop=lambda: distributed.anywhere(self.stop),
            alarm=lambda *state: mishaps.handle(self.runner, *state),
        )
        runner: Any = Measured(self.runner, self.display.say)
        begin = time.perf_counter()
        try:
            with asked(self._ask):
                try:
                    drive(runner, states, events, marks)
                finally:
                    self.saver.settle()
            self.saver.finish()
        except Interrupted as error:
            self.saver.finish()
            raise Stopped(f"{error}; saved. The same command continues") from None
        finally:
            self.display.close()
        self._conclude(time.perf_counter() - begin)

    def _states(self) -> tuple[Any, Marks]:
        """Restored states, or fresh ones in a fresh directory."""
        loaded, before = self._load(), 0.0
        if loaded is None:
            # Its folder comes first: without it somebody removed what was saved.
            kept = self.checkpoints.path.is_dir()
            if log.read(self.scores.path) and not kept:
                raise RunError(
                    f"{self.out} has scores but no checkpoint, so it cannot be "
                    "continued. Choose another --out"
                )
            if self.continued:
                self.display.say("restarted", "from step 0: there is no checkpoint yet")
            for book in (self.metrics, self.scores):
                book.cut({})
            states, marks = self.runner.init(), Marks()
        else:
            trees, notes = loaded
            least = min(int(tree.step) for tree in trees)
            walls = [r.get("time/wall_s") or 0.0 for r in log.read(self.metrics.path)]
            before = max(walls, default=0.0)
            states = self.runner.restore(trees, notes)
            marks = Marks(**notes["marks"])
            anew = "; environments begin new episodes" if self.runner.anew else ""
            begun = f"from step {least:,}{anew}"
            if least >= self.schedule.total:
                begun = f"at step {least:,}: nothing is left to train"
            self.display.say("continued", begun)
        imagined = getattr(self.agent, "imagined_per_update", None)
        per_update = imagined(self.schedule) if imagined else None
        self.clock = log.Clock(self.axis.inside, per_update, before)
        books = (self.metrics, self.scores)
        self.saver = Saver(
            self.checkpoints, self.schedule, self.display, self.clock, books
        )
        if loaded is not None:
            self._say_anew(trees)
        return states, marks

    def _load(self) -> tuple[list[Any], dict[str, Any]] | None:
        """The newest whole checkpoint, a tree per seed; rows beyond it are cut."""
        targets = {
            name: tree for i in self.numbers for name, tree in parts(self.shapes, i)
        }
        restored = self.checkpoints.restore(targets, self.warn)
        if restored is None:
            return None
        trees = [joined(self.shapes, restored.items, i) for i in self.numbers]
        steps = {i: int(t.step) for i, t in zip(self.numbers, trees, strict=True)}
        self.metrics.cut(steps, restored.notes["rows"])
        self.scores.cut(steps)
        self.written = len(log.read(self.metrics.path))
        return trees, restored.notes

    def _back(self, seeds: list[int], number: int) -> tuple[Any, Marks] | None:
        """The last checkpoint again, these seeds with other keys."""
        self.saver.settle()
        with distributed.together():
            loaded = self._load()
        if loaded is None:
            return None
        trees, notes = loaded
        # A file system may show one host a step that another does not see yet.
        distributed.agree("checkpoints", notes["marks"]["saved"])
        for i in seeds:
            key = jax.random.fold_in(trees[i].key, ANEW + number)
            trees[i] = trees[i].replace(key=key)
        self.clock.last.clear()
        self._say_anew(trees)
        return self.runner.restore(trees, notes), Marks(**notes["marks"])

    def _say_anew(self, trees: list[Any]) -> None:
        """A row per seed where environments could not be restored."""
        if self.runner.anew:
            rows = [{"step": int(t.step), "seed": i} for i, t in enumerate(trees)]
            self._rows([row | {"episode/restarted": 1.0} for row in rows])

    def warn(self, line: str) -> None:
        """A line of its own on the terminal."""
        self.display.line(f"wm: {line}")

    def _rows(self, rows: list[dict]) -> None:
        repeat = self.env.spec.action_repeat
        stamped = []
        for row in rows:
            row = {
                "step": row["step"],
                "seed": self.numbers[row["seed"]],
                "frames": row["step"] * repeat,
            } | {k: v for k, v in row.items() if k not in ("step", "seed")}
            row |= member(self.agent, row["seed"] - self.numbers[0])
            stamped.append(self.clock.stamp(row))
            stamped[-1]["time/compile_s"] = self.compiling
        self.saver.settle()
        self.metrics.add(stamped)
        self.written += len(stamped)
        self.display.rows(stamped)

    def _progress(self, report: dict[str, np.ndarray]) -> None:
        steps = report["step"].tolist()
        for i, number in enumerate(self.numbers):
            if number not in self.clock.last:
                self.clock.begin(number, steps[i], int(report["updates"][i]))
        self.display.progress(steps)
        if self.until is not None and min(steps) >= self.until:
            self.stop = True

    def _evaluate(self, states: Any, report: dict[str, np.ndarray]) -> None:
        scores = self.runner.evaluate(states, self.schedule.eval_episodes)
        rows = evaluate.score_rows(scores, self.numbers, report["step"].tolist())
        self.saver.settle()
        self.scores.add(rows)
        if (report["step"] < self.schedule.total).any():
            means = " ".join(f"{x:.2f}" for x in scores.returns.mean(1)[:8])
            step = int(report["step"].min())
            self.display.say("evaluated", f"{means} at step {step:,}")

    def _save(self, states: Any, report: dict[str, np.ndarray], marks: Marks) -> None:
        notes = {
            "marks": dataclasses.asdict(marks),
            "step": report["step"].tolist(),
            "rows": self.written,
            "total": self.schedule.total,
            "mode": self.axis.mode,
            "mesh": self.axis.mesh and dict(self.axis.mesh.shape),
            **self.runner.notes(),
        }
        items = (
            item
            for i, number in enumerate(self.numbers)
            for item in parts(self.runner.saved(states, i), number)
        )
        with distributed.together():
            if distributed.chief():
                self.saver.save(int(report["step"].min()), items, notes)
            for _ in items:  # elsewhere they are made too: it takes all processes
                pass

    def _compiled(self, name: str, seconds: float) -> None:
        self.display.say("compile", f"{name} {seconds:.1f} s")
        self.compiling += seconds

    def _conclude(self, seconds: float) -> None:
        scores = Run(self.out, self.agent, self.env).scores
        optimal = self.env.spec.optimal_return
        known = f" (optimal {optimal:g})" if optimal is not None else ""
        mean, spread = scores.mean(), scores.mean(1).std()
        self.display.line(
            f"done in {log.clock(seconds)}. Scores: {mean:.2f} ± {spread:.2f} over "
            f"{log.counted(scores.shape[0], 'seed')} × "
            f"{log.counted(scores.shape[1], 'episode')}{known}."
        )
        for line in introduce.members(self.agent, scores):
            self.display.line(line)

    def _ask(self) -> None:
        """Stop when this interval is done and saved."""
        self.stop = True
        if not self.display.quiet:
            # Not through a stream: the signal may have come amid a line of it.
            os.write(2, b"\n  stopping     when this interval is done and saved\n")


def _schedule(agent: Any, schedule: Schedule | None, steps: int | None) -> Schedule:
    """The schedule given, or that of the agent's preset, with `steps` as its total.

    Raises:
      UserError: an impossible value.
    """
    if schedule is None:
        preset = dict(getattr(agent, "schedule", None) or {})
        known = {field.name for field in dataclasses.fields(Schedule)}
        wrong = sorted(preset.keys() - known)
        if wrong:
            raise UserError(f"the preset sets an unknown --train.{wrong[0]}")
        schedule = Schedule(**preset)
    if steps is not None:
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise UserError(f"steps must be a whole number, got {steps!r}")
        schedule = dataclasses.replace(schedule, total=steps)
    return schedule


__all__ = ["Interrupted", "Run", "RunError", "load", "train"]
