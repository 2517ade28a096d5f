"""`Net(init, apply)`: what every other room sees of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from wm.types import Key, Tree

NetParams = dict[str, Any]
"""Plain nested dict of float32 arrays."""


class Net(NamedTuple):
    """A network without arrays of its own: two pure functions."""

    init: Callable[..., NetParams]
    """`init(key, *example_inputs) -> params`; examples may be `ShapeDtypeStruct`s, only
    their shapes and types are read."""
    apply: Callable[..., Any]
    """`apply(params, *inputs) -> output`."""


def from_module(module: nn.Module) -> Net:
    """Wrap a linen module that has parameters only (no other collection, no `rngs`).

    `init` traces the module on shapes, so a convolution is not run to learn its
    channels.
    """

    def init(key: Key, *examples: Tree) -> NetParams:
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(jax.numpy.shape(x), x.dtype), examples
        )
        variables: Any = module.lazy_init(key, *shapes)
        return variables.get("params", {})

    def apply(params: NetParams, *inputs: Tree) -> Tree:
        return module.apply({"params": params}, *inputs)

    return Net(init, apply)
