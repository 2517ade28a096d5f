"""Probe tasks: tiny, with known answers, each isolating one thing an agent must do.

`hidden_point` needs a memory of one step, `sparse_point` a value beyond the horizon,
`recall` a memory of two steps, `chain20` exploration. `wm/envs/probe_bandits.py` has
shorter ones, and the two that test the machinery around an agent.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.envs.timesteps import first, following
from wm.nodes import Node, static
from wm.types import ArraySpec, EnvSpec, Key, TimeStep

CONTINUOUS = ArraySpec((1,))


class PointState(Node):
    """A point on a line."""

    position: jax.Array
    velocity: jax.Array
    time: jax.Array


class HiddenPoint(Node):
    """Hold a point at the origin while seeing its position only.

    The action accelerates: v ← v + 0.1 a, x ← clip(x + 0.5 v, ±2), v = 0 at the wall.
    31 steps; reward exp(−8 x²). Feedback on x alone reaches 15.4 of the 28.9 that a
    PD controller on (x, v) reaches, so a score above 20 proves a memory.
    """

    velocity: bool = static(default=False)
    """Whether the velocity is observed too."""

    @property
    def spec(self) -> EnvSpec:
        """Observation `[1]`, or `[2]` with the velocity; action `[1]`."""
        return EnvSpec(
            observation=ArraySpec((2 if self.velocity else 1,)),
            action=CONTINUOUS,
            name="probe/hidden_point",
            time_limit=31,
            random_return=5.7,
            optimal_return=28.9,  # of the PD controller, the best that is known
        )

    def reset(self, key: Key) -> tuple[PointState, TimeStep]:
        """x uniform in ±1, v uniform in ±0.2."""
        start = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        state = PointState(start[0], 0.2 * start[1], jnp.zeros((), jnp.int32))
        return state, first(self._observe(state))

    def step(self, state: PointState, action: jax.Array) -> tuple[PointState, TimeStep]:
        """Accelerate, move, and earn by the new position."""
        velocity = state.velocity + 0.1 * jnp.clip(action[0], -1.0, 1.0)
        free = state.position + 0.5 * velocity
        position = jnp.clip(free, -2.0, 2.0)
        velocity = jnp.where(free == position, velocity, 0.0)
        state = PointState(position, velocity, state.time + 1)
        reward = jnp.exp(-8.0 * position**2)
        return state, following(
            self._observe(state), reward, truncated=state.time >= 31
        )

    def _observe(self, state: PointState) -> jax.Array:
        if self.velocity:
            return jnp.stack([state.position, state.velocity])
        return state.position[None]


class SparsePoint(Node):
    """Reach the origin and stay; nothing is earned on the way.

    |x| starts in [0.6, 1] at rest; v ← clip(v + 0.1 a, ±0.6), x ← clip(x + 0.5 v,
    ±1.5), v = 0 at the wall. 47 steps; reward 1 where |x| < 0.15; observed (x, 3 v).
    Planning 3 steps ahead on the true dynamics without a value scores 6.4, with one
    42.6.
    """

    @property
    def spec(self) -> EnvSpec:
        """Observation `[2]`, action `[1]`."""
        return EnvSpec(
            observation=ArraySpec((2,)),
            action=CONTINUOUS,
            name="probe/sparse_point",
            time_limit=47,
            random_return=2.7,
            optimal_return=42.6,  # of planning with a good value, the best known
        )

    def reset(self, key: Key) -> tuple[PointState, TimeStep]:
        """On either side, at rest."""
        key_distance, key_side = jax.random.split(key)
        distance = jax.random.uniform(key_distance, minval=0.6, maxval=1.0)
        side = jnp.where(jax.random.bernoulli(key_side), 1.0, -1.0)
        state = PointState(distance * side, jnp.zeros(()), jnp.zeros((), jnp.int32))
        return state, first(self._observe(state))

    def step(self, state: PointState, action: jax.Array) -> tuple[PointState, TimeStep]:
        """Accelerate, move, and earn 1 near the origin."""
        push = 0.1 * jnp.clip(action[0], -1.0, 1.0)
        velocity = jnp.clip(state.velocity + push, -0.6, 0.6)
        free = state.position + 0.5 * velocity
        position = jnp.clip(free, -1.5, 1.5)
        velocity = jnp.where(free == position, velocity, 0.0)
        state = PointState(position, velocity, state.time + 1)
        reward = jnp.abs(position) < 0.15
        return state, following(
            self._observe(state), reward, truncated=state.time >= 47
        )

    def _observe(self, state: PointState) -> jax.Array:
        return jnp.stack([state.position, 3.0 * state.velocity])


class RecallState(Node):
    """The cue and the time."""

    cue: jax.Array
    time: jax.Array


class Recall(Node):
    """A cue in the first record decides which action is right in the third.

    Records: cue, blank, query, end. The action taken at the query earns 1 if it
    equals the cue. Without memory 0.5.
    """

    @property
    def spec(self) -> EnvSpec:
        """Observation `[3]`: cue is 0, cue is 1, query; 2 actions."""
        return EnvSpec(
            observation=ArraySpec((3,)),
            action=ArraySpec((), "int32", classes=2),
            name="probe/recall",
            time_limit=3,
            random_return=0.5,
            optimal_return=1.0,
        )

    def reset(self, key: Key) -> tuple[RecallState, TimeStep]:
        """Show the cue."""
        cue = jax.random.bernoulli(key).astype(jnp.int32)
        state = RecallState(cue, jnp.zeros((), jnp.int32))
        return state, first(self._observe(state))

    def step(
        self, state: RecallState, action: jax.Array
    ) -> tuple[RecallState, TimeStep]:
        """Let time pass; the third action is judged."""
        state = state.replace(time=state.time + 1)
        end = state.time >= 3
        right = end & (action == state.cue)
        return state, following(self._observe(state), right, terminal=end)

    def _observe(self, state: RecallState) -> jax.Array:
        shown = (state.time == 0) * jax.nn.one_hot(state.cue, 2)
        query = (state.time == 2).astype(jnp.float32)
        return jnp.append(shown, query)


class ChainState(Node):
    """A cell and the time."""

    cell: jax.Array
    time: jax.Array


class Chain20(Node):
    """20 cells in a row and no reward: what is reached measures exploration.

    Start at the left end, actions 0 and 1 move left and right, 24 steps. A random
    walker touches the right end in 5·10⁻⁵ of episodes.
    """

    @property
    def spec(self) -> EnvSpec:
        """Observation one-hot `[20]`, 2 actions."""
        return EnvSpec(
            observation=ArraySpec((20,)),
            action=ArraySpec((), "int32", classes=2),
            name="probe/chain20",
            time_limit=24,
            random_return=0.0,
            optimal_return=0.0,
        )

    def reset(self, key: Key) -> tuple[ChainState, TimeStep]:
        """The left end; the key is not needed."""
        state = ChainState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        return state, first(jax.nn.one_hot(state.cell, 20))

    def step(self, state: ChainState, action: jax.Array) -> tuple[ChainState, TimeStep]:
        """Move one cell; the ends are walls."""
        cell = jnp.clip(state.cell + 2 * action - 1, 0, 19)
        state = ChainState(cell, state.time + 1)
        observation = jax.nn.one_hot(cell, 20)
        return state, following(observation, 0.0, truncated=state.time >= 24)


def make_hidden_point(velocity: bool = False) -> HiddenPoint:
    """`HiddenPoint`.

    Args:
      velocity: observe the velocity too; then nothing is hidden.
    """
    return HiddenPoint(velocity=velocity)
