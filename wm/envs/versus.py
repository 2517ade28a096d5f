"""`versus(env, opponent)`: a game for two as an environment for one.

The opponent's replies are part of the step, so whatever plays alone can be scored
against it. What is observed, and `TimeStep.private`, are the game's own: an agent that
was built for the game, and plans on its rules, plays on.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from wm.nodes import Node, static
from wm.types import EnvSpec, Key, Policy, TimeStep, Tree


class VersusState(Node):
    """State of the game, and what the opponent keeps."""

    inner: Tree
    key: Key
    carry: Tree
    """Its memory, leaves `[1, …]`."""
    asked: jax.Array
    """i32, moves it made."""


class Versus(Node):
    """One game; built by `versus`."""

    env: Any
    params: Any
    opponent: Any = static()
    first: bool = static(default=True)
    opening: int = static(default=0)

    @property
    def spec(self) -> EnvSpec:
        """The game's, for one player."""
        return dataclasses.replace(self.env.spec, players=1)

    def reset(self, key: Key) -> tuple[VersusState, TimeStep]:
        """The first position in which the player moves."""
        key_env, key_first, key = jax.random.split(key, 3)
        inner, timestep = self._opened(key_env)
        timestep = timestep._replace(private=inner)
        carry = self.opponent.start(self.params, 1)
        state = VersusState(inner, key, carry, jnp.zeros((), jnp.int32))
        if not self.first:
            state, timestep, _ = self._reply(key_first, state, timestep, True)
            timestep = timestep._replace(
                reward=jnp.zeros((), jnp.float32),
                discount=jnp.ones((), jnp.float32),
                is_first=jnp.ones((), bool),
            )
        return state, timestep

    def _opened(self, key: Key) -> tuple[Tree, TimeStep]:
        """The game after its random moves."""
        key, key_reset = jax.random.split(key)
        inner, timestep = self.env.reset(key_reset)
        first = timestep
        for key_move in jax.random.split(key, self.opening):
            chance = jax.random.uniform(key_move, (self.spec.action.classes or 1,))
            if timestep.legal is not None:
                chance = jnp.where(timestep.legal, chance, -1.0)
            action = jnp.argmax(chance).astype(self.spec.action.dtype)
            inner, timestep = self.env.step(inner, action)
        return inner, timestep._replace(
            reward=first.reward, discount=first.discount, is_first=first.is_first
        )

    def step(
        self, state: VersusState, action: jax.Array
    ) -> tuple[VersusState, TimeStep]:
        """The player's move and the replies to it; rewards are the player's."""
        key, key_reply = jax.random.split(state.key)
        inner, timestep = self.env.step(state.inner, action)
        timestep = timestep._replace(private=inner)
        theirs = (timestep.discount < 0) & ~timestep.is_last
        state = state.replace(inner=inner, key=key)
        state, timestep, total = self._reply(key_reply, state, timestep, theirs)
        timestep = timestep._replace(
            reward=total,
            discount=jnp.abs(timestep.discount),
        )
        return state, timestep

    def _reply(self, key: Key, state: VersusState, timestep: TimeStep, theirs: Any):
        """The opponent moves until the player does, or the game is over.

        Returns:
          State, time step, and the rewards since, as the player sees them.
        """
        ones = lambda tree: jax.tree.map(lambda x: jnp.asarray(x)[None], tree)

        def going(loop):
            _, _, theirs, _, _ = loop
            return theirs

        def body(loop):
            state, timestep, _, total, key = loop
            key, key_act = jax.random.split(key)
            # Its own first move begins an episode of its own.
            seen = timestep._replace(
                discount=jnp.abs(timestep.discount), is_first=state.asked == 0
            )
            carry, action, _ = self.opponent.act(
                self.params, key_act, state.carry, ones(seen)
            )
            inner, timestep = self.env.step(state.inner, action[0])
            timestep = timestep._replace(private=inner)
            # A discount of 1 says that the opponent goes on, -1 that the player does.
            theirs = ~timestep.is_last & (timestep.discount > 0)
            state = state.replace(inner=inner, carry=carry, asked=state.asked + 1)
            return state, timestep, theirs, total - timestep.reward, key

        loop = (state, timestep, jnp.asarray(theirs), timestep.reward, key)
        state, timestep, _, total, _ = jax.lax.while_loop(going, body, loop)
        return state, timestep, total


def versus(
    env: Any, opponent: Policy, params: Any, first: bool = True, opening: int = 0
) -> Versus:
    """A game for two against `opponent`.

    Args:
      env: the game, an `Env` of two players.
      opponent: a policy over `TimeStep`, as `act_in(rules, mcts(…))` is. It is asked
        for its own moves only, and remembers those.
      params: its parameters.
      first: whether the player begins.
      opening: moves drawn at random before that, as many of either side: players who
        always play the same would else play one game. Fewer than end a game.

    Raises:
      ValueError: another number of players, or an odd opening.
    """
    if opening < 0 or opening % 2:
        raise ValueError(f"opening must be even and at least 0, got {opening}")
    if env.spec.players != 2:
        raise ValueError(
            f"players must be 2 to play against each other, got {env.spec.players} "
            f"({env.spec.name})"
        )
    return Versus(
        env=env, params=params, opponent=opponent, first=first, opening=opening
    )
