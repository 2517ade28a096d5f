"""Rewards of control suite tasks that follow from what is observed.

Of the suite's tasks these show in their observation all that their reward depends on;
the others' rewards have to be learned. Observations are one vector, as MuJoCo
Playground has them and as `dmc/… --env.flat true` makes them.

Sources: dm_control suite/{cartpole,pendulum,reacher}.py, utils/rewards.py (bounds,
margins).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def bell(x: jax.Array, margin: float) -> jax.Array:
    """1 at 0 and 0.1 at `margin`: the suite's usual tolerance, a Gaussian."""
    return jnp.exp(math.log(0.1) * jnp.square(x / margin))


def cartpole(observation, action, next_observation) -> jax.Array:
    """Upright, centred, still, and little force; (x, cosine, sine, two speeds)."""
    place, cosine, _, _, spin = next_observation
    upright = (cosine + 1) / 2
    centered = (1 + bell(place, 2.0)) / 2
    gentle = (4 + jnp.maximum(1 - jnp.square(action[0]), 0.0)) / 5
    slow = (1 + bell(spin, 5.0)) / 2
    return upright * centered * gentle * slow


def cartpole_sparse(observation, action, next_observation) -> jax.Array:
    """1 within a quarter metre and 0.1 rad or so."""
    place, cosine, *_ = next_observation
    near = (jnp.abs(place) <= 0.25) & (cosine >= 0.995) & (cosine <= 1.0)
    return near.astype(jnp.float32)


COSINE_8 = math.cos(math.radians(8))


def _upright(cosine: jax.Array) -> jax.Array:
    return ((cosine >= COSINE_8) & (cosine <= 1.0)).astype(jnp.float32)


def pendulum(observation, action, next_observation) -> jax.Array:
    """1 within 8 degrees of upright; (cosine, sine, speed), as dm_control has it."""
    return _upright(next_observation[0])


def pendulum_playground(observation, action, next_observation) -> jax.Array:
    """The same of (sine, cosine, speed)."""
    return _upright(next_observation[1])


def reacher(radius: float) -> Callable:
    """1 with the finger within `radius` metres; entries 2 and 3 say where it is."""

    def reward(observation, action, next_observation):
        distance = jnp.linalg.norm(next_observation[2:4])
        return (distance <= radius).astype(jnp.float32)

    return reward


reacher_easy = reacher(0.05 + 0.01)
"""Radii of target and finger."""
reacher_hard = reacher(0.015 + 0.01)

REWARDS: dict[str, Callable] = {
    "cartpole_balance": cartpole,
    "cartpole_balance_sparse": cartpole_sparse,
    "cartpole_swingup": cartpole,
    "cartpole_swingup_sparse": cartpole_sparse,
    "pendulum_swingup": pendulum,
    "reacher_easy": reacher_easy,
    "reacher_hard": reacher_hard,
}
"""By the suite's name."""

PLAYGROUND: dict[str, Callable] = {
    "CartpoleBalance": cartpole,
    "CartpoleBalanceSparse": cartpole_sparse,
    "CartpoleSwingup": cartpole,
    "CartpoleSwingupSparse": cartpole_sparse,
    "PendulumSwingup": pendulum_playground,
    "ReacherEasy": reacher_easy,
    "ReacherHard": reacher_hard,
}
"""By MuJoCo Playground's name."""
