"""The persistent compile cache: where it lies, and switching it on.

Imports neither jax nor any other package: it must run before jax is first imported.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path


def enable(name: str = "programs") -> None:
    """Keep compiled programs between processes, unless the user chose otherwise.

    Works through environment variables, so jax must not have been imported yet.
    `JAX_COMPILATION_CACHE_DIR` set by the user wins; set to nothing, it switches the
    cache off.

    Args:
      name: folder inside the cache of this machine.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder() / name))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def folder() -> Path:
    """The cache of this kind of machine.

    Compiled programs hold instructions of the processor they were made on, and home
    folders are shared between machines: each kind of processor gets its own folder.
    """
    if sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "wm-jax" / hashlib.sha256(_processor().encode()).hexdigest()[:12]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    flags = (line for line in lines if line.startswith(("flags", "Features")))
    return platform.machine() + next(flags, "")
