"""Model predictive control on the true rules: what planning alone can reach.

At every step a planner searches action sequences in the environment itself and plays
the first action of what it found. Nothing is learned: the score is an upper bound for
systems that plan in the same way in a model which they had to learn, and measures the
planner. The environment must open its rules (`--env.rules true`, which the preset
`default` sets).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from wm.data.rollout import Rollout
from wm.errors import UserError
from wm.imagine import act_in
from wm.models.rules import rules_of
from wm.nodes import Node
from wm.planners.choice import Name, Planning, planner
from wm.types import EnvSpec, Key, Mode, Params, TimeStep, Tree


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of planning on the rules."""

    planner: Name = "icem"
    """Which one; its own settings are under `plan`."""
    gamma: float = 1.0
    """Discount per step of a plan (1: rewards within the horizon count alike)."""
    plan: Planning = dataclasses.field(default_factory=Planning)
    """Settings of each planner."""

    def __post_init__(self):
        if not 0 < self.gamma <= 1:
            raise UserError(f"--agent.gamma must be in (0, 1], got {self.gamma}")


class State(Node):
    """Nothing persists."""

    params: Params
    """`{"model": {}}`."""


class MPC:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For environments that open their rules.

        Raises:
          UserError: closed rules.
          ValueError: a planner that does not fit the actions.
        """
        self.spec, self.config = spec, config or Config()
        self.rules = rules_of(spec)
        config = self.config
        plans = planner(config.planner, config.plan, self.rules, config.gamma)
        self.policy = act_in(self.rules, plans)

    def init(self, key: Key) -> State:
        """Nothing to learn."""
        return State(self.rules.init(key))

    def actor(self, state: State) -> Params:
        """The same."""
        return state.params

    def start(self, actor: Params, batch: int) -> Tree:
        """Fresh (state of the rules, previous action, plan)."""
        return self.policy.start(actor, batch)

    def act(
        self, actor: Params, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, Tree]]:
        """Plan from the state that the environment is in; alike in every mode."""
        return self.policy.act(actor, key, carry, timestep)

    def buffer(self, schedule: Any) -> Rollout:
        """The newest step: nothing reads it."""
        return Rollout(schedule.chunk_updates()[0])

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """None."""
        return {}
