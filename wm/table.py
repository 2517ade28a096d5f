"""Tables of names: strings only, so that listing them imports nothing heavy."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from wm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Entry:
    """One name of a table."""

    target: str
    """`"module:attribute"`, imported by `load`."""
    description: str
    """One line for `wm list`."""
    extra: str | None = None
    """Optional dependency group that it needs."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Keyword arguments that belong to this name."""


def lookup(table: Mapping[str, Entry], name: str, kind: str, listing: str) -> Entry:
    """The entry called `name`.

    Args:
      table: names and entries.
      name: what the user typed.
      kind: what the table lists, for the message ("environment").
      listing: the command that shows all names.

    Raises:
      UserError: unknown name; the message has the nearest one.
    """
    if name in table:
        return table[name]
    raise UserError(unknown(name, table, kind, listing))


def unknown(name: str, names, kind: str, listing: str) -> str:
    """The line for an unknown name, with the nearest known one where there is one."""
    folded = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    hint = f" Did you mean {folded[close[0]]}?" if close else ""
    return f'no {kind} "{name}".{hint} (`{listing}`)'


def load(name: str, entry: Entry) -> Any:
    """Import what an entry points to.

    Raises:
      UserError: its optional packages are not installed; the message has the command.
    """
    module, attribute = entry.target.split(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise missing_extra(name, entry.extra, error) from error


def missing_extra(name: str, extra: str | None, error: ImportError) -> Exception:
    """The line for a missing optional package; `error` itself if none is declared."""
    package = (error.name or "").split(".")[0]
    if extra is None or package == "wm":
        return error
    return UserError(
        f"{name} needs the extra \"{extra}\": pip install 'wm-jax[{extra}]'"
    )
