"""Meshes of devices, and where each array of a run lies on one.

Axes are always `("seed", "data", "model")`, most of size 1. Seeds lie apart along
`seed` and never talk; rows of environments, of the replay and of every batch are split
along `data`; kernels that the table `RULES` names are split along `model`. All else is
kept whole on every device. Where an array lies changes its place alone, never its value
but for the order of sums: the compiler adds what has to be sent (GSPMD).
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from wm.errors import UserError
from wm.ops.spread import DATA, MODEL, SEED
from wm.types import Tree

Rules = tuple[tuple[str, P], ...]
"""(pattern searched for in a path like `agent/params/model/core/up/kernel`, axes)."""

WIDEN = r"(^|/)(query|key|value|qkv|up|gate|expand|deter|stoch|action|layer\d*[02468])/"
NARROW = r"(^|/)(output|down|project|layer\d*[13579])/"
RULES: Rules = (
    (r"(^|/)core/(hidden\d+|gates)/kernel$", P(MODEL)),
    (WIDEN + "kernel$", P(None, MODEL)),
    (WIDEN + "bias$", P(MODEL)),
    (NARROW + "kernel$", P(MODEL, None)),
    (r"(^|/)embedding$", P(None, MODEL)),
)
"""Kernels that widen are split by outputs and those that narrow by inputs, so that a
pair of them costs one sum over devices (Shoeybi et al. 2019, "Megatron-LM", section 3);
block-diagonal ones by blocks. The first that matches wins; a size that the axis does
not divide stays whole. Moments of the optimizer have the paths of their parameters and
are split alike."""

ROWS = re.compile(r"^(env|timestep|carry|stats|buffer)(/|$)")
"""Parts of a `TrainState` whose arrays may lead with the environment axis."""

BATCH = re.compile(r"^guard/batch/")
"""What an update gets, kept by the guard: split as `spread` splits it."""

PIECE = 64_000_000
"""Bytes of an array that are brought to the host at once from several processes."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Devices along each axis."""

    seed: int | None = None
    """Groups of seeds, each on devices of its own, without communication (default: 1;
    with --seed_mode shard as many as there are devices)."""
    data: int | None = None
    """Devices that share environments, replay and batches of a seed; results are those
    of one device (default: 1; in several processes all devices)."""
    model: int = 1
    """Devices that share the wide kernels of a network (1)."""

    def __post_init__(self):
        for name, size in dataclasses.asdict(self).items():
            if size is not None and size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")


def mesh(seed: int = 1, data: int = 1, model: int = 1) -> Mesh:
    """A mesh of the first `seed * data * model` devices.

    Raises:
      UserError: there are fewer devices.
    """
    count, devices = seed * data * model, jax.devices()
    if count > len(devices):
        raise UserError(
            f"a mesh of {count} devices was asked for, {len(devices)} exist"
        )
    return jax.make_mesh(
        (seed, data, model),
        (SEED, DATA, MODEL),
        axis_types=(AxisType.Auto,) * 3,
        devices=devices[:count],
    )


