"""Rewards and ends of gym's MuJoCo tasks, as functions of observations.

Models that are told how rewards and ends follow (PETS; MBPO's published terminations)
read them from `EnvSpec`. Whether brax or MuJoCo moves the body makes no difference;
where the two disagree, `withheld` and `before` say so. In brax's engines spring and
positional joints stretch, so that the tip of the double pendulum, computed from its
angles, is right to about a centimetre.

A forward velocity is the distance over the step divided by its time, which no
observation of gym's contains. The option `velocity` puts it in front, as PETS' own
half-cheetah does; without it those rewards are unknown and have to be learned.

Sources: gymnasium 1.0 mujoco/*_v4.py and brax 0.14 envs/*.py (constants, limits);
kchua/handful-of-trials 77fd880, env/half_cheetah.py (the velocity in front);
jannerm/mbpo ac694ff, static/*.py (ends). Differs from the last: Hopper's lower bound
of -100 holds, which a misplaced parenthesis there leaves untested.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from wm.envs import names
from wm.errors import UserError
from wm.types import ArraySpec, EnvSpec


@dataclasses.dataclass(frozen=True)
class Body:
    """What one task rewards, and when it ends."""

    alive: Callable[[jax.Array], jax.Array] | None = None
    """`(observation without the velocity) -> bool[]`; None never ends."""
    forward: float | None = None
    """Reward per metre and second; None: the velocity plays no part."""
    survival: float = 0.0
    """Reward of every step."""
    withheld: tuple[str, ...] = ()
    """Engines that do not pay it for a step that ends the episode."""
    effort: float = 0.0
    """Cost of the sum of squared actions, these in [-1, 1]."""
    place: Callable[[jax.Array], jax.Array] | None = None
    """`(observation) -> f32[]`: a reward for where things are."""
    before: tuple[str, ...] = ()
    """Engines that reward the place before the step."""


def _within(x: jax.Array, low: float, high: float) -> jax.Array:
    return (low < x) & (x < high)


def _hopper_alive(x: jax.Array) -> jax.Array:
    bounded = jnp.all(_within(x[1:], -100.0, 100.0))
    return bounded & (x[0] > 0.7) & _within(x[1], -0.2, 0.2)


def _walker_alive(x: jax.Array) -> jax.Array:
    return _within(x[0], 0.8, 2.0) & _within(x[1], -1.0, 1.0)


def _ant_alive(x: jax.Array) -> jax.Array:
    return jnp.isfinite(x).all() & (x[0] >= 0.2) & (x[0] <= 1.0)


def _humanoid_alive(x: jax.Array) -> jax.Array:
    return (x[0] >= 1.0) & (x[0] <= 2.0)


def _pole_alive(x: jax.Array) -> jax.Array:
    return jnp.isfinite(x).all() & (jnp.abs(x[1]) <= 0.2)


def _tip(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where two poles of 0.6 m on a cart end; x (place, two sines, two cosines, …)."""
    sine, cosine = x[1:3], x[3:5]
    across = sine[0] * cosine[1] + cosine[0] * sine[1]
    up = cosine[0] * cosine[1] - sine[0] * sine[1]
    return x[0] + 0.6 * (sine[0] + across), 0.6 * (cosine[0] + up)


def _poles_alive(x: jax.Array) -> jax.Array:
    return _tip(x)[1] > 1.0


def _poles_place(x: jax.Array) -> jax.Array:
    """Near the top and slow; speeds beyond 10 rad/s look like 10."""
    across, up = _tip(x)
    slow = 1e-3 * x[6] ** 2 + 5e-3 * x[7] ** 2
    return -0.01 * across**2 - (up - 2.0) ** 2 - slow


def _reacher_place(x: jax.Array) -> jax.Array:
    return -jnp.linalg.norm(x[8:11])


def _pusher_place(x: jax.Array) -> jax.Array:
    hand, thing, goal = x[14:17], x[17:20], x[20:23]
    return -jnp.linalg.norm(thing - goal) - 0.5 * jnp.linalg.norm(thing - hand)


BODIES = {
    "halfcheetah": Body(forward=1.0, effort=0.1),
    "hopper": Body(_hopper_alive, forward=1.0, survival=1.0, effort=1e-3),
    "walker2d": Body(_walker_alive, forward=1.0, survival=1.0, effort=1e-3),
    "ant": Body(_ant_alive, forward=1.0, survival=1.0, effort=0.5),
    # Its forces are 0.4 of the action.
    "humanoid": Body(_humanoid_alive, forward=1.25, survival=5.0, effort=0.1 * 0.16),
    "swimmer": Body(forward=1.0, effort=1e-4),
    "inverted_pendulum": Body(_pole_alive, survival=1.0),
    "inverted_double_pendulum": Body(
        _poles_alive, survival=10.0, withheld=("brax",), place=_poles_place
    ),
    "reacher": Body(effort=1.0, place=_reacher_place, before=("mujoco",)),
    # Its forces are twice the action.
    "pusher": Body(effort=0.1 * 4.0, place=_pusher_place, before=("mujoco", "brax")),
}
"""By brax's name."""


def require_velocity(task: str, body: str) -> None:
    """Refuse a velocity that the task does not reward.

    Raises:
      UserError: naming those that do.
    """
    rewarded = [name for name, known in BODIES.items() if known.forward is not None]
    if body not in rewarded:
        raise UserError(
            f"{task}: velocity is for tasks that reward a forward velocity: "
            + ", ".join(rewarded)
        )


def shown_by_velocity(name: str) -> bool:
    """Whether the option `velocity` makes the reward of `source/task` known."""
    source, _, task = name.partition("/")
    bodies = {"brax": task, "mujoco": names.MUJOCO.get(task, "")}
    return BODIES.get(bodies.get(source, ""), Body()).forward is not None


def describe(spec: EnvSpec, body: str, velocity: bool, engine: str) -> EnvSpec:
    """`spec` with what is known of this body, and the velocity in front if asked.

    Args:
      spec: of the task without the velocity.
      body: brax's name; one without known functions changes nothing.
      velocity: whether the observation begins with the forward velocity.
      engine: `mujoco` or `brax`.
    """
    known = BODIES.get(body, Body())
    observation = spec.observation
    if velocity:
        assert isinstance(observation, ArraySpec)
        observation = ArraySpec((observation.shape[0] + 1,))
    told = known.forward is None or velocity
    return dataclasses.replace(
        spec,
        observation=observation,
        reward_fn=_reward_of(body, engine) if told and body in BODIES else None,
        terminal_fn=_terminal_of(body, velocity) if known.alive else None,
    )


# Cached, because specs are compared and programs compiled by these functions.


@functools.cache
def _reward_of(name: str, engine: str) -> Callable:
    body = BODIES[name]

    def reward(observation, action, next_observation):
        earned = body.survival - body.effort * jnp.sum(jnp.square(action))
        if body.alive is not None and engine in body.withheld:
            earned = earned - body.survival * ~body.alive(next_observation)
        if body.forward is not None:
            earned = earned + body.forward * next_observation[0]
        if body.place is not None:
            there = observation if engine in body.before else next_observation
            earned = earned + body.place(there)
        return earned

    return reward


@functools.cache
def _terminal_of(name: str, velocity: bool) -> Callable:
    alive = BODIES[name].alive
    assert alive is not None

    def terminal(observation, action, next_observation):
        return ~alive(next_observation[1:] if velocity else next_observation)

    return terminal
