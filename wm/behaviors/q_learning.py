"""Values of state-action pairs as an array: acting on them, and their one-step error.

Source: Watkins 1989; Sutton & Barto 2018, section 6.5.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wm.data.rollout import Rollout
from wm.errors import UserError
from wm.ops.trees import transitions
from wm.types import Batch, Key, Mode, TimeStep


class Experience(NamedTuple):
    """One transition; scalars."""

    state: jax.Array
    action: jax.Array
    reward: jax.Array
    discount: jax.Array
    following: jax.Array
    valid: jax.Array
    """bool: false where the "action" was the reset after an end."""


def greedy(key: Key, values: jax.Array) -> jax.Array:
    """Index of the largest of `values` `[…, A]`; ties are broken at random.

    At the start all values are equal: always taking the first would never explore.
    """
    noise = jax.random.uniform(key, values.shape)
    best = values == values.max(-1, keepdims=True)
    return jnp.argmax(jnp.where(best, noise, -1.0), -1).astype(jnp.int32)


def act(
    q: jax.Array, key: Key, timestep: TimeStep, epsilon: float, mode: Mode
) -> jax.Array:
    """Actions i32 `[B]` by `q` `[S, A]`: greedy, and random with chance `epsilon`
    (always in `prefill`, never in `eval`)."""
    key_greedy, key_random, key_coin = jax.random.split(key, 3)
    best = greedy(key_greedy, q[timestep.observation])
    if mode == "eval":
        return best
    other = jax.random.randint(key_random, best.shape, 0, q.shape[-1])
    chance = 1.0 if mode == "prefill" else epsilon
    return jnp.where(jax.random.bernoulli(key_coin, chance, best.shape), other, best)


def error(
    q: jax.Array, state, action, reward, discount, following, gamma: float
) -> jax.Array:
    """r + gamma d max q(s') - q(s, a), f32."""
    return reward + gamma * discount * q[following].max() - q[state, action]


def experiences(batch: Batch) -> Experience:
    """Transitions of `[N, L]` records in order of time, leaves `[(L - 1) N]`."""
    found = transitions(batch)
    order = lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
    return Experience(
        state=order(found.observation),
        action=order(found.action),
        reward=order(found.reward),
        discount=order(found.discount),
        following=order(found.next_observation),
        valid=order(found.mask),
    )


def newest(schedule: Any) -> dict[str, tuple[int, int]]:
    """The batch with what was done since the last update, and what came of it."""
    return {"newest": (schedule.envs, schedule.chunk_updates()[0] + 1)}


class TabularAgent:
    """The part of an agent that all systems with a table of values have alike.

    Subclasses set `config`, whose `epsilon` is read, and keep the values under
    `state.params["policy"]["q"]`.
    """

    config: Any

    def actor(self, state: Any) -> jax.Array:
        """The values."""
        return state.params["policy"]["q"]

    def start(self, actor: jax.Array, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, actor: jax.Array, key: Key, carry: tuple, timestep: TimeStep, mode: Mode
    ) -> tuple[tuple, jax.Array, dict]:
        """Epsilon-greedy; greedy in `eval`, random in `prefill`."""
        return carry, act(actor, key, timestep, self.config.epsilon, mode), {}

    def buffer(self, schedule: Any) -> Rollout:
        """The newest steps."""
        return Rollout(schedule.chunk_updates()[0])

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """What was done since the last update."""
        return newest(schedule)


def require_shares(config: Any) -> None:
    """Complain about a rate, gamma or epsilon that is no share of 1.

    Raises:
      UserError: naming the field and its value.
    """
    for name in ("rate", "gamma", "epsilon"):
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise UserError(f"--agent.{name} must be in [0, 1], got {value}")
