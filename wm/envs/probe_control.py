"""Probe tasks of control whose best return is known: they measure planners.

`double_integrator` has bounds that matter, `lqr` a closed form.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from wm.envs.timesteps import first, following
from wm.errors import UserError
from wm.nodes import Node, static
from wm.ops.riccati import finite_horizon
from wm.types import ArraySpec, EnvSpec, Key, TimeStep


class LinearState(Node):
    """A state of x' = A x + B u, and the time."""

    x: jax.Array
    """f32 `[D]`."""
    time: jax.Array
    """i32, steps."""


class DoubleIntegrator(Node):
    """Bring `size` points to rest at the origin, each pushed by its own action.

    p' = p + 0.1 v + 0.02 u, v' = v + 0.4 u, |u| ≤ 1; every point costs
    p'² + 0.1 v'² + 0.01 u² per step; p begins in ±1, v in ±0.5. The least cost of a
    given start is a quadratic program with bounds.
    """

    size: int = static(default=1)
    time_limit: int = static(default=50)

    @property
    def spec(self) -> EnvSpec:
        """Observation `[2 size]`: positions, then velocities; action `[size]`."""
        own = self.time_limit == 50
        return EnvSpec(
            observation=ArraySpec((2 * self.size,)),
            action=ArraySpec((self.size,)),
            name="probe/double_integrator",
            time_limit=self.time_limit,
            random_return=RANDOM * self.size if own else None,
            optimal_return=OPTIMAL * self.size if own else None,
            reward_fn=integrator_reward,
        )

    def reset(self, key: Key) -> tuple[LinearState, TimeStep]:
        """Positions uniform in ±1, velocities in ±0.5."""
        x = jax.random.uniform(key, (2, self.size), minval=-1.0)
        x = (x * jnp.array([[1.0], [0.5]])).reshape(-1)
        return LinearState(x, jnp.zeros((), jnp.int32)), first(x)

    def step(
        self, state: LinearState, action: jax.Array
    ) -> tuple[LinearState, TimeStep]:
        """Push every point."""
        u = jnp.clip(action, -1.0, 1.0)
        p, v = jnp.split(state.x, 2)
        x = jnp.concatenate([p + 0.1 * v + 0.02 * u, v + 0.4 * u])
        time = state.time + 1
        reward = integrator_reward(state.x, u, x)
        return LinearState(x, time), following(
            x, reward, truncated=time >= self.time_limit
        )


RANDOM, OPTIMAL = -344.2, -1.476
"""Mean returns of one point: random play (±4, 12,000 starts), and the quadratic program
(1000 starts)."""


def integrator_reward(
    observation: jax.Array, action: jax.Array, next_observation: jax.Array
) -> jax.Array:
    """Minus the cost of all points where they arrive, and of their pushes."""
    p, v = jnp.split(next_observation, 2)
    return -(p @ p + 0.1 * v @ v + 0.01 * action @ action)


A = np.array([[1.0, 0.2], [0.1, 0.9]])
B = np.array([[0.05], [0.3]])
Q = np.diag([1.0, 0.1])
R = np.diag([0.1])
"""The system of `lqr`: unstable by itself (eigenvalues 1.1 and 0.8), two states, one
action."""


class LQR(Node):
    """x' = A x + B u with the cost x'ᵀ Q x' + uᵀ R u per step, 30 steps.

    Starts are small enough that the best linear feedback stays inside |u| ≤ 1, so the
    optimum is that of the Riccati recursion.
    """

    time_limit: int = static(default=30)

    @property
    def spec(self) -> EnvSpec:
        """Observation `[2]`, action `[1]`."""
        return EnvSpec(
            observation=ArraySpec((2,)),
            action=ArraySpec((1,)),
            name="probe/lqr",
            time_limit=self.time_limit,
            random_return=-168.6 if self.time_limit == 30 else None,  # ±2.1
            optimal_return=best_return(self.time_limit),
            reward_fn=lqr_reward,
        )

    def reset(self, key: Key) -> tuple[LinearState, TimeStep]:
        """Both numbers uniform in ±0.2."""
        x = jax.random.uniform(key, (2,), minval=-START, maxval=START)
        return LinearState(x, jnp.zeros((), jnp.int32)), first(x)

    def step(
        self, state: LinearState, action: jax.Array
    ) -> tuple[LinearState, TimeStep]:
        """One step of the linear system."""
        u = jnp.clip(action, -1.0, 1.0)
        matrix = lambda M: jnp.asarray(M, jnp.float32)
        x = matrix(A) @ state.x + matrix(B) @ u
        time = state.time + 1
        return LinearState(x, time), following(
            x, lqr_reward(state.x, u, x), truncated=time >= self.time_limit
        )


START = 0.2


def lqr_reward(
    observation: jax.Array, action: jax.Array, next_observation: jax.Array
) -> jax.Array:
    """−(x'ᵀ Q x' + uᵀ R u)."""
    x, u = next_observation, action
    matrix = lambda M: jnp.asarray(M, jnp.float32)
    return -(x @ matrix(Q) @ x + u @ matrix(R) @ u)


@functools.cache
def best_return(horizon: int) -> float:
    """Expected return of the best feedback: −E[xᵀ P x] = −tr(P) START² / 3."""
    _, P = finite_horizon(A, B, Q, R, horizon)
    return -float(np.trace(P)) * START**2 / 3


def make_double_integrator(size: int = 1) -> DoubleIntegrator:
    """`DoubleIntegrator`.

    Args:
      size: points, each with its own action.

    Raises:
      UserError: impossible value.
    """
    if size < 1:
        raise UserError(f"size must be at least 1, got {size}")
    return DoubleIntegrator(size=size)
