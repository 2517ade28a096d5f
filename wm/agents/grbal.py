"""GrBAL: random shooting in a network that adapts itself at every step.

Nagabandi, Clavera, Liu, Fearing, Abbeel, Levine & Finn 2019, Algorithms 1 and 2;
details from the authors' code (iclavera/learning_to_adapt bd7d99b). Episodes at random,
then: meta-train the network so that one step of gradient descent on the last M
transitions makes it predict the next M; at every step of an episode adapt, always from
what was trained, and plan in what came out. Rewards are known functions of what is
predicted (`EnvSpec.reward_fn`), or learned.

Differs: early stopping watches the error after adaptation, which is minimised (the
authors' code that before it). All data share the newest normalisation (authors: the
data of a fit keep their own). The newest transition counts for adaptation (authors: not
yet). `inner_rate` 0 does not adapt. ReBAL, where the memory of a recurrent
network adapts, is left out.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from wm.errors import UserError, require
from wm.imagine import act_in
from wm.models import ensemble_data, meta_fit
from wm.models.ensemble import Ensemble, EnsembleConfig
from wm.models.meta_fit import MetaFitConfig
from wm.nodes import Node
from wm.ops.trees import where_rows
from wm.planners.choice import Name, Planning, planner
from wm.planners.shooting import GRBAL as GRBAL_SHOOTING
from wm.types import Dataset, EnvSpec, Key, Metrics, Mode, Params, TimeStep, Tree


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of GrBAL. Defaults: `run_grbal.py`, half-cheetah."""

    model: EnsembleConfig = dataclasses.field(
        default_factory=lambda: EnsembleConfig(
            members=1,
            layers=3,
            units=512,
            act="relu",
            gaussian=False,
            particles=1,
            normalize_targets=True,
        )
    )
    """The network: one member, deterministic."""
    fit: MetaFitConfig = dataclasses.field(default_factory=MetaFitConfig)
    """How it adapts, and how it is trained to."""
    planner: Name = "shooting"
    """Which one plans (shooting; the code also has CEM); its settings are under
    `plan`."""
    plan: Planning = dataclasses.field(
        default_factory=lambda: Planning(shooting=GRBAL_SHOOTING)
    )
    """Settings of each planner (500 sequences of 10 actions)."""
    gamma: float = 1.0
    """Discount per step of a plan (1)."""

    def __post_init__(self):
        if not 0 < self.gamma <= 1:
            raise UserError(f"--agent.gamma must be in (0, 1], got {self.gamma}")
        model = self.model
        if model.members != 1 or model.particles != 1 or model.gaussian:
            raise UserError(
                "--agent.model.members and --agent.model.particles must be 1 and "
                "--agent.model.gaussian false"
            )


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": …}`, see `Ensemble`; never an adapted one."""
    optimizer: Tree
    """Outlives fits."""


class Recent(Node):
    """Memory of acting: the last M transitions, and where the next one begins."""

    x: jax.Array
    """f32 `[B, M, inputs]`, the newest last."""
    y: jax.Array
    """f32 `[B, M, outputs]`."""
    count: jax.Array
    """i32 `[B]`: transitions of this episode."""
    observation: jax.Array
    """f32 `[B, D]`: before the action."""
    action: jax.Array
    """f32 `[B, F]`."""
    plan: Tree
    """Carry of the planner."""


class GrBAL:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For one vector of observations and continuous actions.

        Raises:
          UserError: other spaces, no known reward, or episodes that no window fits in.
        """
        self.spec, self.config = spec, config = spec, config or Config()
        self.model = Ensemble(spec, config.model)
        limit, window = spec.time_limit, config.fit.window
        if limit is not None:
            # From twice the window on there is something to learn.
            allowed = f"at most half an episode of {spec.name}, {limit} steps"
            require(config.fit, "fit.window", 2 * window <= limit, allowed)
        plans = planner(config.planner, config.plan, self.model, config.gamma)
        self.policy = act_in(self.model, plans)

    def init(self, key: Key) -> State:
        """An untrained network."""
        params = self.model.init(key)
        adam = meta_fit.optimizer(self.config.fit)
        return State(params, adam.init(params["model"]["nets"]))

    def actor(self, state: State) -> Params:
        """The model."""
        return state.params

    def start(self, actor: Params, batch: int) -> Recent:
        """Nothing seen."""
        M, model = self.config.fit.window, self.model
        return Recent(
            x=jnp.zeros((batch, M, model.inputs)),
            y=jnp.zeros((batch, M, model.outputs)),
            count=jnp.zeros(batch, jnp.int32),
            observation=jnp.zeros((batch, model.size)),
            action=jnp.zeros((batch, *self.spec.action.shape)),
            plan=self.policy.start(actor, batch),
        )

    def act(
        self, actor: Params, key: Key, carry: Recent, timestep: TimeStep, mode: Mode
    ) -> tuple[Recent, jax.Array, dict[str, Tree]]:
        """Adapt every row to its own last transitions, and plan in what came out.

        In `prefill`, while there is nothing to plan in, uniform actions.
        """
        rows = timestep.reward.shape[0]
        memory = self.remember(self.start(actor, rows), carry, timestep)
        if mode == "prefill":
            shape = (rows, *self.spec.action.shape)
            action = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
            return memory.replace(action=action), action, {}

        def one(key, recent, timestep):
            params = {**actor, "model": self.adapt(actor["model"], recent)}
            lead = lambda tree: jax.tree.map(lambda x: x[None], tree)
            plan, action, _ = self.policy.act(
                params, key, lead(recent.plan), lead(timestep)
            )
            return jax.tree.map(lambda x: x[0], (plan, action))

        keys = jax.random.split(key, rows)
        plan, action = jax.vmap(one)(keys, memory, timestep)
        return memory.replace(plan=plan, action=action), action, {}

    def adapt(self, model: Params, recent: Recent) -> Params:
        """`params["model"]` adapted to one row's memory; as it is until M transitions
        of the episode are there."""
        M = self.config.fit.window
        weight = jnp.full(M, recent.count >= M).astype(jnp.float32)
        return meta_fit.adapt(
            self.model, self.config.fit, model, recent.x, recent.y, weight
        )

    def remember(self, fresh: Recent, carry: Recent, timestep: TimeStep) -> Recent:
        """The memory with the transition that ends in `timestep`; afresh where an
        episode begins."""
        seen = timestep.observation.astype(jnp.float32)
        x, y = ensemble_data.pairs(
            self.model, carry.observation, carry.action, seen, timestep.reward
        )
        newer = lambda old, new: jnp.concatenate([old[:, 1:], new[:, None]], 1)
        longer = carry.replace(
            x=newer(carry.x, x), y=newer(carry.y, y), count=carry.count + 1
        )
        memory = where_rows(timestep.is_first, fresh, longer)
        return memory.replace(observation=seen)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """None: everything is learned in `fit`.

        Raises:
          UserError: a replay in which no window fits.
        """
        meta_fit.require_room(self.config.fit, schedule.replay // schedule.envs)
        return {}

    def fit(self, state: State, key: Key, dataset: Dataset) -> tuple[State, Metrics]:
        """Meta-train the network on everything collected so far.

        Raises:
          UserError: a buffer in which no window fits.
        """
        model, optimizer, metrics = meta_fit.fit(
            self.model,
            self.config.fit,
            state.params["model"],
            state.optimizer,
            key,
            dataset,
        )
        return State({**state.params, "model": model}, optimizer), metrics
