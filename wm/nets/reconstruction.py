"""Losses of reconstructions, and observations made of them.

They stand beside the codec because they undo what it does to its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from wm.nets.codec_config import CodecConfig
from wm.nets.observations import (
    Observation,
    available,
    flat_observation,
    flat_specs,
)
from wm.ops.transforms import symexp, symlog
from wm.types import ArraySpec, Tree


def reconstruction_losses(
    observation: Observation,
    config: CodecConfig,
    predictions: dict[str, jax.Array],
    values: Tree,
) -> dict[str, jax.Array]:
    """`reconstruction_loss` of each array of an observation, by name."""
    targets = flat_observation(observation, values)
    return {
        name: reconstruction_loss(spec, config, predictions[name], targets[name])
        for name, spec in flat_specs(observation).items()
    }


def reconstruction_loss(
    spec: ArraySpec, config: CodecConfig, prediction: jax.Array, target: jax.Array
) -> jax.Array:
    """Loss of one array, summed over its dimensions, float32 `[…]`.

    Squared error for images (x / 255) and numbers (symlog x), cross-entropy for class
    indices; 0 where the target is missing.

    Source: Hafner et al. 2025, Eq. 5 and code. Differs: theirs has no rule for missing
    targets (an infinite loss).
    """
    axes = tuple(range(-len(spec.shape), 0))
    if spec.image:
        wanted = target.astype(jnp.float32) / 255
        return jnp.square(prediction - wanted).sum(axes)
    there = available(spec, target)
    if spec.classes is not None:
        logp = jax.nn.log_softmax(prediction)
        loss = -(jax.nn.one_hot(target, spec.classes) * logp).sum(-1)
    else:
        shaped = there.reshape(*there.shape, *(1,) * len(spec.shape))
        wanted = jnp.where(shaped, target, 0).astype(jnp.float32)
        wanted = symlog(wanted) if config.symlog else wanted
        loss = jnp.square(prediction - wanted)
    return jnp.where(there, loss.sum(axes), 0.0)


def observation_of(
    observation: Observation,
    config: CodecConfig,
    predictions: dict[str, jax.Array],
) -> Tree:
    """Most likely observation, in the types and the structure of its spec."""
    specs = flat_specs(observation)
    flat = {name: _mode(specs[name], config, predictions[name]) for name in specs}
    if isinstance(observation, ArraySpec):
        return next(iter(flat.values()))
    return _nested(observation, flat)


def _nested(observation: Mapping[str, Any], flat: dict, prefix: str = "") -> dict:
    return {
        name: _nested(value, flat, f"{prefix}{name}/")
        if isinstance(value, Mapping)
        else flat[prefix + name]
        for name, value in observation.items()
    }


def _mode(spec: ArraySpec, config: CodecConfig, prediction: jax.Array) -> jax.Array:
    if spec.image:
        return jnp.round(prediction * 255).astype(jnp.uint8)
    if spec.discrete:
        return jnp.argmax(prediction, -1).astype(spec.dtype)
    if config.symlog:
        prediction = symexp(prediction)
    return prediction.astype(spec.dtype)
