"""Timing and the one format of `benchmarks/results/*.json`.

A row says what was measured (`name`, `case`, `value`, `unit`), against what
(`peer_value`, `ratio`), and under which conditions (`cores`, `versions`, `command`,
filled in here). Rows of an earlier run with the same name and case are replaced.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
ON_CPU = jax.default_backend() == "cpu"
UNIT = "CPU s" if ON_CPU else "s"
"""What `clock` counts: seconds of this process on a CPU, which others may share."""


def clock() -> float:
    """Seconds, in `UNIT`."""
    return time.process_time() if ON_CPU else time.perf_counter()


def measure(call: Callable[[], Any], repeats: int = 5, warmup: int = 1) -> float:
    """Median wall seconds of `call()`, results waited for.

    Args:
      call: what to time; whatever arrays it returns are blocked on.
      repeats: timed calls.
      warmup: calls before the first timed one (compilation).
    """
    for _ in range(warmup):
        jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def row(
    name: str,
    case: str,
    value: float,
    unit: str,
    peer_value: float | None = None,
    ratio: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One result. `ratio` defaults to `value / peer_value`."""
    if ratio is None and peer_value:
        ratio = value / peer_value
    fields = {"name": name, "case": case, "value": value, "unit": unit}
    return {**fields, "peer_value": peer_value, "ratio": ratio, **more}


def record(path: str | Path, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print rows and merge them into a results file.

    Args:
      path: a file name; it lies in `benchmarks/results`, for an accelerator in a
        folder of its name, or anywhere if the path is absolute.
      rows: as `row` makes them; missing keys are filled with None.

    Returns:
      The complete rows, as written.
    """
    path = RESULTS / folder() / path
    rows = [{**row("", "", 0.0, ""), **given, **conditions()} for given in rows]
    written = {(given["name"], given["case"]) for given in rows}
    old = json.loads(path.read_text()) if path.exists() else []
    kept = [given for given in old if (given["name"], given["case"]) not in written]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*kept, *rows], indent=1) + "\n")
    for given in rows:
        ratio = f"  (ratio {given['ratio']:.2f})" if given["ratio"] else ""
        print(
            f"{given['name']:<32} {given['case']:<36} "
            f"{given['value']:>14,.4g} {given['unit']}{ratio}"
        )
    return rows


def folder() -> str:
    """Where results of this device lie: "" for a CPU, else like "nvidia-h100"."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return ""
    return "-".join(device.device_kind.lower().split()[:2])


def conditions() -> dict[str, Any]:
    """Cores this process may use, versions, device, and the command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    device = jax.devices()[0]
    script = Path(sys.argv[0] or "-")
    script = (
        ["-m", f"benchmarks.{script.stem}"]
        if script.resolve().parent == Path(__file__).resolve().parent
        else [script.name]
    )
    return {
        "cores": cores or os.cpu_count(),
        "device": f"{device.platform} {device.device_kind}",
        "versions": versions,
        "command": shlex.join(["python", *script, *map(portable, sys.argv[1:])]),
    }


def portable(argument: str) -> str:
    """`argument` without a path of this machine: a result is read elsewhere."""
    return "DIR" if Path(argument).is_absolute() else argument
