"""Environments by name (`source/task`), their wrappers, and the table of names.

Importing this package imports neither jax nor an environment; what it exports is
loaded on first use. Own environments need no registration: any object with `spec`,
`reset(key)` and `step(state, action)` goes where an `Env` is expected.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wm.envs.batched import batch
    from wm.envs.check import check_or_raise
    from wm.envs.registry import make
    from wm.envs.table import ENVS

__all__ = ["ENVS", "batch", "check_or_raise", "make"]

_LAZY = {
    "make": "wm.envs.registry",
    "batch": "wm.envs.batched",
    "check_or_raise": "wm.envs.check",
    "ENVS": "wm.envs.table",
}


def __getattr__(name: str) -> Any:
    """Load an export on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
