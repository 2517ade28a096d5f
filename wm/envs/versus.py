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
    """State of the game, and a key for the opponent."""

    inner: Tree
    key: Key


class Versus(Node):
    """One game; built by `versus`."""

    env: Any
    params: Any
    opponent: Any = static()
    first: bool = static(default=True)

    @property
    def spec(self) -> EnvSpec:
        """The game's, for one player."""
        return dataclasses.replace(self.env.spec, players=1)

    def reset(self, key: Key) -> tuple[VersusState, TimeStep]:
        """The first position in which the player moves."""
        key_env, key_first, key = jax.random.split(key, 3)
        inner, timestep = self.env.reset(key_env)
        timestep = timestep._replace(private=inner)
        if not self.first:
            inner, timestep, _ = self._reply(key_first, inner, timestep, True)
            timestep = timestep._replace(
                reward=jnp.zeros((), jnp.float32),
                discount=jnp.ones((), jnp.float32),
                is_first=jnp.ones((), bool),
            )
        return VersusState(inner, key), timestep

    def step(
        self, state: VersusState, action: jax.Array
    ) -> tuple[VersusState, TimeStep]:
        """The player's move and the replies to it; rewards are the player's."""
        key, key_reply = jax.random.split(state.key)
        inner, timestep = self.env.step(state.inner, action)
        timestep = timestep._replace(private=inner)
        theirs = (timestep.discount < 0) & ~timestep.is_last
        inner, timestep, total = self._reply(key_reply, inner, timestep, theirs)
        timestep = timestep._replace(
            reward=total,
            discount=jnp.abs(timestep.discount),
        )
        return VersusState(inner, key), timestep

    def _reply(self, key: Key, inner: Tree, timestep: TimeStep, theirs: Any):
        """The opponent moves until the player does, or the game is over.

        Returns:
          State, time step, and the rewards since, as the player sees them.
        """
        ones = lambda tree: jax.tree.map(lambda x: jnp.asarray(x)[None], tree)
        carry = self.opponent.start(self.params, 1)

        def going(loop):
            _, _, _, theirs, _, _ = loop
            return theirs

        def body(loop):
            count, inner, timestep, _, total, key = loop
            key_act = jax.random.fold_in(key, count)
            _, action, _ = self.opponent.act(
                self.params, key_act, carry, ones(timestep)
            )
            inner, timestep = self.env.step(inner, action[0])
            timestep = timestep._replace(private=inner)
            # A discount of 1 says that the opponent goes on, -1 that the player does.
            theirs = ~timestep.is_last & (timestep.discount > 0)
            return count + 1, inner, timestep, theirs, total - timestep.reward, key

        zero = jnp.zeros((), jnp.int32)
        loop = (zero, inner, timestep, jnp.asarray(theirs), timestep.reward, key)
        _, inner, timestep, _, total, _ = jax.lax.while_loop(going, body, loop)
        return inner, timestep, total


def versus(env: Any, opponent: Policy, params: Any, first: bool = True) -> Versus:
    """A game for two against `opponent`.

    Args:
      env: the game, an `Env` of two players.
      opponent: a policy over `TimeStep`, asked afresh for every move: without memory,
        as `act_in(rules, mcts(…))` is.
      params: its parameters.
      first: whether the player begins.

    Raises:
      ValueError: another number of players.
    """
    if env.spec.players != 2:
        raise ValueError(
            f"players must be 2 to play against each other, got {env.spec.players} "
            f"({env.spec.name})"
        )
    return Versus(env=env, params=params, opponent=opponent, first=first)
