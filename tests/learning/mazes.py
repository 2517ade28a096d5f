"""Runs of tabular agents in mazes, all seeds in one program, step by step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import wm
from wm.envs import batch
from wm.train.loop import loop_of
from wm.train.schedule import Schedule

SCHEDULE = Schedule(envs=1, chunk=1, updates=1, prefill=0)


class Course(NamedTuple):
    """What happened, numpy, `[seeds, steps, …]`."""

    reward: np.ndarray
    ended: np.ndarray
    """Whether this step ended an episode."""
    q: np.ndarray | None
    """`[seeds, steps, S, A]` where asked for."""
    backups: np.ndarray | None


def run(
    system: str, task: str, steps: int, seeds: int, keep_q: bool = False, **options: Any
) -> Course:
    """`steps` steps of `seeds` agents; options of the environment begin with `env_`."""
    given = {k.removeprefix("env_"): v for k, v in options.items() if "env_" in k}
    rest = {k: v for k, v in options.items() if "env_" not in k}
    env = wm.env(task, **given)
    loop = loop_of(wm.agent(system, env.spec, **rest), SCHEDULE)
    batched = batch(env)

    def body(state, _):
        new = loop.one_chunk(batched, state)
        record = {"reward": new.timestep.reward[0], "ended": new.timestep.is_last[0]}
        if keep_q:
            record["q"] = loop.agent.actor(new.agent)
            record["backups"] = new.agent.backups
        return new, record

    def one(key):
        state = loop.init(batched, key)
        return jax.lax.scan(body, state, None, steps)[1]

    keys = jax.random.split(jax.random.key(0), seeds)
    found = jax.device_get(jax.jit(jax.vmap(one))(keys))
    return Course(found["reward"], found["ended"], found.get("q"), found.get("backups"))


def episode_lengths(course: Course, episodes: int) -> np.ndarray:
    """Steps of the first episodes, `[seeds, episodes]`; NaN where there are fewer."""
    lengths = np.full((course.ended.shape[0], episodes), np.nan)
    for seed, ended in enumerate(course.ended):
        ends = np.flatnonzero(ended)[:episodes]
        # The record between two episodes is no step.
        starts = np.concatenate([[-1], ends[:-1] + 1])
        lengths[seed, : len(ends)] = ends - starts
    return lengths


class Moves(NamedTuple):
    """Where every action of every cell leads, numpy `[S, A]`."""

    cell: np.ndarray
    won: np.ndarray
    start: int


def moves_of(env: Any) -> Moves:
    """All transitions of a maze whose walls do not move."""
    state, first = env.reset(jax.random.key(0))
    cells = jnp.arange(env.spec.observation.classes)
    actions = jnp.arange(env.spec.action.classes)
    one = lambda cell, action: env.step(state.replace(cell=cell), action)[1]
    found = jax.vmap(lambda c: jax.vmap(lambda a: one(c, a))(actions))(cells)
    cell, won = np.asarray(found.observation), np.asarray(found.is_last)
    return Moves(cell, won, int(first.observation))


def path_length(q: np.ndarray, moves: Moves, limit: int = 200) -> int:
    """Steps of the greedy path from the start to the goal; `limit` where none."""
    cell = moves.start
    for count in range(1, limit):
        at = (cell, q[cell].argmax())
        if moves.won[at]:
            return count
        cell = moves.cell[at]
    return limit


def needed_to_solve(
    course: Course, moves: Moves, optimal: int
) -> tuple[np.ndarray, np.ndarray]:
    """Backups and steps of each seed, from its first reward until its greedy path is at
    most 1.2 times the optimal; infinite where it never is. Before that reward there is
    nothing to know, and a backup changes nothing."""
    assert course.q is not None
    assert course.backups is not None
    backups, steps = np.full((2, len(course.q)), np.inf)
    for seed, (q, made) in enumerate(zip(course.q, course.backups, strict=True)):
        first = np.flatnonzero(course.reward[seed] > 0)[0]
        before = made[first - 1]
        for step in np.flatnonzero(np.diff(made, prepend=0)):
            if step >= first and path_length(q[step], moves) <= 1.2 * optimal:
                backups[seed], steps[seed] = made[step] - before, step - first
                break
    return backups, steps


def reward_by(course: Course, steps: int) -> float:
    """Mean over seeds of all that was earned in the first `steps` real steps."""
    begins = np.pad(course.ended[:, :-1], ((0, 0), (1, 0)))
    count = np.cumsum(~begins, axis=1)
    return float((course.reward * (count <= steps)).sum(1).mean())
