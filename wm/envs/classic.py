"""Classic control: a pendulum, a cart with a pole, and swinging either up.

Each task is one differential equation `ode(state, action)`, integrated by the rule of
Runge and Kutta, so that one function is environment, planning model and the thing that
Jacobians are taken of. `EnvSpec` carries `reward_fn` and `terminal_fn`.

Sources: gym's `pendulum.py` and `cartpole.py` (constants, rewards, starts), which step
by Euler's rule instead; UCL-SML/pilco-matlab a0b48b7, scenarios `cartPole` and
`pendulum` (constants, starts; one of the two known copies of the pendulum has dt 0.2
and 6 Nm instead of 0.1 and 2.5).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from wm.envs.timesteps import first, following
from wm.errors import UserError
from wm.nodes import Node, static
from wm.ops.integrate import rk4
from wm.types import ArraySpec, EnvSpec, Key, TimeStep


@dataclasses.dataclass(frozen=True)
class Task:
    """What makes one task; states are vectors."""

    ode: Callable
    """`(state, action) -> d state / d time`; the action in [-1, 1], or an index."""
    begin: Callable
    """`(key) -> state`."""
    reward: Callable
    """`(observation, action, next_observation) -> f32[]`."""
    size: int
    """Numbers in an observation."""
    dt: float
    """Seconds per step."""
    time_limit: int
    parts: int = 1
    """Steps of the integrator per step."""
    action: ArraySpec = ArraySpec((1,))  # noqa: RUF009 (frozen)
    observe: Callable = lambda state: state
    limit: Callable = lambda state: state
    """Bounds that the state is kept in after each step."""
    terminal: Callable | None = None
    """`(observation, action, next_observation) -> bool[]`."""
    random_return: float | None = None
    optimal_return: float | None = None


class ClassicState(Node):
    """A state of the equation, and the time."""

    body: jax.Array
    """f32 `[D]`."""
    time: jax.Array
    """i32, steps."""


class Classic(Node):
    """One task; built by `make`."""

    name: str = static()
    time_limit: int = static()

    @property
    def spec(self) -> EnvSpec:
        """Returns are known for the task's own time limit."""
        task = TASKS[self.name]
        own = self.time_limit == task.time_limit
        return EnvSpec(
            observation=ArraySpec((task.size,)),
            action=task.action,
            name=f"classic/{self.name}",
            time_limit=self.time_limit,
            random_return=task.random_return if own else None,
            optimal_return=task.optimal_return if own else None,
            reward_fn=task.reward,
            terminal_fn=task.terminal,
        )

    def reset(self, key: Key) -> tuple[ClassicState, TimeStep]:
        """Near rest; for `pendulum` anywhere."""
        task = TASKS[self.name]
        body = task.begin(key)
        return ClassicState(body, jnp.zeros((), jnp.int32)), first(task.observe(body))

    def step(
        self, state: ClassicState, action: jax.Array
    ) -> tuple[ClassicState, TimeStep]:
        """Push for `dt` seconds; the time limit truncates."""
        task = TASKS[self.name]
        if not task.action.discrete:
            action = jnp.clip(action, -1.0, 1.0)
        body = task.limit(rk4(task.ode, state.body, action, task.dt, task.parts))
        seen = task.observe(state.body), action, task.observe(body)
        terminal = False if task.terminal is None else task.terminal(*seen)
        time = state.time + 1
        return ClassicState(body, time), following(
            seen[-1], task.reward(*seen), terminal, time >= self.time_limit
        )


def make(name: str, time_limit: int | None = None) -> Classic:
    """A task of classic control.

    Args:
      name: `pendulum`, `cartpole`, `cartpole_swingup`, `pendulum_swingup`.
      time_limit: steps until truncation; None takes the task's own.

    Raises:
      UserError: impossible value.
    """
    limit = TASKS[name].time_limit if time_limit is None else time_limit
    if limit < 1:
        raise UserError(f"time_limit must be at least 1, got {limit}")
    return Classic(name=name, time_limit=limit)


# The pendulum of gym: angle 0 is upright; observed (cos, sin, speed).


def pendulum_ode(state: jax.Array, action: jax.Array) -> jax.Array:
    """A rod of 1 kg and 1 m, g = 10, torque up to 2 Nm; state (angle, speed)."""
    angle, speed = state
    return jnp.stack([speed, 15.0 * jnp.sin(angle) + 3.0 * 2.0 * action[0]])


def pendulum_reward(
    observation: jax.Array, action: jax.Array, next_observation: jax.Array
) -> jax.Array:
    """−(angle² + 0.1 speed² + 0.001 torque²), of the state before the action."""
    cosine, sine, speed = observation
    angle = jnp.arctan2(sine, cosine)
    torque = 2.0 * action[0]
    return -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2)


def _circle(state: jax.Array) -> jax.Array:
    return jnp.stack([jnp.cos(state[0]), jnp.sin(state[0]), state[1]])


def _slow(state: jax.Array) -> jax.Array:
    return state.at[1].set(jnp.clip(state[1], -8.0, 8.0))


