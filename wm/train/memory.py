"""What a run will occupy, before anything is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from wm.errors import RunError
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


def need(shapes: Any, seeds: int, replay_on_host: bool = False) -> Need:
    """What `seeds` states of these shapes occupy, temporaries aside.

    Args:
      shapes: `TrainState` of one seed, arrays or shapes.
      seeds: how many share the device.
      replay_on_host: whether replay is kept in the machine's memory.
    """
    replay, whole = size_bytes(shapes.buffer), size_bytes(shapes)
    host_free = machine_bytes() if replay_on_host else None
    learner = seeds * (whole - replay)
    return Need(
        seeds * replay,
        learner,
        free_bytes(),
        host_free,
        seeds * size_bytes(params_of(shapes.agent)),
        seeds * optimizer_bytes(shapes.agent),
    )


def params_of(state: Tree) -> Tree:
    """What an agent learns: `params` of its state, or all of it that is neither an
    optimizer's nor a slow copy."""
    found = getattr(state, "params", None)
    return _leaves(state, ("optimizer", "target"), False) if found is None else found


def optimizer_bytes(state: Tree) -> int:
    """Bytes below fields whose name has `optimizer` in it."""
    return size_bytes(_leaves(state, ("optimizer",), True))


def _leaves(tree: Tree, words: tuple[str, ...], inside: bool) -> list:
    """Leaves below names with one of `words` in them, or all the others."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    below = lambda path: any(word in str(key) for key in path for word in words)
    return [leaf for path, leaf in pairs if below(path) == inside]


def tree(agent: Any, shapes: Any, rows: Sequence[int]) -> int:
    """Bytes of the search tree of one seed, 0 where no tree is searched.

    The tree is what the search's loop carries: (simulations + 1) nodes per row, each
    with a model state and the statistics of its actions. `act` is traced, not run.

    Args:
      agent: one whose `config.search` counts `simulations`.
      shapes: `TrainState` of one seed, arrays or shapes.
      rows: how many search at once: of training, and of evaluation.
    """
    search = getattr(getattr(agent, "config", None), "search", None)
    if not getattr(search, "simulations", 0):
        return 0
    key = jax.random.key(0)
    sizes = []
    for mode, count in zip(("train", "eval"), rows, strict=True):
        resized = lambda x, count=count: jax.ShapeDtypeStruct(
            (count, *x.shape[1:]), x.dtype
        )
        carry, timestep = jax.tree.map(resized, (shapes.carry, shapes.timestep))
        act = lambda state, key, carry, timestep, mode=mode: agent.act(
            agent.actor(state), key, carry, timestep, mode
        )
        traced = jax.make_jaxpr(act)(shapes.agent, key, carry, timestep)
        sizes.append(_largest_carry(traced.jaxpr))
    return max(sizes)


def _largest_carry(jaxpr: Any) -> int:
    """Bytes that the largest loop of a program carries, inner programs included."""
    sizes = [0]
    for equation in jaxpr.eqns:
        given, name = equation.params, equation.primitive.name
        if name == "scan":
            first = given["num_consts"]
            carried = equation.invars[first : first + given["num_carry"]]
            sizes.append(size_bytes([x.aval for x in carried]))
        elif name == "while":
            first = given["cond_nconsts"] + given["body_nconsts"]
            sizes.append(size_bytes([x.aval for x in equation.invars[first:]]))
        for value in given.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    sizes.append(_largest_carry(inner))
    return max(sizes)


def check(need: Need, capacity: int) -> None:
    """Refuse what cannot fit, with a replay size that does.

    Raises:
      RunError: replay, learner and tree are larger than what is free.
    """
    free, on_host = need.free, need.host_free is not None
    if on_host:
        free = need.host_free
        if jax.devices()[0].platform != "cpu":
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
        remedy += "" if on_host else " or --train.replay_tier host"
    raise RunError(
        f"replay of {capacity:,} steps needs {megabytes(need.replay)} and the learner "
        f"{megabytes(fixed)}, {megabytes(free)} are free. Use {remedy}"
    )


def free_bytes() -> int | None:
    """Free bytes of the first device; on CPU those of the machine."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return machine_bytes()


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
