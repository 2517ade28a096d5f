"""A game of two moves with a known answer, in which chance must be told apart."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.envs.timesteps import first, following
from wm.nodes import Node
from wm.types import ArraySpec, EnvSpec


class GuessState(Node):
    """Where one is, and what the next coin is drawn from."""

    place: jax.Array
    key: jax.Array


class Guess(Node):
    """At 0: action 0 pays 0.75 and ends; action 1 throws a coin that is then shown, and
    to name it pays 1. Best 1. Who plans on the mean of both sides finds 0.5 behind
    action 1, and so takes 0.75; random play earns 0.625."""

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            ArraySpec((3,)), ArraySpec((), "int32", 2), "guess", time_limit=2,
            random_return=0.625, optimal_return=1.0,
        )  # fmt: skip

    def reset(self, key):
        place = jnp.zeros((), jnp.int32)
        return GuessState(place, key), first(jax.nn.one_hot(place, 3))

    def step(self, state, action):
        key, key_coin = jax.random.split(state.key)
        side = 1 + jax.random.bernoulli(key_coin).astype(jnp.int32)
        begun = state.place == 0
        goes_on = begun & (action == 1)
        named = (state.place == action + 1).astype(jnp.float32)
        reward = jnp.where(begun, 0.75 * (action == 0), named)
        place = jnp.where(goes_on, side, 0)
        seen = jax.nn.one_hot(place, 3)
        return GuessState(place, key), following(seen, reward, ~goes_on, False)