def _anywhere(key: Key) -> jax.Array:
    return jax.random.uniform(key, (2,), minval=-1.0) * jnp.array([jnp.pi, 1.0])


# The cart and pole of gym: angle 0 is upright; observed (x, v, angle, speed).


def cartpole_ode(state: jax.Array, action: jax.Array) -> jax.Array:
    """A cart of 1 kg, a pole of 0.1 kg and 2 × 0.5 m, g = 9.8, pushed by ±10 N."""
    _, speed, angle, spin = state
    force = 20.0 * action - 10.0
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    push = (force + 0.05 * spin**2 * sine) / 1.1
    turn = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    return jnp.stack([speed, push - 0.05 * turn * cosine / 1.1, spin, turn])


def cartpole_reward(
    observation: jax.Array, action: jax.Array, next_observation: jax.Array
) -> jax.Array:
    """1 for every step, that of the fall included."""
    return jnp.ones(())


def cartpole_terminal(
    observation: jax.Array, action: jax.Array, next_observation: jax.Array
) -> jax.Array:
    """The cart is beyond 2.4 m, or the pole beyond 12 degrees."""
    far = jnp.abs(next_observation[0]) > 2.4
    return far | (jnp.abs(next_observation[2]) > 12 * jnp.pi / 180)


def _upright(key: Key) -> jax.Array:
    return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


# The cart and pole of PILCO: angle 0 hangs down; observed (x, v, angle, spin).

SWINGUP = {"cart": 0.5, "pole": 0.5, "length": 0.5, "friction": 0.1, "gravity": 9.82}


def swingup_ode(state: jax.Array, action: jax.Array) -> jax.Array:
    """Cart and pole of 0.5 kg, pole of 0.5 m, friction 0.1, pushed by up to 10 N."""
    M, m, length, b, g = SWINGUP.values()
    _, v, angle, w = state
    force = 10.0 * action[0] - b * v
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    a = 2 * m * length * w**2 * sine + 3 * m * g * sine * cosine + 4 * force
    a = a / (4 * (M + m) - 3 * m * cosine**2)
    turn = -3 * m * length * w**2 * sine * cosine - 6 * (M + m) * g * sine
    turn = turn - 6 * force * cosine
    turn = turn / (4 * length * (M + m) - 3 * m * length * cosine**2)
    return jnp.stack([v, a, w, turn])


def swingup_reward(
    observation: jax.Array, action: jax.Array, next_observation: jax.Array
) -> jax.Array:
    """exp(−d² / 0.5²) − 0.01 a², d the distance of the pole's tip from above the
    origin, after the step."""
    x, _, angle, _ = next_observation
    length = SWINGUP["length"]
    across, up = x + length * jnp.sin(angle), length * (1 + jnp.cos(angle))
    return jnp.exp(-(across**2 + up**2) / 0.25) - 0.01 * action[0] ** 2


# The pendulum of PILCO: angle 0 hangs down; observed (angle, speed).


def pendulum_swingup_ode(state: jax.Array, action: jax.Array) -> jax.Array:
    """A rod of 1 kg and 1 m, friction 0.01, g = 9.82, torque up to 2.5 Nm."""
    angle, speed = state
    torque = 2.5 * action[0] - 0.01 * speed - 9.82 * jnp.sin(angle) / 2
    return jnp.stack([speed, 3.0 * torque])


def pendulum_swingup_reward(
    observation: jax.Array, action: jax.Array, next_observation: jax.Array
) -> jax.Array:
    """exp(−d² / (2 · 0.5²)) − 1, d the distance of the tip from upright."""
    angle = next_observation[0]
    distance = jnp.sin(angle) ** 2 + (1 + jnp.cos(angle)) ** 2
    return jnp.exp(-0.5 * distance / 0.25) - 1.0


def _hanging(size: int) -> Callable:
    return lambda key: 0.1 * jax.random.normal(key, (size,))


# Random returns are means over 12,000 episodes.
TASKS = {
    "pendulum": Task(
        ode=pendulum_ode,
        begin=_anywhere,
        reward=pendulum_reward,
        size=3,
        dt=0.05,
        time_limit=200,
        observe=_circle,
        limit=_slow,
        random_return=-1229.2,
    ),
    "cartpole": Task(
        ode=cartpole_ode,
        begin=_upright,
        reward=cartpole_reward,
        size=4,
        dt=0.02,
        time_limit=500,
        action=ArraySpec((), "int32", classes=2),
        terminal=cartpole_terminal,
        optimal_return=500.0,
        random_return=21.3,
    ),
    "cartpole_swingup": Task(
        ode=swingup_ode,
        begin=_hanging(4),
        reward=swingup_reward,
        size=4,
        dt=0.1,
        parts=2,
        time_limit=50,
        random_return=0.89,
    ),
    "pendulum_swingup": Task(
        ode=pendulum_swingup_ode,
        begin=_hanging(2),
        reward=pendulum_swingup_reward,
        size=2,
        dt=0.1,
        parts=2,
        time_limit=40,
        random_return=-39.977,
    ),
}
"""Task by name."""
