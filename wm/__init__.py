"""World models in JAX: environments, models, planners and agents as pure functions.

Importing `wm` imports neither jax nor an environment; names are loaded on first use.
`wm.train(agent, env, …)` is a call to the package `wm.train`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wm.api import agent, diagnose, env, load
    from wm.envs.batched import batch
    from wm.envs.check import check
    from wm.envs.host import host
    from wm.errors import RunError, Stopped, UserError
    from wm.imagine import as_env
    from wm.train.run import train

__all__ = [
    "RunError",
    "Stopped",
    "UserError",
    "agent",
    "as_env",
    "batch",
    "check",
    "diagnose",
    "env",
    "host",
    "load",
    "train",
]

_LAZY = {
    **dict.fromkeys(("agent", "diagnose", "env", "load"), "wm.api"),
    **dict.fromkeys(("RunError", "Stopped", "UserError"), "wm.errors"),
    "as_env": "wm.imagine",
    "batch": "wm.envs.batched",
    "check": "wm.envs.check",
    "host": "wm.envs.host",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name == "train":
        return importlib.import_module("wm.train")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
