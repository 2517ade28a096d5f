"""Dyna-Q: Q-learning from real transitions, and from remembered ones in between.

Sutton 1990, 1991; Sutton & Barto 2018, sections 8.2 and 8.3. Planning draws a state
uniformly from those met, then one of the actions tried there. Dyna-Q+ (preset `plus`)
adds kappa sqrt(tau) to planned rewards, tau the steps since an action was last tried,
and plans actions never tried as ones that change nothing.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.behaviors import q_learning
from wm.behaviors.q_learning import Experience, TabularAgent
from wm.errors import UserError
from wm.models import table
from wm.models.table import Table, TableModel
from wm.nodes import Node
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Params


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of Dyna-Q. Defaults: Sutton & Barto 2018, Figure 8.2."""

    planning_steps: int = 50
    """Planned backups per real step (0, 5, 50); 0 is Q-learning."""
    rate: float = 0.1
    """Step size alpha (0.1)."""
    gamma: float = 0.95
    """Discount per step (0.95)."""
    epsilon: float = 0.1
    """Chance of a random action while training (0.1)."""
    bonus: float = 0.0
    """Kappa of Dyna-Q+: planned rewards gain kappa sqrt(tau) (0; plus: 1e-4, 1e-3)."""
    all_actions: bool = False
    """Plan actions never tried in a state as ones that change nothing (Dyna-Q+)."""

    def __post_init__(self):
        q_learning.require_shares(self)
        for name in ("planning_steps", "bonus"):
            value = getattr(self, name)
            if not value >= 0:
                raise UserError(f"--agent.{name} must be at least 0, got {value}")


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": Table, "policy": {"q": f32 [S, A]}}`."""


class DynaQ(TabularAgent):
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For environments with `spec`.

        Raises:
          UserError: observations or actions that are not one index each.
        """
        self.spec, self.config = spec, config or Config()
        self.model = TableModel(spec)

    def init(self, key: Key) -> State:
        """All values 0, nothing known."""
        q = jnp.zeros((self.model.states, self.model.actions))
        return State(self.model.init(key) | {"policy": {"q": q}})

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """Learn, remember and plan after every new transition in turn."""

        def learn(loop, inputs):
            q, known = loop
            key, now = inputs
            *step, valid = now
            error = q_learning.error(q, *step, gamma=self.config.gamma)
            after = q.at[now.state, now.action].add(self.config.rate * error)
            every = self.config.all_actions
            remembered = table.record(known, *step, all_actions=every)
            new = self.plan(after, remembered, key), remembered
            choose = lambda a, b: jnp.where(valid, a, b)
            return jax.tree.map(choose, new, loop), valid * error

        now: Experience = q_learning.experiences(batches["newest"])
        keys = jax.random.split(key, now.valid.shape[0])
        loop = (self.actor(state), state.params["model"])
        (q, known), errors = jax.lax.scan(learn, loop, (keys, now))
        metrics = {
            "loss/td_error": jnp.abs(errors).mean(),
            "plan/backups": self.config.planning_steps * now.valid.sum(),
            "model/states": known.seen,
        }
        return State({"model": known, "policy": {"q": q}}), {}, metrics

    def plan(self, q: jax.Array, known: Table, key: Key) -> jax.Array:
        """Values after `planning_steps` backups, one after another."""
        config = self.config

        def backup(q, key):
            state, action = table.draw(known, key)
            at = (state, action)
            waited = (known.clock - known.last[at]).astype(jnp.float32)
            reward = known.reward[at] + config.bonus * jnp.sqrt(waited)
            discount, following = known.discount[at], known.following[at]
            error = q_learning.error(
                q, state, action, reward, discount, following, config.gamma
            )
            return q.at[at].add(config.rate * error), None

        keys = jax.random.split(key, config.planning_steps)
        return jax.lax.scan(backup, q, keys)[0]
