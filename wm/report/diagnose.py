"""How good is a learned model, and does that matter to the return?

Over the checkpoints of one or several runs: the rank correlation of the model's errors
with the return of the agent; how errors grow with the horizon; whether the model knows
how wrong it is. On fresh episodes, of the agents and of random actions.

Source: Lambert, Amos, Yadan & Calandra 2020 (objective mismatch).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.errors import RunError, UserError
from wm.report import diagnosis, page
from wm.report.calibration import Calibration, calibrate
from wm.report.diagnosis import Diagnosis, Point
from wm.report.markup import plural
from wm.report.plots import number
from wm.train import evaluate, foresight, log
from wm.train.dream import play
from wm.train.foresight import Windows
from wm.train.results import Run
from wm.train.run import load
from wm.types import Step, Tree

FRAMES = 500
"""Most steps that are played of an episode: observations are kept."""


class Heldout(NamedTuple):
    """Episodes that no model was trained on."""

    steps: Step
    """`[N, L, …]`."""
    begin: Windows
    standing: np.ndarray
    """f32 `[H, W]`: distance of 'nothing changes'."""


def diagnose(
    runs: Sequence[Run | Path | str] | Run | Path | str,
    *,
    episodes: int = 8,
    horizon: int = 20,
    windows: int = 256,
    since: int = 0,
    out: Path | str | None = None,
    quiet: bool = False,
) -> Diagnosis:
    """Diagnose the models of runs in one environment; numbers and a page.

    Args:
      runs: what `wm.train` returned, or run directories.
      episodes: per checkpoint whose return was not evaluated in training; and of either
        kind of data at least as many.
      horizon: steps that models follow true actions without seeing.
      windows: states from which they do, of either kind of data.
      since: leave out checkpoints of earlier steps.
      out: folder of numbers and page (default: `report/` in the run, or in the folder
        that all runs share).
      quiet: print nothing.

    Returns:
      What was found; `diagnosis.json` and `diagnosis.csv` lie beside its `page`.

    Raises:
      UserError: an impossible value, a system without a learned model, or runs in
        different environments.
      RunError: no run, or no checkpoint.
    """
    for name, value in (("episodes", episodes), ("horizon", horizon)):
        _at_least(name, value, 1)
    _at_least("windows", windows, 2)
    _at_least("since", since, 0)
    given = [runs] if isinstance(runs, Run | Path | str) else list(runs)
    opened = [run if isinstance(run, Run) else load(run) for run in given]
    opened = list({run.path.resolve(): run for run in opened}.values())
    if not opened:
        raise UserError("wm diagnose needs at least one run directory")
    paths = [run.path for run in opened]
    folder = page.place(paths, out)
    steps = [_steps(run, since) for run in opened]
    for run in opened:
        _has_model(run, opened[0])
    say = (lambda line: None) if quiet else print
    heldout, weights = collect(opened, episodes, horizon, windows)
    points: list[Point] = []
    for run, name, saved in zip(opened, _names(paths), steps, strict=True):
        points += _points(run, name, saved, heldout, weights, episodes, say)
    found = Diagnosis(
        env=opened[0].env.spec.name,
        horizon=max(len(data.standing) for data in heldout.values()),
        points=tuple(points),
        standing={k: _mean(x.standing, x.begin) for k, x in heldout.items()},
        correlations=diagnosis.correlate(points),
    )
    try:
        diagnosis.save(folder, found)
    except OSError as error:
        raise RunError(f"cannot write the diagnosis: {error}") from error
    return found._replace(page=page.write(paths, out=out))


def collect(
    runs: Sequence[Run], episodes: int, horizon: int, windows: int
) -> tuple[dict[str, Heldout], Tree]:
    """Fresh episodes of the newest agents and of random actions; the data's spread."""
    limits = [run.env.spec.time_limit or FRAMES for run in runs]
    frames = min(*limits, FRAMES) + 1
    key = jax.random.key(0xD1A6)
    each = -(-episodes // sum(len(run.seeds) for run in runs))
    played = []
    for run in runs:
        for seed in run.seeds:
            key, key_play = jax.random.split(key)
            state = run.state(seed)
            played.append(play(run.agent, run.env, state, key_play, each, frames))
    join = lambda *x: jnp.concatenate(x)
    data = {
        "agent": jax.tree.map(join, *played),
        "random": foresight.play_random(runs[0].env, key, episodes, frames),
    }
    spec = runs[0].env.spec.observation
    data = {name: (steps, np.asarray(valid)) for name, (steps, valid) in data.items()}
    seen = [(steps.timestep.observation, valid) for steps, valid in data.values()]
    weights = foresight.weights_of(spec, jax.device_get(seen))
    heldout = {}
    for name, (steps, valid) in data.items():
        begin = foresight.windows(valid, horizon, windows)
        observation = steps.timestep.observation
        still = foresight.standing(spec, weights, observation, begin)
        heldout[name] = Heldout(steps, begin, still)
    return heldout, weights


def _points(
    run: Run,
    name: str,
    saved: Sequence[int],
    heldout: dict[str, Heldout],
    weights: Tree,
    episodes: int,
    say: Callable[[str], None],
) -> list[Point]:
    """All checkpoints of a run on all data."""
    foresee = foresight.foresee(run.agent.model, run.env.spec.observation)
    returns, points = _returns(run, episodes), []
    for step in saved:
        for seed in run.seeds:
            learner = run.learner(seed, step)
            score, line = returns(seed, learner), []
            for kind, data in heldout.items():
                begin = data.begin
                ahead = np.arange(len(begin.inside), dtype=np.int32)
                key = jax.random.fold_in(jax.random.key(seed), step)
                place = (begin.row, begin.time, ahead, weights)
                seen = foresee(learner.agent.params, key, data.steps, *place)
                errors = errors_of(jax.device_get(seen), data, weights)
                who = (name, run.config["agent"]["name"], seed, int(learner.step))
                points.append(Point(*who, score, kind, **errors))
                far = f"after {plural(len(ahead), 'step')}"
                line.append(f"{number(points[-1].open_loop)} {far} ({kind})")
            say(
                f"  {name} seed {seed} step {step:,}: return {number(score)}, error "
                f"{', '.join(line)}"
            )
    return points


def errors_of(seen: Any, data: Heldout, weights: Tree) -> dict[str, Any]:
    """The part of a `Point` that a `Foresight` of numpy arrays says."""
    # A prediction that is no number is as wrong as can be.
    distance = np.nan_to_num(seen.distance, nan=np.inf, posinf=np.inf)
    growth, known = _mean(distance, data.begin), None
    if seen.belief is not None:
        known = _calibration(seen.belief, data, weights)
    first = distance[0].astype(np.float64)
    return {
        "mse": float(np.square(first).mean()),
        "open_loop": float(growth[-1]),
        "nll": known.nll if known else float("nan"),
        "growth": growth,
        "calibration": known,
    }


def _calibration(belief: Any, data: Heldout, weights: Tree) -> Calibration | None:
    """None of beliefs without any doubt."""
    if not np.any(belief.variance):
        return None
    truth = foresight.at(
        data.steps.timestep.observation, data.begin.row, data.begin.time + 1
    )
    lively = weights > 0
    count = max(lively.sum(), 1)
    scale = np.where(lively, 1 / np.sqrt(np.where(lively, weights * count, 1.0)), 0.0)
    return calibrate(np.asarray(truth), belief.mean, belief.variance, scale)


def _mean(distance: np.ndarray, begin: Windows) -> np.ndarray:
    """Over the windows that last so long, f64 `[H]`."""
    inside = np.where(begin.inside, distance.astype(np.float64), 0.0)
    return inside.sum(1) / begin.inside.sum(1)


def _returns(run: Run, episodes: int) -> Callable[[int, Any], float]:
    """`(seed, learner) -> ` mean return: of evaluations in training where there was
    one at this step, else of fresh episodes."""
    scores = log.read(run.path / "scores.jsonl")
    plays: list[Callable] = []

    def score(seed: int, learner: Any) -> float:
        at = (seed, int(learner.step))
        known = [x["return"] for x in scores if (x["seed"], x["step"]) == at]
        if known:
            return float(np.mean(known))
        if not plays:
            play = evaluate.evaluator(run.agent, run.evaluation_env, episodes)
            plays.append(play)
        key = evaluate.evaluation_key(learner.key, learner.step, 0)
        return float(np.mean(plays[0](learner.agent, key).returns))

    return score


def _at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"--{name} must be at least {least}, got {value}")


