"""Published numbers, statistics and the page that shows a run.

`write(runs)` makes the page; `wm.report.reference` looks published numbers up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wm.report.page import write

__all__ = ["write"]


def __getattr__(name: str) -> Any:
    """Load an export on first use (PEP 562): the tables need no matplotlib."""
    if name != "write":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from wm.report.page import write

    return write