def mesh_for(layout: Layout, seeds: int, mode: str) -> Mesh | None:
    """The mesh of a run; None where one device is enough.

    Args:
      layout: what was asked for.
      seeds: of the run.
      mode: of the seed axis; the mesh has a seed axis in `shard` alone.

    Raises:
      UserError: the seeds do not divide, or devices are too few, or a process would
        have none.
    """
    devices, data = len(jax.devices()), layout.data
    sharded = mode == "shard"
    if not sharded and (layout.seed or 1) > 1:
        raise UserError(
            f"--mesh.seed {layout.seed} needs --seed_mode shard, got {mode}: leave "
            "out one of them"
        )
    if data is None:
        rest = devices // ((layout.seed or 1) * layout.model)
        data = max(rest, 1) if jax.process_count() > 1 and not sharded else 1
    groups = 1
    if sharded:
        groups = layout.seed or max(devices // (data * layout.model), 1)
        if seeds % groups:
            asked = f"--mesh.seed {groups}" if layout.seed else "--seed_mode shard"
            kind = "devices" if data * layout.model == 1 else "groups of devices"
            raise UserError(
                f"{asked} needs seeds that divide by {groups} {kind}, got --seeds "
                f"{seeds}"
            )
    count = groups * data * layout.model
    if jax.process_count() > 1 and count != devices:
        raise UserError(
            f"a mesh of {count} devices leaves some of {jax.process_count()} processes "
            f"without work: the product of --mesh.* must be {devices}"
        )
    if count == 1 and not sharded:
        return None
    return mesh(groups, data, layout.model)


def check(
    mesh: Mesh | None,
    batches: dict[str, tuple[int, int]],
    layout: Layout | None = None,
    on_host: bool = False,
) -> None:
    """What a mesh can do nothing with.

    Args:
      mesh: of the run.
      batches: name to (N, L) of what an update gets.
      layout: what was asked for.
      on_host: whether environment or replay are not on the device.

    Raises:
      UserError: they are not, or a batch does not divide.
    """
    asked = jax.process_count() > 1 or layout not in (None, Layout())
    if on_host and asked:
        raise UserError(
            "--mesh.* and several processes need environment and replay on the device"
        )
    size = 1 if mesh is None else mesh.shape[DATA]
    for name, (N, _) in batches.items():
        if N % size:
            raise UserError(
                f"--mesh.data {size} does not divide the {N} sequences of a batch "
                f"({name}): change --train.batch_size or --train.envs"
            )


def specs(shapes: Tree, mesh: Mesh, rules: Rules = RULES) -> Tree:
    """A PartitionSpec for every leaf of one seed's state.

    Args:
      shapes: `TrainState`, arrays or shapes.
      mesh: with all three axes.
      rules: for what is no row of an environment.
    """
    timestep = getattr(shapes, "timestep", None)
    rows = None if timestep is None else timestep.reward.shape[0]

    def spec(path, leaf) -> P:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if BATCH.search(name):
            split = leaf.ndim and not leaf.shape[0] % mesh.shape[DATA]
            return P(DATA) if split else P()
        if ROWS.search(name):
            split = leaf.ndim and leaf.shape[0] == rows and not rows % mesh.shape[DATA]
            return P(DATA) if split else P()
        return fitting(rule_for(name, rules), leaf.shape, mesh)

    return jax.tree_util.tree_map_with_path(spec, shapes)


def rule_for(name: str, rules: Rules) -> P:
    """The first rule that matches a path; kept whole where none does."""
    return next((spec for pattern, spec in rules if re.search(pattern, name)), P())


def fitting(spec: P, shape: tuple[int, ...], mesh: Mesh) -> P:
    """`spec` without the axes that do not divide their sizes."""
    if len(spec) > len(shape):
        return P()
    axes = zip(shape, spec, strict=False)
    return P(*(a if a and not size % mesh.shape[a] else None for size, a in axes))


def shardings(shapes: Tree, mesh: Mesh, lead: tuple = (), rules: Rules = RULES) -> Tree:
    """NamedShardings of a state whose leaves lead with further axes `lead`.

    Args:
      shapes: of one seed, without those axes.
      mesh: with all three axes.
      lead: `("seed",)` or `(None,)` where there is a seed axis.
      rules: see `specs`.
    """
    place = lambda spec: NamedSharding(mesh, P(*lead, *spec))
    return jax.tree.map(place, specs(shapes, mesh, rules))


def local_shapes(shapes: Tree, mesh: Mesh | None) -> Tree:
    """Shapes of the part of one seed's state that a single device holds."""
    if mesh is None:
        return shapes
    part = lambda leaf, at: jax.ShapeDtypeStruct(at.shard_shape(leaf.shape), leaf.dtype)
    return jax.tree.map(part, shapes, shardings(shapes, mesh))


def place(tree: Tree, shardings: Any) -> Tree:
    """Arrays laid out as `shardings` says, from a whole copy in every process.

    Args:
      tree: numpy or local arrays, typed keys among them.
      shardings: a tree of them, or one for all leaves.
    """
    if isinstance(shardings, NamedSharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(_placed, tree, shardings)


def _placed(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        wrap = functools.partial(
            jax.random.wrap_key_data, impl=jax.random.key_impl(leaf)
        )
        data = _placed(np.asarray(jax.random.key_data(leaf)), sharding)
        return jax.jit(wrap, out_shardings=sharding)(data)
    whole = np.asarray(leaf)
    # A copy: an array that shares memory with numpy could not be donated.
    part = lambda index: np.array(whole[index])
    return jax.make_array_from_callback(whole.shape, sharding, part)


def fetch(tree: Tree) -> Tree:
    """Numpy arrays (keys stay keys) of what may lie on several processes.

    All processes must call it together. Large arrays come in pieces, so that no device
    ever holds a second whole replay.
    """
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and leaf.is_fully_addressable:
            leaf.copy_to_host_async()  # all of them at once
    return jax.tree.map(_fetched, tree)


def _fetched(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if not leaf.is_fully_replicated:
            return _gathered(leaf)
        leaf = leaf.addressable_data(0)
    return leaf if is_key else np.asarray(leaf)


def _gathered(leaf: jax.Array) -> Any:
    whole = NamedSharding(leaf.sharding.mesh, P())  # type: ignore[attr-defined]
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return _cut(leaf, np.int32(0), leaf.shape[0], whole).addressable_data(0)
    pieces = max(1, min(leaf.size * leaf.dtype.itemsize // PIECE, leaf.shape[0]))
    out = np.empty(leaf.shape, leaf.dtype)
    size = -(-leaf.shape[0] // pieces)
    for start in range(0, leaf.shape[0], size):
        # The last piece begins earlier rather than being shorter.
        start = min(start, leaf.shape[0] - size)
        piece = _cut(leaf, np.int32(start), size, whole).addressable_data(0)
        out[start : start + size] = np.asarray(piece)
    return out


@functools.partial(jax.jit, static_argnums=(2, 3))
def _cut(x: jax.Array, start: jax.Array, size: int, at: NamedSharding) -> jax.Array:
    part = jax.lax.dynamic_slice_in_dim(x, start, size)
    return jax.lax.with_sharding_constraint(part, at)
