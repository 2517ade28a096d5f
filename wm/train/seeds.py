"""The seed axis: one function of one seed's state, run for several seeds.

- `vmap`: one program, all seeds at once; states are one tree with a leading axis.
- `loop`: one executable called per seed with that seed's own donated state, in place by
  construction; states are a list of trees. Equal to single runs bit for bit.
- `shard`: seeds spread over devices in equal groups, no communication.

XLA runs the calls of one process on one CPU device one after another, however they
are dispatched; calls from different threads run side by side (measured: two runnable
threads against one). So `loop` calls from a thread per core there.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from wm.errors import UserError
from wm.train.sharding import seed_mesh
from wm.types import Key, Tree

SeedMode = Literal["vmap", "loop", "shard"]
AXIS = "seeds"
"""Name of the seeds that one program runs at once."""
Announce = Callable[[str, float], None]


class Program(NamedTuple):
    """A compiled function for all seeds; made by `Seeds.program`."""

    call: Callable[..., Any]
    """`(env, states, *counts) -> (states, out)`; every count is an int per seed."""
    executable: Any
    """The compiled executable, for its analyses."""
    seconds: float
    """Wall time to trace and compile."""


class Seeds:
    """Runs functions for all seeds in one of the modes."""

    def __init__(
        self,
        keys: Key,
        mode: SeedMode | None = None,
        announce=None,
        rows: Tree | None = None,
    ):
        """Set up for typed keys `[S]`, one per seed.

        Args:
          keys: `[S]`.
          mode: default: `default_mode`.
          announce: called with the name and seconds of each program compiled.
          rows: what else `init` gets, leaves `[S]`: hyperparameters of every row.

        Raises:
          UserError: unknown mode, or `shard` where seeds do not divide evenly.
        """
        self.keys, self.rows = keys, rows
        self.count = keys.shape[0]
        self.mode: str = mode or default_mode(self.count)
        self.announce: Announce = announce or (lambda name, seconds: None)
        if self.mode not in get_args(SeedMode):
            allowed = ", ".join(get_args(SeedMode))
            raise UserError(f"--seed_mode must be one of {allowed}, got {self.mode}")
        self.inside: dict[str, float] = {}
        """Wall seconds spent inside the executable of each program so far."""
        self.mesh = seed_mesh(self.count) if self.mode == "shard" else None
        self.pool = None
        if self.mode == "loop" and self.count > 1 and jax.default_backend() == "cpu":
            workers = min(self.count, cores())
            self.pool = concurrent.futures.ThreadPoolExecutor(workers, "wm-seed")

    @property
    def at_once(self) -> int:
        """Seeds that one device computes at the same time."""
        if self.mode == "loop":
            return 1 if self.pool is None else min(self.count, cores())
        return self.count if self.mesh is None else self.count // self.mesh.size

    def init(self, name: str, fn: Callable, env: Tree) -> Any:
        """States from `fn(env, key)`, or `fn(env, key, row)`, one per seed."""
        begin = lambda env, given: fn(env, *given)
        if self.mode == "loop":
            each = [self.given(i) for i in range(self.count)]
            compiled = self._compile(name, jax.jit(begin), env, each[0])
            return jax.block_until_ready([compiled(env, given) for given in each])
        lifted = self._lift(begin, 0)
        given = (self.keys,) if self.rows is None else (self.keys, self.rows)
        if self.mesh is not None:
            split = NamedSharding(self.mesh, PartitionSpec("seed"))
            given = jax.device_put(given, split)
        compiled = self._compile(name, jax.jit(lifted), env, given)
        return jax.block_until_ready(compiled(env, given))

    def given(self, seed: int) -> tuple:
        """What `init` gets for one seed: its key, and its row where there are rows."""
        key = self.keys[seed]
        if self.rows is None:
            return (key,)
        return key, jax.tree.map(lambda x: x[seed], self.rows)

    def program(
        self, name: str, fn: Callable, env: Tree, states: Any, counts: int, donate: bool
    ) -> Program:
        """Compile `fn(env, state, *counts) -> out` for all seeds.

        Args:
          name: for the announcement.
          fn: of one seed; where `donate`, it returns `(state, out)`.
          env: first argument, shared.
          states: as this object keeps them, or their shapes.
          counts: traced i32 arguments after the state.
          donate: whether the states are consumed.
        """
        donated: dict[str, Any] = {"donate_argnums": 1} if donate else {}
        zeros = [np.int32(0)] * counts
        start = time.perf_counter()
        if self.mode == "loop":
            jitted = jax.jit(fn, **donated)
            compiled = self._compile(name, jitted, env, states[0], *zeros)
            run = functools.partial(self._each, compiled, donate)
        else:
            jitted = jax.jit(self._lift(fn, counts), **donated)
            compiled = self._compile(name, jitted, env, states, *zeros)
            run = functools.partial(self._at_once, compiled, donate)
        seconds = time.perf_counter() - start
        return Program(functools.partial(self._timed, name, run), compiled, seconds)

    def announced(self, name: str, fn: Callable, donate: Any = ()) -> Callable:
        """`fn` of one seed, jitted; its first call, which compiles, is announced."""
        jitted, first = jax.jit(fn, donate_argnums=donate), [True]

        def call(*args):
            if not first:
                return jitted(*args)
            first.clear()
            start = time.perf_counter()
            out = jax.block_until_ready(jitted(*args))
            self.announce(name, time.perf_counter() - start)
            return out

        return call

    def pick(self, states: Any, seed: int) -> Tree:
        """The state of one seed, without the seed axis, in host memory where it has
        to be taken out of all seeds': a second replay may not fit on the device."""
        if self.mode == "loop":
            return states[seed]

        def one(leaf):
            part = leaf[seed]
            is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            return part if is_key else np.asarray(part)

        return jax.tree.map(one, states)

    def shapes(self, states: Any) -> Tree:
        """Shapes and dtypes of one seed's state."""
        if self.mode == "loop":
            return jax.tree.map(_shape, states[0])
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), states
        )

    def join(self, parts: Sequence[Tree]) -> Any:
        """States in this object's form from one tree per seed; consumes the list."""
        if self.mode == "loop":
            return [jax.tree.map(own, part) for part in parts]
        stacked = jax.tree.map(lambda *x: stack(x), *parts)
        if self.mesh is None:
            return stacked
        return jax.device_put(stacked, NamedSharding(self.mesh, PartitionSpec("seed")))

    def _lift(self, fn: Callable, counts: int) -> Callable:
        """`fn` over a leading seed axis of its second argument and its result."""
        lifted = jax.vmap(fn, in_axes=(None, 0, *[None] * counts), axis_name=AXIS)
        if self.mesh is None:
            return lifted
        shared, split = PartitionSpec(), PartitionSpec("seed")
        return jax.shard_map(
            lifted,
            mesh=self.mesh,
            in_specs=(shared, split, *[shared] * counts),
            out_specs=split,
            check_vma=False,  # nothing is communicated, and loops carry both kinds
        )

    def _compile(self, name: str, jitted: Any, *args: Any) -> Any:
        start = time.perf_counter()
        compiled = jitted.lower(*args).compile()
        self.announce(name, time.perf_counter() - start)
        return compiled

    def _timed(self, name: str, run: Callable, env, states, *counts) -> Any:
        """Call and wait, booking the time."""
        start = time.perf_counter()
        out = jax.block_until_ready(run(env, states, counts))
        seconds = time.perf_counter() - start
        self.inside[name] = self.inside.get(name, 0.0) + seconds
        return out

    def _each(self, compiled, donate: bool, env, states, counts) -> Any:
        """Call once per seed, from as many threads as there are cores on CPU."""

        def one(seed: int):
            values = [np.int32(count[seed]) for count in counts]
            return jax.block_until_ready(compiled(env, states[seed], *values))

        if self.pool is None:
            values = [[np.int32(c[i]) for c in counts] for i in range(self.count)]
            outs = [
                compiled(env, state, *v)
                for state, v in zip(states, values, strict=True)
            ]
        else:
            outs = list(self.pool.map(one, range(self.count)))
        if not donate:
            return _join_numpy(outs)
        return [state for state, _ in outs], _join_numpy([out for _, out in outs])

    def _at_once(self, compiled, donate: bool, env, states, counts) -> Any:
        """One call; every seed goes as far as the one that needs most."""
        values = [np.int32(max(count)) for count in counts]
        out = compiled(env, states, *values)
        if not donate:
            return jax.device_get(out)
        states, out = out
        return states, jax.device_get(out)


