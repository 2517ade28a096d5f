"""Published settings by name, joined with `+`: `atari100k+size12m`.

Importing this package imports neither jax nor a system.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping

from wm.errors import UserError
from wm.presets.preset import Preset
from wm.presets.table import PRESETS
from wm.table import unknown

__all__ = ["Preset", "compose", "of"]


def of(system: str) -> Mapping[str, Preset]:
    """The presets of a system by name; none for a system without any."""
    if system not in PRESETS:
        return {}
    module, attribute = PRESETS[system].split(":")
    return getattr(importlib.import_module(module), attribute)


def compose(system: str, names: str) -> Preset:
    """Presets of a system joined with `+`; a later one wins over an earlier one.

    A preset called `default` comes before all others, named or not.

    Args:
      system: a name of `wm list systems`.
      names: as in `atari100k+size12m`; "" gives a preset without values.

    Raises:
      UserError: no preset of that name, then the message has the nearest one; or one
        that is named twice.
    """
    known, parts = of(system), names.split("+") if names else []
    for name in parts:
        if not name:
            raise UserError(f"--preset {names} has a + without a name beside it")
        if name not in known:
            listing = f"wm list presets {system}"
            raise UserError(unknown(name, known, f"{system} preset", listing))
        if parts.count(name) > 1:
            raise UserError(f"--preset {names} names {name} twice; leave one out")
    if "default" in known:
        parts = ["default", *parts]
    return functools.reduce(Preset.join, (known[name] for name in parts), Preset())
