"""The seed axis: one function of one seed's state, run for several seeds.

- `vmap`: one program, all seeds at once; states are one tree with a leading axis.
- `loop`: one executable called per seed with that seed's own donated state, in place by
  construction; states are a list of trees. Equal to single runs bit for bit.
- `shard`: seeds spread over devices in equal groups, no communication.

On a mesh with a `data` or `model` axis every seed's arrays are split further, in each
of the modes; see `sharding.py`. Its compiler partitions the program of one device.
Groups of seeds share a loop there, and a flag goes between them in every chunk
(`Loop.interval`). A `shard_map` over seeds would spare it, but XLA (of jax 0.10.2) ends
the process over it in DreamerV3.

XLA runs the calls of one process on one CPU device one after another, however they
are dispatched; calls from different threads run side by side (measured: two runnable
threads against one). So `loop` calls from a thread per core there.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from wm.errors import UserError
from wm.ops.spread import SEED
from wm.train import sharding, workload
from wm.train.workload import Work
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
    work: Work
    """Of one call; loops whose length is an argument count once."""


class Seeds:
    """Runs functions for all seeds in one of the modes."""

    def __init__(
        self,
        keys: Key,
        mode: SeedMode | None = None,
        announce=None,
        rows: Tree | None = None,
        mesh: Mesh | sharding.Layout | None = None,
    ):
        """Set up for typed keys `[S]`, one per seed.

        Args:
          keys: `[S]`.
          mode: default: `default_mode`.
          announce: called with the name and seconds of each program compiled.
          rows: what else `init` gets, leaves `[S]`: hyperparameters of every row.
          mesh: or what it should be like; default: one device, of `shard` all.

        Raises:
          UserError: unknown mode, or a mesh that does not fit seeds or devices.
        """
        self.keys, self.rows = keys, rows
        self.count = keys.shape[0]
        mesh = mesh or sharding.Layout()
        self.mode: str = mode or default_mode(self.count, layout=mesh)
        self.announce: Announce = announce or (lambda name, seconds: None)
        if self.mode not in get_args(SeedMode):
            allowed = ", ".join(get_args(SeedMode))
            raise UserError(f"--seed_mode must be one of {allowed}, got {self.mode}")
        self.inside: dict[str, float] = {}
        """Wall seconds spent inside the executable of each program so far."""
        if isinstance(mesh, sharding.Layout):
            mesh = sharding.mesh_for(mesh, self.count, self.mode)
        self.mesh: Mesh | None = mesh
        alone = mesh is not None and mesh.size == mesh.shape[SEED]
        self.apart = self.mode == "shard" and alone
        """Whether devices share nothing: each has seeds of its own."""
        self.pool, self._take = None, {}
        # Never on a mesh: sums over devices must begin in the same order on each.
        threads = self.mesh is None and jax.default_backend() == "cpu"
        if self.mode == "loop" and self.count > 1 and threads:
            workers = min(self.count, cores())
            self.pool = concurrent.futures.ThreadPoolExecutor(workers, "wm-seed")

    def shared(self, tree: Tree) -> Tree:
        """What every seed and device gets whole: an environment, a key."""
        return tree if self.mesh is None else sharding.place(tree, self._at())

    @property
    def at_once(self) -> int:
        """Seeds that one device computes at the same time."""
        if self.mode == "loop":
            return 1 if self.pool is None else min(self.count, cores())
        return self.count if self.mesh is None else self.count // self.mesh.shape[SEED]

    def init(self, name: str, fn: Callable, env: Tree) -> Any:
        """States from `fn(env, key)`, or `fn(env, key, row)`, one per seed."""
        begin = lambda env, given: fn(env, *given)
        if self.mode == "loop":
            each = [self.shared(self.given(i)) for i in range(self.count)]
            jitted = jax.jit(begin, **self._out(begin, env))
            compiled, _ = self._compile(name, jitted, env, each[0])
            return jax.block_until_ready([compiled(env, given) for given in each])
        given = (self.keys,) if self.rows is None else (self.keys, self.rows)
        if self.mesh is not None:
            lead = () if self.mode == "vmap" else (SEED,)
            given = sharding.place(given, self._at(*lead))
        jitted = jax.jit(self._lift(begin, 0), **self._out(begin, env))
        compiled, _ = self._compile(name, jitted, env, given)
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
        options: dict[str, Any] = {"donate_argnums": 1} if donate else {}
        if self.mesh is not None and not self.apart:
            kept = jax.tree.map(lambda x: x.sharding, self._first(states))
            out = self._at(SEED) if self.mode == "shard" else self._at()
            options["out_shardings"] = (kept, out) if donate else out
        zeros = [np.int32(0)] * counts
        start = time.perf_counter()
        one = self.mode == "loop"
        jitted = jax.jit(fn if one else self._lift(fn, counts), **options)
        compiled, work = self._compile(name, jitted, env, self._first(states), *zeros)
        run = functools.partial(self._each if one else self._at_once, compiled, donate)
        seconds = time.perf_counter() - start
        run = functools.partial(self._timed, name, run)
        return Program(run, compiled, seconds, work)

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
            return states[seed] if self.mesh is None else sharding.fetch(states[seed])
        if jax.process_count() > 1:
            return sharding.fetch(self._taken(states, seed))

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
        at = self._shardings(parts[0])
        if self.mode == "loop":
            if at is None:
                return [jax.tree.map(own, part) for part in parts]
            return [sharding.place(part, at) for part in parts]
        stacked = jax.tree.map(lambda *x: stack(x), *parts)
        return stacked if at is None else sharding.place(stacked, at)

    def _first(self, states: Any) -> Any:
        """What a program takes: all states, in turn only one."""
        return states[0] if self.mode == "loop" else states

    def _at(self, *axes: str) -> NamedSharding:
        assert self.mesh is not None
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def _shardings(self, shapes: Tree) -> Any:
        """Of states whose seeds have these shapes; None without a mesh."""
        if self.mesh is None:
            return None
        lead = {"loop": (), "vmap": (None,), "shard": (SEED,)}[self.mode]
        return sharding.shardings(shapes, self.mesh, lead)

    def _out(self, fn: Callable, env: Tree) -> dict[str, Any]:
        """Options of a jit that makes states as `fn` does."""
        if self.mesh is None:
            return {}
        shapes = jax.eval_shape(fn, env, self.given(0))
        return {"out_shardings": self._shardings(shapes)}

    def _taken(self, states: Tree, seed: int) -> Tree:
        """One seed's state, spread over the devices of all processes."""
        form = jax.tree.structure(states)
        if form not in self._take:
            at = sharding.shardings(self.shapes(states), self._at().mesh)
            take = lambda tree, seed: jax.tree.map(lambda leaf: leaf[seed], tree)
            self._take[form] = jax.jit(take, out_shardings=at)
        return self._take[form](states, np.int32(seed))

    def _lift(self, fn: Callable, counts: int) -> Callable:
        """`fn` over a leading seed axis of its second argument and its result."""
        axis = SEED if self.mode == "shard" and not self.apart else None
        axes = (None, 0, *[None] * counts)
        lifted = jax.vmap(fn, in_axes=axes, axis_name=AXIS, spmd_axis_name=axis)
        if not self.apart:
            return lifted
        shared, split = PartitionSpec(), PartitionSpec(SEED)
        return jax.shard_map(
            lifted,
            mesh=self.mesh,
            in_specs=(shared, split, *[shared] * counts),
            out_specs=split,
            check_vma=False,  # nothing is communicated, and loops carry both kinds
        )

    def _compile(self, name: str, jitted: Any, *args: Any) -> tuple[Any, Work]:
        start = time.perf_counter()
        with contextlib.nullcontext() if self.mesh is None else jax.set_mesh(self.mesh):
            traced = jitted.trace(*args)
            compiled = traced.lower().compile()
        self.announce(name, time.perf_counter() - start)
        return compiled, workload.of(traced.jaxpr)

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
            return sharding.fetch(out)
        states, out = out
        return states, sharding.fetch(out)


def default_mode(
    count: int,
    platform: str | None = None,
    layout: Mesh | sharding.Layout = sharding.Layout(),  # noqa: B008 (it is frozen)
) -> SeedMode:
    """The fastest known mode of a platform, or the one that a mesh asks for.

    On CPU `loop`: `vmap` turns products of a batch with weights into batched products,
    which lose as soon as one seed fills a core. On accelerators one seed leaves the
    device idle: `vmap`, or `shard` where there is a device for every group of seeds.
    Where devices share the work of one seed, `loop`.
    """
    given = isinstance(layout, sharding.Layout)
    if ((layout.seed if given else layout.shape[SEED]) or 1) > 1:
        return "shard"
    if layout != sharding.Layout():
        return "loop"
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
