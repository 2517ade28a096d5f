"""A deterministic model of finitely many states: what followed last, as dense arrays.

A state is the index that the environment shows. The newest transition replaces the
one before it, so the model follows a world that changes.

Source: Sutton & Barto 2018, section 8.2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.errors import UserError
from wm.nodes import Node
from wm.types import ArraySpec, EnvSpec, Key, Params, Prediction, TimeStep, Tree


class Table(Node):
    """What every action of every state led to. S states, A actions."""

    following: jax.Array
    """i32 `[S, A]`, the next state."""
    reward: jax.Array
    """f32 `[S, A]`."""
    discount: jax.Array
    """f32 `[S, A]`, the environment's."""
    tried: jax.Array
    """bool `[S, A]`: this entry may be planned from."""
    last: jax.Array
    """i32 `[S, A]`, clock of the newest real try."""
    order: jax.Array
    """i32 `[S]`; the first `seen` entries are the states met so far."""
    seen: jax.Array
    """i32."""
    clock: jax.Array
    """i32, real transitions so far."""


def empty(states: int, actions: int) -> Table:
    """Nothing known: every action stays where it is and earns nothing."""
    shape, zero = (states, actions), jnp.zeros((), jnp.int32)
    here = jnp.arange(states, dtype=jnp.int32)[:, None]
    return Table(
        following=jnp.broadcast_to(here, shape),
        reward=jnp.zeros(shape),
        discount=jnp.ones(shape),
        tried=jnp.zeros(shape, bool),
        last=jnp.zeros(shape, jnp.int32),
        order=jnp.zeros(states, jnp.int32),
        seen=zero,
        clock=zero,
    )


def record(
    table: Table,
    state: jax.Array,
    action: jax.Array,
    reward: jax.Array,
    discount: jax.Array,
    following: jax.Array,
    all_actions: bool = False,
) -> Table:
    """The table after one real transition; scalars each.

    Args:
      table: before.
      state: where it began.
      action: what was done.
      reward: f32.
      discount: f32, 0 where the episode ended.
      following: the state it led to.
      all_actions: once a state is met, the actions not tried in it count as known to
        stay there and earn nothing (Dyna-Q+).
    """
    new = ~table.tried[state].any()
    order = jnp.where(new, table.order.at[table.seen].set(state), table.order)
    at = (state, action)
    tried = table.tried.at[at].set(True)
    last = table.last
    if all_actions:
        tried = tried.at[state].set(True)
        stamp = jnp.where(new, 1, last[state])
        last = last.at[state].set(stamp)
    return table.replace(
        following=table.following.at[at].set(following),
        reward=table.reward.at[at].set(reward),
        discount=table.discount.at[at].set(discount),
        tried=tried,
        last=last.at[at].set(table.clock + 1),
        order=order,
        seen=table.seen + new,
        clock=table.clock + 1,
    )


def draw(table: Table, key: Key) -> tuple[jax.Array, jax.Array]:
    """A state drawn uniformly from those met, then an action from those known there.

    Not uniform over pairs: a state counts once, however many actions were tried.
    """
    key_state, key_action = jax.random.split(key)
    index = jax.random.randint(key_state, (), 0, jnp.maximum(table.seen, 1))
    state = table.order[index]
    noise = jax.random.uniform(key_action, table.tried.shape[1:])
    return state, jnp.argmax(jnp.where(table.tried[state], noise, -1.0))


class At(Node):
    """Model state: where one is, and whether life goes on."""

    state: jax.Array
    """i32 `[B]`."""
    alive: jax.Array
    """f32 `[B]`, 0 after an end."""


class TableModel:
    """A `Table` as a `WorldModel`; params `{"model": Table}`."""

    def __init__(self, spec: EnvSpec):
        """For environments that show an index and take one.

        Raises:
          UserError: other observations or actions.
        """
        self.spec = spec
        self.states, self.actions = sizes(spec)

    def init(self, key: Key) -> Params:
        """Nothing known."""
        return {"model": empty(self.states, self.actions)}

    def start(self, params: Params, batch: int) -> At:
        """State 0, alive."""
        return At(jnp.zeros(batch, jnp.int32), jnp.ones(batch))

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """Unchanged."""
        return timestep

    def observe(
        self, params: Params, key: Key, state: At, action: Tree, evidence: TimeStep
    ) -> At:
        """What is seen is the state."""
        alive = (evidence.discount != 0).astype(jnp.float32)
        return At(evidence.observation, alive)

    def step(
        self, params: Params, key: Key, state: At, action: jax.Array
    ) -> tuple[At, Prediction]:
        """What followed last time; unknown actions stay and earn nothing."""
        table: Table = params["model"]
        at = (state.state, action)
        alive = state.alive
        following = jnp.where(alive > 0, table.following[at], state.state)
        discount = alive * table.discount[at]
        prediction = Prediction(alive * table.reward[at], discount)
        return At(following, (discount != 0).astype(jnp.float32)), prediction

    def decode(self, params: Params, state: At) -> jax.Array:
        """The index."""
        return state.state


def sizes(spec: EnvSpec) -> tuple[int, int]:
    """How many states and actions.

    Raises:
      UserError: observations or actions that are not one index each.
    """
    seen, action = spec.observation, spec.action
    states = seen.classes if isinstance(seen, ArraySpec) and not seen.shape else None
    actions = None if action.shape else action.classes
    if states is None or actions is None:
        raise UserError(
            f"{spec.name}: tables need one discrete observation and one discrete "
            "action, as in grid/… (`wm list envs`)"
        )
    return states, actions