def default_mode(count: int, platform: str | None = None) -> SeedMode:
    """The fastest known mode of a platform.

    On CPU `loop`: `vmap` turns products of a batch with weights into batched products,
    which lose as soon as one seed fills a core. On accelerators one seed leaves the
    device idle: `vmap`, or `shard` where there is a device for every group of seeds.
    """
    platform = platform or jax.default_backend()
    if platform == "cpu" or count == 1:
        return "loop"
    devices = len(jax.devices())
    return "shard" if devices > 1 and count % devices == 0 else "vmap"


def seed_keys(seed: int, count: int) -> Key:
    """Keys `[count]` of the seeds `seed`, `seed + 1`, …: those of single runs."""
    numbers = np.arange(seed, seed + count, dtype=np.uint32)
    return jax.vmap(jax.random.key)(numbers)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def stack(leaves: Sequence[Any]) -> Any:
    """Leaves joined on a new leading axis; keys stay keys, numpy stays numpy."""
    if all(isinstance(leaf, np.ndarray) for leaf in leaves):
        return np.stack(leaves)
    return jax.numpy.stack(leaves)


def own(leaf: Any) -> Any:
    """An array of its own on the device: one made of numpy may share its memory, and
    could not be donated."""
    return leaf if isinstance(leaf, jax.Array) else jax.numpy.array(leaf)


def _join_numpy(outs: Sequence[Tree]) -> Tree:
    return jax.tree.map(lambda *x: np.stack(x), *jax.device_get(list(outs)))


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
