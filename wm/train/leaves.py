"""The leaves of a tree as they are stored: named, as numpy, keys by their data."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.types import Tree


class Part:
    """One seed's part of an array of all seeds, read only where it is asked for."""

    def __init__(self, array: jax.Array, index: int):
        """`array[index]`; `array` `[S, …]`."""
        self.array, self.index = array, index
        self.shape, self.dtype = array.shape[1:], array.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """All of it, as numpy."""
        return np.asarray(self.array[self.index], dtype)


def part(array: jax.Array, index: int) -> Any:
    """A `Part`; of typed keys, which are few, the keys themselves."""
    return array[index] if is_key(array) else Part(array, index)


def named_leaves(tree: Tree) -> list[tuple[str, Any]]:
    """Leaves with their paths, `params/encoder/conv1`."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return [(name(path), leaf) for path, leaf in found]


def described(tree: Tree) -> list[dict[str, Any]]:
    """Path, shape and dtype of every leaf (arrays or shapes), as JSON values."""
    entries = []
    for path, leaf in named_leaves(tree):
        shape, dtype = plain_shape(leaf)
        entry = {"path": path, "shape": list(shape), "dtype": dtype.name}
        if is_key(leaf) and isinstance(leaf, jax.Array):
            entry["key"] = str(jax.random.key_impl(leaf))
        entries.append(entry)
    return entries


def is_key(leaf: Any) -> bool:
    """Whether a leaf (or its shape) is an array of typed keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def plain(leaf: Any) -> np.ndarray:
    """A leaf as numpy; of typed keys the data. May be a view of the array itself."""
    if hasattr(leaf, "dtype") and is_key(leaf):
        leaf = jax.random.key_data(leaf)
    return np.asarray(jax.device_get(leaf))


def plain_shape(leaf: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype that `plain` gives a leaf of this shape."""
    if is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return tuple(leaf.shape), np.dtype(leaf.dtype)


def typed(array: np.ndarray, entry: dict[str, Any]) -> Any:
    """The inverse of `plain`, for an entry of `described`."""
    if "key" not in entry:
        return array
    return jax.random.wrap_key_data(jnp.asarray(array), impl=entry["key"])


def checksum(array: np.ndarray) -> int:
    """CRC of the bytes."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
