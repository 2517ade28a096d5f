"""Observations as a flat dict of arrays, and vectors as one array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from wm.types import ArraySpec, Tree

Specs = dict[str, ArraySpec]
Observation = ArraySpec | Mapping[str, Any]
"""`EnvSpec.observation`: one array, or a dict (of dicts) of arrays."""


def flat_specs(observation: Observation) -> Specs:
    """Name of every array, sorted; nested names joined by "/".

    A lone array is called "image" or "vector".
    """
    if isinstance(observation, ArraySpec):
        return {"image" if observation.image else "vector": observation}
    return dict(sorted(_flat(observation).items()))


def flat_observation(observation: Observation, values: Tree) -> dict:
    """Arrays of an observation under the names of `flat_specs`."""
    if isinstance(observation, ArraySpec):
        return dict.fromkeys(flat_specs(observation), values)
    return _flat(values)


def vectors(specs: Specs) -> Specs:
    """All that is not an image."""
    return {name: spec for name, spec in specs.items() if not spec.image}


def images(specs: Specs) -> Specs:
    """uint8 of rank 3."""
    return {name: spec for name, spec in specs.items() if spec.image}


def available(spec: ArraySpec, x: jax.Array) -> jax.Array:
    """Whether an entry is there: no -inf among floats, no -1 among signed integers.

    Args:
      spec: of one entry.
      x: `[…, *spec.shape]`.

    Returns:
      bool `[…]`.
    """
    axes = tuple(range(x.ndim - len(spec.shape), x.ndim))
    if jnp.issubdtype(x.dtype, jnp.floating):
        return (x != -jnp.inf).all(axes)
    if jnp.issubdtype(x.dtype, jnp.signedinteger):
        return (x != -1).all(axes)
    return jnp.ones(x.shape[: x.ndim - len(spec.shape)], bool)


def joined_vector(specs: Specs, values: dict, squash) -> jax.Array:
    """All vectors as one, float32 `[…, D]`, in the order of their names.

    Numbers go through `squash`, class indices become one-hot; a missing entry (see
    `available`) is zeros.
    """
    parts = []
    for name in sorted(specs):
        spec, x = specs[name], values[name]
        lead = x.shape[: x.ndim - len(spec.shape)]
        there = available(spec, x).reshape(*lead, *(1,) * len(spec.shape))
        if spec.classes is not None:
            part = jax.nn.one_hot(x, spec.classes) * there[..., None]
        else:
            part = squash(jnp.where(there, x, 0).astype(jnp.float32))
        parts.append(part.reshape(*lead, -1))
    return jnp.concatenate(parts, -1)


def _flat(tree: Mapping[str, Any]) -> dict:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}/{inner}": x for inner, x in _flat(value).items()}
        else:
            flat[name] = value
    return flat
