"""Errors meant for the person at the keyboard: one line, what is wrong and what to do.

The command line prints them as `wm: <line>` without a traceback.
"""

from typing import Any


class UserError(ValueError):
    """A wrong name, option or configuration; exit code 2."""


class Stopped(KeyboardInterrupt):
    """A signal stopped a run; all of it is saved, and the same call continues.

    A kind of `KeyboardInterrupt`, so that a script does not go on to its next run.
    """


class RunError(RuntimeError):
    """A run that cannot go on: damaged, foreign or unwritable; exit code 1."""


def require(config: Any, name: str, holds: bool, allowed: str) -> None:
    """One line where a setting of an agent is not what it must be.

    Args:
      config: it is a field of.
      name: of the field, behind a dot if the settings are a part of the agent's.
      holds: whether all is well.
      allowed: completes "must be".

    Raises:
      UserError: `holds` is false.
    """
    if not holds:
        got = getattr(config, name.rpartition(".")[2])
        raise UserError(f"--agent.{name} must be {allowed}, got {got}")
