"""Q-learning: values of state-action pairs from real transitions alone.

Watkins 1989; Sutton & Barto 2018, section 6.5. For environments that show one index
and take one. No deviations; ties between equal values are broken at random.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.behaviors import q_learning
from wm.behaviors.q_learning import Experience, TabularAgent
from wm.models import table
from wm.nodes import Node
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Params


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of Q-learning. Defaults: Sutton & Barto 2018, Figure 8.2."""

    rate: float = 0.1
    """Step size alpha (0.1)."""
    gamma: float = 0.95
    """Discount per step (0.95)."""
    epsilon: float = 0.1
    """Chance of a random action while training (0.1)."""

    def __post_init__(self):
        q_learning.require_shares(self)


class State(Node):
    """All that persists."""

    params: Params
    """`{"policy": {"q": f32 [S, A]}}`."""


class QLearning(TabularAgent):
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For environments with `spec`.

        Raises:
          UserError: observations or actions that are not one index each.
        """
        self.spec, self.config = spec, config or Config()
        self.sizes = table.sizes(spec)

    def init(self, key: Key) -> State:
        """All values 0."""
        return State({"policy": {"q": jnp.zeros(self.sizes)}})

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """Learn from every new transition in turn."""

        def learn(q, now: Experience):
            *step, valid = now
            error = valid * q_learning.error(q, *step, gamma=self.config.gamma)
            return q.at[now.state, now.action].add(self.config.rate * error), error

        q = self.actor(state)
        q, errors = jax.lax.scan(learn, q, q_learning.experiences(batches["newest"]))
        metrics = {"loss/td_error": jnp.abs(errors).mean()}
        return State({"policy": {"q": q}}), {}, metrics
