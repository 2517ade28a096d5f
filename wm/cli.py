"""The command `wm`: which command runs, and how errors look.

Nothing heavy is imported before a command needs it; `wm list` imports neither jax nor
an environment. The commands live in the files `cli_….py`.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence

from wm.errors import RunError, Stopped, UserError
from wm.table import unknown

COMMANDS = {
    "list": ("wm.cli_list:run", "systems, environments and presets"),
    "train": ("wm.cli_train:run", "train a system in an environment"),
    "eval": ("wm.cli_runs:evaluate", "more evaluation episodes of a run"),
    "play": ("wm.cli_runs:play", "play a board game against the agent of a run"),
    "report": ("wm.cli_runs:report", "a page about one or more runs"),
    "sweep": ("wm.cli_sweep:run", "a table of tasks, presets and seeds"),
    "reproduce": ("wm.cli_reproduce:run", "one published number, and a verdict"),
    "diagnose": ("wm.cli_runs:diagnose", "how good the learned model of a run is"),
    "resume": ("wm.cli_runs:resume", "prove that a run resumes exactly (--check)"),
    "doctor": ("wm.cli_doctor:run", "what is installed, and a self-test"),
}
"""Where each command lives, and what it does."""

DONE, FAILED, WRONG, INTERRUPTED, ABORTED = 0, 1, 2, 75, 130
"""Exit codes; 75: interrupted and saved, the same command continues; 130: interrupted
before there was anything to save, or by a second Ctrl-C."""

_DISK = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM}
_DISK |= {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.EIO}
_DISK |= {errno.ENAMETOOLONG, errno.EFBIG}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
      argv: words after `wm`; those of the process if None.

    Returns:
      0 done, 1 failed, 2 wrong command line, 75 interrupted and saved, 130
      interrupted and not saved.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return dispatch(words)
    except UserError as error:
        return _complain(error, WRONG)
    except RunError as error:
        return _complain(error, FAILED)
    except BrokenPipeError:
        # The reader (`| head`) has left; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        if error.errno not in _DISK:
            raise
        return _complain(_disk_line(error), FAILED)
    except Stopped as stopped:
        print(stopped)
        return INTERRUPTED
    except KeyboardInterrupt:
        code = _complain("interrupted", ABORTED)
        if argv is None:
            # A compiled program that still runs would hold the process up.
            os._exit(code)
        return code


def dispatch(words: list[str]) -> int:
    """Run the command that the first word names; errors are left to the caller.

    Raises:
      UserError: no such command, or whatever the command raises.
    """
    if not words or words[0] in ("--help", "-h", "help"):
        print(_usage())
        return DONE
    if words[0] in ("--version", "-V", "version"):
        print(f"wm {version()}")
        return DONE
    name, *rest = words
    if name not in COMMANDS:
        raise UserError(unknown(name, COMMANDS, "command", "wm --help"))
    module, attribute = COMMANDS[name][0].split(":")
    return getattr(importlib.import_module(module), attribute)(rest)


def version() -> str:
    """The installed version of the distribution."""
    from importlib import metadata

    try:
        return metadata.version("wm-jax")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _usage() -> str:
    lines = ["wm: world models in JAX", "", "usage: wm COMMAND [options]", ""]
    lines += [f"  {name:<9} {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            *lines,
            "",
            "`wm COMMAND --help` shows every option; `wm --version` the version.",
            "Begin with: wm train dreamer_v3 --env pixels/catch --preset demo",
        ]
    )


def _complain(what: object, code: int) -> int:
    """Print one line; the traceback too where WM_DEBUG=1."""
    if os.environ.get("WM_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    line = " ".join(str(what).split())
    print(f"wm: {line}", file=sys.stderr)
    return code


def _disk_line(error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    where = f"{error.filename}: " if error.filename else ""
    hint = "" if error.errno == errno.ENOENT else ". Choose another place with --out"
    return f"{where}{reason}{hint}"


if __name__ == "__main__":
    sys.exit(main())
