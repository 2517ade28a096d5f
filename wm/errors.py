"""Errors meant for the person at the keyboard: one line, what is wrong and what to do.

The command line prints them as `wm: <line>` without a traceback.
"""


class UserError(ValueError):
    """A wrong name, option or configuration; exit code 2."""


class Stopped(KeyboardInterrupt):
    """A signal stopped a run; all of it is saved, and the same call continues.

    A kind of `KeyboardInterrupt`, so that a script does not go on to its next run.
    """


class RunError(RuntimeError):
    """A run that cannot go on: damaged, foreign or unwritable; exit code 1."""
