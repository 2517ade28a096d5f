"""Names of the authors' parameters in our trees, and readers of the golden files."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"

_MODULES = {
    "enc": "encoder",
    "dec": "decoder",
    "rew": "reward",
    "con": "continue",
    "pol": "policy",
    "val": "value",
    "slowval": "slow_value",
}

# (authors' path, our path); the first that matches the whole name is used.
_RULES = [
    (r"enc/mlp(\d+)", r"encoder/vector/layer\1"),
    (r"enc/mlp(\d+)norm", r"encoder/vector/layer\1"),
    (r"enc/cnn(\d+)", r"encoder/image/stage\1"),
    (r"enc/cnn(\d+)norm", r"encoder/image/stage\1"),
    (r"dec/mlp/(?:linear|norm)(\d+)", r"decoder/vector/layer\1"),
    (r"dec/vec/(.*)/(?:pred|logits?)", r"decoder/outputs/\1"),
    (r"dec/sp0", r"decoder/image/deter"),
    (r"dec/sp1", r"decoder/image/stoch0"),
    (r"dec/sp1norm", r"decoder/image/stoch0"),
    (r"dec/sp2", r"decoder/image/stoch1"),
    (r"dec/spnorm", r"decoder/image/norm"),
    (r"dec/conv(\d+)", r"decoder/image/stage\1"),
    (r"dec/conv(\d+)norm", r"decoder/image/stage\1"),
    (r"dec/imgout", r"decoder/image/out"),
    (r"dyn/dynin0(?:norm)?", r"core/deter"),
    (r"dyn/dynin1(?:norm)?", r"core/stoch"),
    (r"dyn/dynin2(?:norm)?", r"core/action"),
    (r"dyn/dynhid(\d+)", r"core/hidden\1"),
    (r"dyn/dynhid(\d+)norm", r"core/hidden\1"),
    (r"dyn/dyngru", r"core/gates"),
    (r"dyn/prior(\d+)", r"prior/layer\1"),
    (r"dyn/prior(\d+)norm", r"prior/layer\1"),
    (r"dyn/priorlogit", r"prior/out"),
    (r"dyn/obs(\d+)", r"posterior/layer\1"),
    (r"dyn/obs(\d+)norm", r"posterior/layer\1"),
    (r"dyn/obslogit", r"posterior/out"),
    (r"(\w+)/mlp/(?:linear|norm)(\d+)", r"\1/layer\2"),
    (r"(\w+)/head/(?:action/)?logits?", r"\1/out"),
    (r"(\w+)/head/(?:action/)?(mean|stddev)", r"\1/\2"),
]


def our_path(name: str) -> str:
    """Our path of an authors' parameter: "enc/cnn0norm/scale" is
    "encoder/image/stage0/scale".

    The first part is one of encoder, decoder, core, prior, posterior, reward, continue,
    policy, value, slow_value; the rest is a path in that net's params.

    Raises:
      KeyError: no rule knows the name.
    """
    layer, leaf = name.rsplit("/", 1)
    for pattern, path in _RULES:
        match = re.fullmatch(pattern, layer)
        if match:
            module, _, rest = match.expand(path).partition("/")
            return f"{_MODULES.get(module, module)}/{rest}/{leaf}"
    raise KeyError(name)


def tree_of(flat: Mapping[str, np.ndarray]) -> dict:
    """Nested dict of all arrays whose names `our_path` knows.

    `retnorm/…` and `slowval_count/…` are not parameters of a net and are left out.
    """
    tree: dict = {}
    for name, value in flat.items():
        if name.startswith(("retnorm/", "slowval_count/")):
            continue
        *branches, leaf = our_path(name).split("/")
        node = functools.reduce(lambda node, b: node.setdefault(b, {}), branches, tree)
        node[leaf] = value
    return tree


def read(file: str) -> dict[str, np.ndarray]:
    """All arrays of a golden file, by name."""
    with np.load(DATA / f"{file}.npz") as arrays:
        return dict(arrays)


def below(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names start with `prefix` + "/", without it."""
    start = prefix + "/"
    return {k[len(start) :]: v for k, v in arrays.items() if k.startswith(start)}


def assert_close(actual, expected: np.ndarray, tolerance: float, name: str = ""):
    """Largest difference relative to the largest magnitude of `expected`."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape, (name, actual.shape, expected.shape)
    scale = max(np.abs(expected).max(), 1e-30)
    worst = np.abs(actual - expected).max() / scale
    assert worst <= tolerance, f"{name}: {worst:.2e} > {tolerance:.0e}"
