"""What a run will occupy, before anything is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from wm.errors import RunError
from wm.ops.spread import SEED
from wm.train import sharding
from wm.types import Tree


class Need(NamedTuple):
    """Bytes over all seeds of a device."""

    replay: int
    learner: int
    """Parameters, optimizer and everything else that is neither replay nor tree."""
    free: int | None
    """Of the device (or the machine, on CPU); None where it cannot be known."""
    host_free: int | None = None
    """Of the machine, where replay lives there and not on the device."""
    params: int = 0
    """Part of `learner`; slow copies are not counted here."""
    optimizer: int = 0
    """Part of `learner`."""
    tree: int = 0
    """Of a search: model states of all its nodes, for all rows that search at once."""


def size_bytes(tree: Tree) -> int:
    """Bytes of arrays or of their shapes; typed keys count 8 each."""

    def size(leaf):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return 8 * leaf.size
        return leaf.size * np.dtype(leaf.dtype).itemsize

    return sum(size(leaf) for leaf in jax.tree.leaves(tree))


def need(
    shapes: Any, seeds: int, replay_on_host: bool = False, mesh: Mesh | None = None
) -> Need:
    """What `seeds` states of these shapes occupy on each device, temporaries aside.

    Args:
      shapes: `TrainState` of one seed, arrays or shapes.
      seeds: of the run.
      replay_on_host: whether replay is kept in the machine's memory.
      mesh: of the run, if it has one.
    """
    sharing = 1
    if mesh is not None:
        shapes = sharding.local_shapes(shapes, mesh)
        seeds //= mesh.shape[SEED]
        sharing = len(mesh.local_devices)
    replay, whole = size_bytes(shapes.buffer), size_bytes(shapes)
    host_free = machine_bytes() if replay_on_host else None
    return Need(
        seeds * replay, seeds * (whole - replay), free_bytes(sharing), host_free
    )


def check(need: Need, capacity: int) -> None:
    """Refuse what cannot fit, with a replay size that does.

    Raises:
      RunError: replay, learner and tree are larger than what is free.
    """
    free, on_host = need.free, need.host_free is not None
    apart = jax.devices()[0].platform != "cpu"
    if on_host:
        free = need.host_free
        if apart:
            need = need._replace(learner=0, tree=0)
    fixed = need.learner + need.tree
    if free is None or need.replay + fixed <= free:
        return
    if need.tree > max(need.replay, need.learner):
        raise RunError(
            f"the search tree needs {megabytes(need.tree)} beside "
            f"{megabytes(need.replay + need.learner)} for replay and learner, "
            f"{megabytes(free)} are free. Use fewer --agent.search.simulations or "
            "--train.envs"
        )
    room = max(free - fixed, 0) * 0.8
    fitting = int(capacity * room / max(need.replay, 1))
    remedy = "a smaller agent"
    if fitting:
        digits = 10 ** max(len(str(fitting)) - 2, 0)
        fitting = fitting // digits * digits
        remedy = f"--train.replay {fitting}"
        remedy += " or --train.replay_tier host" if apart and not on_host else ""
    raise RunError(
        f"replay of {capacity:,} steps needs {megabytes(need.replay)} and the learner "
        f"{megabytes(fixed)}, {megabytes(free)} are free. Use {remedy}"
    )


def free_bytes(sharing: int = 1) -> int | None:
    """Free bytes of a device; on CPU those of the machine by the devices in use."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    free = machine_bytes()
    return None if free is None else free // sharing


def machine_bytes() -> int | None:
    """Free bytes of the machine's own memory; None where it cannot be known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return _psutil_free()
    sizes = dict(line.split(":") for line in lines if ":" in line)
    return int(sizes["MemAvailable"].split()[0]) * 1024


def _psutil_free() -> int | None:
    """Where there is no /proc; None without the optional package."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil.virtual_memory().available


def megabytes(size: int) -> str:
    """`41 MB`, `23.1 GB`; `12 kB` of what is small."""
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
