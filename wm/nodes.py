"""`Node`: the frozen dataclass that states, models and environments are made of."""

from __future__ import annotations

import dataclasses
from typing import Any, Self, dataclass_transform

import jax


def static(**options: Any) -> Any:
    """A field that belongs to the structure: hashable, fixed while compiled.

    Takes the options of `dataclasses.field`.
    """
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
class Node:
    """Subclasses are frozen dataclasses and pytrees; fields are children or `static`.

    Differs from `flax.struct.PyTreeNode` in one thing: structures of different classes
    are different. JAX compares classes registered as dataclasses, as flax's are, by
    their fields alone (0.10 and 0.11), so a compiled function that has seen one
    environment without arrays may run its program for another.
    """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        register(dataclasses.dataclass(frozen=True)(cls))

    def replace(self, **changes: Any) -> Self:
        """A copy with the named fields changed."""
        copy: Any = dataclasses.replace
        return copy(self, **changes)


def register(cls: Any) -> None:
    """Make the dataclass `cls` a pytree of its own kind."""
    fields = dataclasses.fields(cls)
    fixed = [f.name for f in fields if f.metadata.get("static")]
    children = [f.name for f in fields if f.name not in fixed]
    keys = [jax.tree_util.GetAttrKey(name) for name in children]

    def flatten(node):
        values = [getattr(node, name) for name in children]
        return values, tuple(getattr(node, name) for name in fixed)

    def flatten_with_keys(node):
        values, rest = flatten(node)
        return list(zip(keys, values, strict=True)), rest

    def unflatten(rest, values):
        # Past `__init__`: leaves may be anything while jax rebuilds a structure.
        node = object.__new__(cls)
        for name, value in zip(children + fixed, (*values, *rest), strict=True):
            object.__setattr__(node, name, value)
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
