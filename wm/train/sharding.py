"""Meshes of devices. Axes are always `("seed", "data", "model")`, most of size 1."""

from __future__ import annotations

import jax
from jax.sharding import AxisType, Mesh

from wm.errors import UserError


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
        ("seed", "data", "model"),
        axis_types=(AxisType.Auto,) * 3,
        devices=devices[:count],
    )


def seed_mesh(seeds: int) -> Mesh:
    """All devices along the seed axis.

    Raises:
      UserError: the seeds do not divide evenly among the devices.
    """
    devices = len(jax.devices())
    if seeds % devices:
        raise UserError(
            f"--seed_mode shard needs seeds that divide by {devices} devices, got "
            f"{seeds}"
        )
    return mesh(seed=devices)
