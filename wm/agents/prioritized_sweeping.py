"""Prioritized sweeping: a tabular model whose most urgent backups come first.

Two forms. `newest`: values of pairs, and what followed last (Peng & Williams 1993;
Sutton & Barto 2018, section 8.4). `counted`: values of states by full backups over all
that followed, for worlds with chance in them (Moore & Atkeson 1993). Differs: all ties
between equal priorities go to the first entry.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from wm.behaviors import q_learning
from wm.behaviors.q_learning import Experience, TabularAgent
from wm.errors import UserError
from wm.models import counted, table
from wm.models.counted import CountedModel
from wm.models.table import TableModel
from wm.nodes import Node
from wm.planners import sweeping
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Params

Form = Literal["newest", "counted"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of prioritized sweeping. Source: Sutton & Barto 2018, Example 8.4."""

    model: Form = "newest"
    """newest: what followed last; counted: all that followed, for stochastic worlds."""
    planning_steps: int = 5
    """Backups per real step, at most (5)."""
    rate: float = 0.5
    """newest: step size alpha of a backup (0.5); 1 is a full one."""
    gamma: float = 0.95
    """Discount per step (0.95)."""
    epsilon: float = 0.1
    """Chance of a random action while training (0.1)."""
    threshold: float = 1e-4
    """Changes up to it are not queued (1e-4)."""
    bored: int = 1
    """counted: tries after which an action is believed (T_bored); before, it is worth
    best_reward / (1 - gamma)."""
    best_reward: float = 0.0
    """counted: what the least known actions may earn per step (r_opt); 0: nothing."""
    urgent: bool = True
    """For ablation: whether the most urgent entry comes first, or any known one."""

    def __post_init__(self):
        q_learning.require_shares(self)
        for name, least in {"planning_steps": 1, "threshold": 0, "bored": 1}.items():
            value = getattr(self, name)
            if not value >= least:
                raise UserError(f"--agent.{name} must be at least {least}, got {value}")
        if self.model not in get_args(Form):
            raise UserError(
                f"--agent.model must be newest or counted, got {self.model!r}"
            )
        if self.best_reward and not self.gamma < 1:
            raise UserError(
                f"--agent.best_reward needs --agent.gamma below 1, got {self.gamma}"
            )
        if self.model == "newest" and (self.best_reward or self.bored > 1):
            raise UserError(
                "--agent.best_reward and --agent.bored need --agent.model counted"
            )

    @property
    def unknown(self) -> float:
        """What an action is worth that was hardly ever tried."""
        return self.best_reward / (1 - self.gamma) if self.best_reward else 0.0


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": Table or Counted, "policy": {"q": f32 [S, A]}}`."""
    priority: jax.Array
    """f32 `[S, A]`, of states `[S]`; 0 where an entry is not queued."""
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
        self.states = self.config.model == "counted"
        self.model = CountedModel(spec) if self.states else TableModel(spec)

    def init(self, key: Key) -> State:
        """Nothing known, nothing queued."""
        q = jnp.full((self.model.states, self.model.actions), self.config.unknown)
        params = self.model.init(key) | {"policy": {"q": q}}
        queue = jnp.zeros(q.shape[: 1 if self.states else 2])
        return State(params, queue, jnp.zeros((), jnp.int32))

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """Remember, queue and sweep after every new transition in turn."""
        remembered = self._counted if self.states else self._newest

        def learn(state: State, inputs):
            key, now = inputs
            new, size = remembered(state, key, now)
            choose = lambda a, b: jnp.where(now.valid, a, b)
            return jax.tree.map(choose, new, state), now.valid * size

        now: Experience = q_learning.experiences(batches["newest"])
        keys = jax.random.split(key, now.valid.shape[0])
        state, sizes = jax.lax.scan(learn, state, (keys, now))
        metrics = {
            "loss/td_error": sizes.mean(),
            "plan/backups": state.backups,
            "model/states": state.params["model"].seen,
        }
        return state, {}, metrics

    def _newest(
        self, state: State, key: Key, now: Experience
    ) -> tuple[State, jax.Array]:
        """After a transition; its error queues its pair."""
        config, at = self.config, (now.state, now.action)
        q, priority = self.actor(state), state.priority
        known = table.record(state.params["model"], *now[:-1])
        size = jnp.abs(sweeping.errors(known, q, config.gamma))[at]
        priority = priority.at[at].max(jnp.where(size > config.threshold, size, 0.0))
        swept = sweeping.sweep(
            known,
            q,
            priority,
            config.planning_steps,
            config.rate,
            config.gamma,
            config.threshold,
            None if config.urgent else key,
        )
        return after(state, known, *swept), size

    def _counted(
        self, state: State, key: Key, now: Experience
    ) -> tuple[State, jax.Array]:
        """After a transition; the state where it began is backed up first."""
        config = self.config
        q = self.actor(state)
        known = counted.record(state.params["model"], *now[:-1])
        swept = sweeping.sweep_states(
            known,
            q,
            state.priority.at[now.state].set(jnp.inf),
            config.planning_steps,
            config.gamma,
            config.threshold,
            config.unknown,
            config.bored,
            None if config.urgent else key,
        )
        value = lambda q: q[now.state].max()
        return after(state, known, *swept), jnp.abs(value(swept[0]) - value(q))


def after(state: State, known, q, priority, made) -> State:
    """The state with what a sweep left."""
    params = {"model": known, "policy": {"q": q}}
    return State(params, priority, state.backups + made)
