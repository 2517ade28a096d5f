"""Prioritized sweeping: a tabular model whose most urgent backups come first.

Peng & Williams 1993; Sutton & Barto 2018, section 8.4. Differs: all ties between equal
priorities go to the first entry; the stochastic form of Moore & Atkeson 1993, with
counts and full backups of state values, is not built.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.behaviors import q_learning
from wm.behaviors.q_learning import Experience, TabularAgent
from wm.errors import UserError
from wm.models import table
from wm.models.table import TableModel
from wm.nodes import Node
from wm.planners import sweeping
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Params


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of prioritized sweeping. Source: Sutton & Barto 2018, Example 8.4."""

    planning_steps: int = 5
    """Backups per real step, at most (5)."""
    rate: float = 0.5
    """Step size alpha of a backup (0.5); 1 is a full one."""
    gamma: float = 0.95
    """Discount per step (0.95)."""
    epsilon: float = 0.1
    """Chance of a random action while training (0.1)."""
    threshold: float = 1e-4
    """Errors up to it are not queued (1e-4)."""
    urgent: bool = True
    """For ablation: whether the most urgent entry comes first, or any known one."""

    def __post_init__(self):
        q_learning.require_shares(self)
        for name, least in {"planning_steps": 1, "threshold": 0}.items():
            value = getattr(self, name)
            if not value >= least:
                raise UserError(f"--agent.{name} must be at least {least}, got {value}")


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": Table, "policy": {"q": f32 [S, A]}}`."""
    priority: jax.Array
    """f32 `[S, A]`; 0 where an entry is not queued."""
    backups: jax.Array
    """i32, made so far."""


class PrioritizedSweeping(TabularAgent):
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
        """All values 0, nothing known, nothing queued."""
        q = jnp.zeros((self.model.states, self.model.actions))
        params = self.model.init(key) | {"policy": {"q": q}}
        return State(params, jnp.zeros_like(q), jnp.zeros((), jnp.int32))

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """Remember, queue and sweep after every new transition in turn."""
        config = self.config

        def learn(state: State, inputs):
            key, now = inputs
            *step, valid = now
            q, priority = self.actor(state), state.priority
            known = table.record(state.params["model"], *step)
            size = jnp.abs(sweeping.errors(known, q, config.gamma))
            at = (now.state, now.action)
            urgent = jnp.where(size[at] > config.threshold, size[at], 0.0)
            priority = priority.at[at].max(urgent)
            q, priority, made = sweeping.sweep(
                known,
                q,
                priority,
                config.planning_steps,
                config.rate,
                config.gamma,
                config.threshold,
                None if config.urgent else key,
            )
            params = {"model": known, "policy": {"q": q}}
            new = State(params, priority, state.backups + made)
            choose = lambda a, b: jnp.where(valid, a, b)
            return jax.tree.map(choose, new, state), valid * size[at]

        now: Experience = q_learning.experiences(batches["newest"])
        keys = jax.random.split(key, now.valid.shape[0])
        state, sizes = jax.lax.scan(learn, state, (keys, now))
        metrics = {
            "loss/td_error": sizes.mean(),
            "plan/backups": state.backups,
            "model/states": state.params["model"].seen,
        }
        return state, {}, metrics
