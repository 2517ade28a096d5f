"""What can be refused before anything is compiled: each in one line."""

from __future__ import annotations

from typing import Any

from wm.errors import UserError
from wm.train.log import counted
from wm.train.schedule import Schedule
from wm.types import EnvSpec

MOST_UPDATES = 10_000
"""Per chunk: a stop, a row and a save have to wait for all of them."""
MOST_SEEDS = 4_096
"""Their keys, parameters and replay are made one by one."""


def seeds(first: int, count: int) -> None:
    """Seeds that keys can tell apart.

    Raises:
      UserError: none, too many, or numbers of more than 32 bits, which repeat.
    """
    if not 1 <= count <= MOST_SEEDS:
        raise UserError(f"--seeds must be in [1, {MOST_SEEDS:,}], got {count:,}")
    if not 0 <= first <= 2**32 - count:
        raise UserError(f"--seed must be in [0, {2**32 - count:,}], got {first:,}")


def budget(schedule: Schedule, chunk: tuple[int, int], prefill: int) -> None:
    """A budget in which something is learned.

    Args:
      schedule: of the run.
      chunk: steps of every environment, and updates, between two looks at the host.
      prefill: steps over all environments before the first update.

    Raises:
      UserError: the prefill or a chunk is all of it, or a chunk takes too long.
    """
    T, updates = chunk
    advice = "set another --train.train_ratio, or --train.chunk and --train.updates"
    learns = prefill + 1 if updates or schedule.fit_steps else 0
    least = f"raise --steps to at least {max(T * schedule.envs, learns):,}"
    if T * schedule.envs > schedule.total:
        raise UserError(
            f"{counted(updates, 'update')} fall due every "
            f"{T * schedule.envs:,} steps, and --steps is {schedule.total:,}: {least}, "
            f"or {advice}"
        )
    if prefill >= schedule.total and (updates or schedule.fit_steps):
        raise UserError(
            f"learning begins after {prefill:,} steps, and --steps is "
            f"{schedule.total:,}: {least}, or lower --train.prefill or "
            "--train.batch_size"
        )
    if updates > MOST_UPDATES:
        raise UserError(
            f"{updates:,} updates fall due at once, after every {T * schedule.envs:,} "
            f"steps; at most {MOST_UPDATES:,} may: {advice}"
        )


def environment(env: Any) -> None:
    """An object that may be an environment.

    Raises:
      UserError: it has no specification.
    """
    parts = env if isinstance(env, list | tuple) else [env]
    for part in parts:
        spec = getattr(part, "spec", None)
        if not isinstance(spec, EnvSpec) and not (spec is None and callable(part)):
            raise UserError(
                f"{type(part).__name__} is no environment: it needs `spec` (an "
                "EnvSpec), `reset` and `step`; wm.check(env) says what is wrong"
            )


def match(agent: Any, env: Any) -> None:
    """An agent that was built for the spaces of `env`.

    Raises:
      UserError: it was built for others.
    """
    mine, spec = getattr(agent, "spec", None), getattr(env, "spec", None)
    if not isinstance(mine, EnvSpec) or not isinstance(spec, EnvSpec):
        return
    for part in ("observation", "action"):
        if getattr(mine, part) != getattr(spec, part):
            raise UserError(
                f"the agent was built for {mine.name}, whose {part}s are others than "
                f"those of {spec.name}: build it with env.spec of the latter"
            )
