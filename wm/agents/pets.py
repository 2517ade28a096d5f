"""PETS: plans by CEM in an ensemble of probabilistic networks, and learns no policy.

Chua, Calandra, McAllister & Levine 2018, Algorithm 1; details from the authors' code
(kchua/handful-of-trials 77fd880). An episode with random actions, then: fit the
ensemble to all data, play an episode by model predictive control, repeat. Rewards are
known functions of what is predicted (`EnvSpec.reward_fn`).

Differs: fits happen every `schedule.fit_steps` steps, which the presets set to the
length of an episode; with several environments a fit sees all of their episodes. TS1
deals particles out alike for all candidates.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from wm.imagine import act_in
from wm.models import ensemble_data, ensemble_fit
from wm.models.ensemble import Ensemble, EnsembleConfig
from wm.models.ensemble_fit import FitConfig
from wm.nodes import Node
from wm.planners.cem import PETS as PETS_CEM
from wm.planners.cem import CEMConfig, cem
from wm.planners.sequences import discounted
from wm.types import Dataset, EnvSpec, Key, Metrics, Mode, Params, TimeStep, Tree


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of PETS. Defaults: Chua et al. 2018, cartpole, code."""

    model: EnsembleConfig = dataclasses.field(
        default_factory=lambda: EnsembleConfig(layers=3, units=500)
    )
    """The ensemble."""
    fit: FitConfig = dataclasses.field(
        default_factory=lambda: FitConfig(weight_decay=(1e-4, 2.5e-4, 2.5e-4, 5e-4))
    )
    """How it is fitted."""
    plan: CEMConfig = dataclasses.field(default_factory=lambda: PETS_CEM)
    """The planner; its `particles` are rollouts of all particles of the model, so 1."""


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": …}`, see `Ensemble`."""
    optimizer: Tree
    """Outlives fits."""


class PETS:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For one vector of observations and continuous actions.

        Raises:
          UserError: other spaces, or no known reward.
        """
        self.spec, self.config = spec, config or Config()
        self.model = Ensemble(spec, self.config.model)
        plans = cem(self.model, discounted(), self.config.plan)
        self.policy = act_in(self.model, plans)

    def init(self, key: Key) -> State:
        """Untrained networks."""
        params = self.model.init(key)
        learned = ensemble_fit.learned_part(params["model"])
        return State(params, ensemble_fit.optimizer(self.config.fit).init(learned))

    def actor(self, state: State) -> Params:
        """The model."""
        return state.params

    def start(self, actor: Params, batch: int) -> Tree:
        """Fresh (model state, previous action, plan)."""
        return self.policy.start(actor, batch)

    def act(
        self, actor: Params, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, Tree]]:
        """Plan; in `prefill`, while there is nothing to plan in, uniform actions."""
        if mode == "prefill":
            rows = timestep.reward.shape[0]
            shape = (rows, *self.spec.action.shape)
            return carry, jax.random.uniform(key, shape, minval=-1.0, maxval=1.0), {}
        return self.policy.act(actor, key, carry, timestep)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """None: everything is learned in `fit`."""
        return {}

    def fit(self, state: State, key: Key, dataset: Dataset) -> tuple[State, Metrics]:
        """Fit the ensemble to everything collected so far."""
        model, optimizer, metrics = ensemble_fit.fit(
            self.model,
            self.config.fit,
            state.params["model"],
            state.optimizer,
            key,
            ensemble_data.data_of(self.model, dataset),
        )
        return State({"model": model}, optimizer), metrics
