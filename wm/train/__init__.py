"""Runners: collecting, learning, evaluating, saving. Never imports an agent.

The package itself is callable: `wm.train(agent, env, …)` is `wm.train.run.train`.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _Train(types.ModuleType):
    """A module that can be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`wm.train.run.train(…)`."""
        from wm.train.run import train

        return train(*args, **kwargs)


sys.modules[__name__].__class__ = _Train