def _steps(run: Run, since: int) -> list[int]:
    """Checkpoints to look at.

    Raises:
      RunError: there is none.
      UserError: `since` leaves none.
    """
    saved = run.saved()
    if not saved:
        raise RunError(f"{run.path} has no checkpoint yet")
    steps = [step for step in saved if step >= since]
    if not steps:
        raise UserError(
            f"--since {since} leaves no checkpoint of {run.path}: the newest is of "
            f"step {saved[-1]:,}"
        )
    return steps


def _has_model(run: Run, first: Run) -> None:
    """Refuse what cannot be diagnosed, or not together.

    Raises:
      UserError: no learned model, one that predicts no observations, or another
        environment than the first run's.
    """
    name, model = run.config["agent"]["name"], getattr(run.agent, "model", None)
    if model is None:
        raise UserError(
            f"{run.path}: {name} learns no world model, so there is none to diagnose"
        )
    if not hasattr(model, "decode"):
        raise UserError(
            f"{run.path}: the model of {name} predicts no observations, so it cannot "
            "be compared with what happened"
        )
    here, there = run.env.spec, first.env.spec
    same = (here.observation, here.action) == (there.observation, there.action)
    if here.name != there.name or not same:
        raise UserError(
            f"{run.path} is a run on {here.name}, {first.path} on {there.name}: "
            "diagnose runs of one environment together"
        )


def _names(paths: Sequence[Path]) -> list[str]:
    """Directory names; whole paths where two are alike."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
