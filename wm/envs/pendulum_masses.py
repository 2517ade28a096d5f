"""A pendulum whose mass jumps while it swings: a task for models that adapt.

Gym's pendulum (`classic.pendulum_ode`, 1 kg, 1 m) with its mass times a factor that
nothing tells: drawn when an episode begins, and every `switch_steps` steps replaced by
another one. Gravity moves every mass alike, so only what a torque does changes; the
motor has 5 Nm in place of 2, or the mass would explain 1 % of what happens.

Source: in the manner of Nagabandi, Clavera et al. 2019 (GrBAL), section 5, whose tasks
change a simulated robot within an episode; this family is ours.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.envs.classic import TASKS, pendulum_ode
from wm.envs.timesteps import first, following
from wm.errors import UserError
from wm.nodes import Node, static
from wm.ops.integrate import rk4
from wm.types import ArraySpec, EnvSpec, Key, TimeStep

MASSES = (0.5, 1.0, 2.0)
"""Factors on the mass of 1 kg."""
PLAIN = TASKS["pendulum"]
MOTOR = 2.5
"""How many times stronger the motor is than that of gym's pendulum, 2 Nm."""
OWN = (200, 50)
"""Time limit and steps between switches for which the random return is known."""


class MassState(Node):
    """What the environment knows and does not show: the mass and the time."""

    body: jax.Array
    """f32 `[2]`: angle, 0 upright, and speed."""
    mass: jax.Array
    """i32: index into the factors."""
    time: jax.Array
    """i32, steps."""
    key: Key


class PendulumMasses(Node):
    """The family; built by `make`."""

    masses: tuple[float, ...] = static(default=MASSES)
    time_limit: int = static(default=OWN[0])
    switch_steps: int = static(default=OWN[1])

    @property
    def spec(self) -> EnvSpec:
        """That of `classic/pendulum`; the mass is not observed."""
        own = (self.time_limit, self.switch_steps) == OWN and self.masses == MASSES
        return EnvSpec(
            observation=ArraySpec((PLAIN.size,)),
            action=PLAIN.action,
            name="classic/pendulum_masses",
            time_limit=self.time_limit,
            random_return=-1204.8 if own else None,
            reward_fn=PLAIN.reward,
        )

    def reset(self, key: Key) -> tuple[MassState, TimeStep]:
        """Anywhere, with a mass drawn uniformly."""
        key, key_body, key_mass = jax.random.split(key, 3)
        body = PLAIN.begin(key_body)
        mass = jax.random.randint(key_mass, (), 0, len(self.masses))
        state = MassState(body, mass, jnp.zeros((), jnp.int32), key)
        return state, first(PLAIN.observe(body))

    def step(self, state: MassState, action: jax.Array) -> tuple[MassState, TimeStep]:
        """Push for 0.05 s; then, if it is time, another mass, all others alike."""
        action = jnp.clip(action, -1.0, 1.0)
        push = MOTOR * action / jnp.asarray(self.masses)[state.mass]
        body = PLAIN.limit(rk4(pendulum_ode, state.body, push, PLAIN.dt, PLAIN.parts))
        before, after = PLAIN.observe(state.body), PLAIN.observe(body)
        time = state.time + 1
        key, key_mass = jax.random.split(state.key)
        count = len(self.masses)
        by = jax.random.randint(key_mass, (), 1, max(count, 2))
        switches = time % self.switch_steps == 0
        mass = jnp.where(switches, (state.mass + by) % count, state.mass)
        reward = PLAIN.reward(before, action, after)
        return MassState(body, mass, time, key), following(
            after, reward, truncated=time >= self.time_limit
        )


def make(
    masses: tuple[float, ...] = MASSES,
    time_limit: int = OWN[0],
    switch_steps: int = OWN[1],
) -> PendulumMasses:
    """The pendulum that changes its mass.

    Args:
      masses: factors on 1 kg.
      time_limit: steps until truncation.
      switch_steps: steps until the mass is replaced; at least the time limit: never
        within an episode.

    Raises:
      UserError: impossible value.
    """
    masses = tuple(float(mass) for mass in masses)
    if not masses or min(masses) <= 0:
        raise UserError(f"masses must be at least one factor above 0, got {masses}")
    for name, value in (("time_limit", time_limit), ("switch_steps", switch_steps)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")
    return PendulumMasses(masses, time_limit, switch_steps)
