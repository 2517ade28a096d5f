"""What a run would be, without training: everything up to the first allocation."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from wm.train.memory import Need
from wm.train.population import Population
from wm.train.run import Session


def occupied(agent: Any, env: Any, quiet: bool = True, **given: Any) -> Need:
    """What a run would occupy, by the same checks that `train` makes.

    Args:
      agent: as `train` takes it.
      env: likewise.
      quiet: print none of the opening lines.
      given: `schedule`, `seeds`, `seed`, `seed_mode`, `mesh` and `about` of `train`.

    Raises:
      UserError: as `train`.
      RunError: it does not fit.
    """
    settings: dict[str, Any] = {"buffer": None, "seed_mode": None, "about": None}
    settings |= {"mesh": None, "seeds": 1, "seed": 0, **given}
    settings["mode"] = settings.pop("seed_mode")
    hypers = settings.pop("hypers", None)
    if hypers:
        agent = Population(agent, hypers, settings["seeds"])
        settings["seeds"] = len(agent.members)
    with tempfile.TemporaryDirectory(prefix="wm-dry-") as folder:
        out = Path(folder) / "run"
        session = Session(agent, env, out=out, quiet=quiet, **settings)
        with session.held:
            return session.need
