"""`wm list`: the tables of names, one line per entry. Imports strings only."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping

from wm.cli_extras import installed
from wm.errors import UserError
from wm.table import Entry, lookup, unknown

USAGE = """usage: wm list [systems | envs [WORD] | presets [SYSTEM]]

  wm list                  everything, environments by source
  wm list systems          systems, one line each
  wm list envs [WORD]      environments, one line each; only those with WORD in them
  wm list presets SYSTEM   presets of a system with the source of their values"""


def run(words: list[str]) -> int:
    """Print a table; see `USAGE`.

    Raises:
      UserError: no such table or system.
    """
    if any(word in ("--help", "-h") for word in words):
        print(USAGE)
        return 0
    tables = {"systems": _systems, "envs": _environments, "presets": _presets}
    if not words:
        _overview()
    elif words[0] in tables:
        tables[words[0]](words[1:])
    else:
        raise UserError(unknown(words[0], tables, "table", "wm list --help"))
    return 0


def _overview() -> None:
    from wm.envs.table import ENVS

    print("systems (`wm list presets SYSTEM` for their settings)")
    _systems([])
    print("\nenvironments (`wm list envs` for all names)")
    sources: dict[str, list[str]] = {}
    for name in ENVS:
        sources.setdefault(name.split("/")[0], []).append(name)
    rows = []
    for source, names in sources.items():
        more = f" … {len(names)} in all" if len(names) > 2 else ""
        rows.append((f"{source}/", ", ".join(names[:2]) + more, _needs(ENVS[names[0]])))
    _table(rows)


def _systems(words: list[str]) -> None:
    from wm.agents.table import AGENTS

    _entries(AGENTS, words, "system")


def _environments(words: list[str]) -> None:
    from wm.envs.table import ENVS

    _entries(ENVS, words, "environment")


def _entries(table: Mapping[str, Entry], words: list[str], kind: str) -> None:
    chosen = {
        name: entry
        for name, entry in table.items()
        if all(word.lower() in name.lower() for word in words)
    }
    if not chosen:
        listing = f"wm list {'envs' if kind == 'environment' else 'systems'}"
        raise UserError(unknown(" ".join(words), table, kind, listing))
    _table((name, entry.description, _needs(entry)) for name, entry in chosen.items())


def _presets(words: list[str]) -> None:
    from wm.agents.table import AGENTS
    from wm.presets import of

    systems = words or list(AGENTS)
    for system in systems:
        lookup(AGENTS, system, "system", "wm list systems")
        print(f"presets of {system} (join them with +: atari100k+size1m)")
        _table((name, preset.source, "") for name, preset in of(system).items())


def _needs(entry: Entry) -> str:
    if entry.extra is None:
        return ""
    if installed(entry.extra):
        return f"[{entry.extra}]"
    return f"pip install 'wm-jax[{entry.extra}]'"


def _table(rows) -> None:
    """Print columns; the middle one is cut to the width of the terminal."""
    rows = list(rows)
    first = max((len(row[0]) for row in rows), default=0)
    last = max((len(row[2]) for row in rows), default=0)
    # Whole lines where they go into a file or another program.
    shown = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns if shown else 1_000
    middle = max(20, width - first - last - 6)
    longest = max((len(row[1]) for row in rows), default=0)
    middle = min(middle, longest)
    for name, text, needs in rows:
        text = text if len(text) <= middle else text[: middle - 1] + "…"
        print(f"  {name:<{first}}  {text:<{middle}}  {needs}".rstrip())
