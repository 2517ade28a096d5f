"""MB-MF: plans in one network, clones the planner, and goes on without a model.

Nagabandi, Kahn, Fearing & Levine 2018 (ICRA), Algorithm 1 and section V; details from
the authors' code (nagaban2/nn_dynamics b76a62f). A run has four stages, counted in
rounds, a round being what happens between two calls of `fit`
(`--train.fit_steps`: one rollout of every environment):

1. `aggregation`: model predictive control in a network that is fitted to random and
   on-policy data, before each iteration;
2. `demonstrations`: the same controller, no longer fitted;
3. `dagger`: a policy, fitted to what the controller did, acts; the controller says
   what it would have done, and the policy is fitted again;
4. model-free learning from that policy, for the rest of the run.

Differs: PPO in place of TRPO, with a learned critic (theirs: linear in features of the
observation, fitted anew to every batch). The policy is also fitted after the last
rollouts of DAgger, and every pass sees all data (theirs: as many steps as there were
before DAgger). The policy sees angles as the network does. No rollouts are set aside
for validation, none is left out for its low return. The action stored is the one played
(theirs: the one before noise); DAgger's policy plays without noise.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from wm.agents.mb_mf_config import (
    CONTROL,
    DAGGER,
    DEMONSTRATE,
    FREE,
    RANDOM,
    Config,
    timetable,
)
from wm.behaviors import imitation, on_policy, ppo
from wm.behaviors.on_policy import OnPolicy
from wm.data.replay import Replay
from wm.data.rollout import Rollout
from wm.data.twofold import Twofold
from wm.errors import UserError
from wm.imagine import act_in
from wm.models import ensemble_data, ensemble_fit, mixed_fit
from wm.models.ensemble import Ensemble
from wm.models.ensemble_fit import FitConfig
from wm.nodes import Node
from wm.ops.trees import where_rows
from wm.planners.choice import planner
from wm.types import (
    ArraySpec,
    Batch,
    Dataset,
    EnvSpec,
    Feedback,
    Key,
    Metrics,
    Mode,
    Params,
    TimeStep,
    Tree,
)

FITS = ("model/loss", "model/new_share", "behavior/imitation_loss")
"""Names of what fits report."""


class State(Node):
    """All that persists."""

    model: Tree
    """See `Ensemble`; `stats` are those of the random data."""
    model_optimizer: Tree
    learner: on_policy.State
    """Of the policy and PPO."""
    imitation_optimizer: Tree
    rounds: jax.Array
    """i32: calls of `fit` so far."""
    learned: jax.Array
    """i32: number of the first step of a row that PPO has not learned from."""
    metrics: Metrics
    """What each kind of learning said last; 0 before."""

    @property
    def params(self) -> Params:
        """`{"model": …, "policy": actor and critic}`."""
        return {"model": self.model, "policy": self.learner.params}


class MBMF:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For one vector of observations and continuous actions.

        Raises:
          UserError: other spaces, or no known reward.
        """
        self.spec, self.config = spec, config or Config()
        self.model = Ensemble(spec, self.config.model)
        plans = planner(self.config.planner, self.config.plan, self.model)
        self.controller = act_in(self.model, plans)
        seen = ArraySpec((self.model.inputs - spec.action.shape[0],))
        self.nets = OnPolicy(
            dataclasses.replace(spec, observation=seen), self.config.ppo
        )
        self.ppo = ppo.PPO(self.nets, self.config.ppo)
        self.timetable = timetable(self.config)

    def init(self, key: Key) -> State:
        """Untrained networks, before the first round."""
        key_model, key_policy = jax.random.split(key)
        model = self.model.init(key_model)["model"]
        learned = ensemble_fit.learned_part(model)
        learner = self.nets.init(key_policy)
        zero = jnp.zeros((), jnp.int32)
        return State(
            model=model,
            model_optimizer=ensemble_fit.optimizer(FitConfig()).init(learned),
            learner=learner,
            imitation_optimizer=imitation.optimizer(self.config.imitation).init(
                learner.params
            ),
            rounds=zero,
            learned=zero,
            metrics={name: jnp.zeros(()) for name in (*FITS, *ppo.METRICS)},
        )

    def stage(self, rounds: jax.Array) -> jax.Array:
        """i32: who acts after so many calls of `fit`."""
        stages = jnp.array([round.stage for round in self.timetable], jnp.int32)
        return stages[jnp.clip(rounds - 1, 0, len(self.timetable) - 1)]

    def actor(self, state: State) -> Tree:
        """The network, the policy, and who acts."""
        return {
            "model": state.model,
            "policy": self.nets.acting(state.learner),
            "stage": self.stage(state.rounds),
        }

    def start(self, actor: Tree, batch: int) -> Tree:
        """Fresh (model state, previous action, plan)."""
        return self.controller.start(actor, batch)

    def act(
        self, actor: Tree, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, Tree]]:
        """As the stage says; uniform in `prefill`. Every step also stores who acted and
        what the controller would have done.

        The controller plans only where it is asked. Seeds in one program (`vmap`) are
        slower: there it plans at every step.
        """
        key_plan, key_policy = jax.random.split(key)
        rows = timestep.reward.shape[0]
        if mode == "prefill":
            shape = (rows, *self.spec.action.shape)
            action = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
            nobody = jnp.asarray(RANDOM, jnp.int32)
            return carry, action, stored(action, jnp.zeros(rows), nobody)
        stage = actor["stage"]
        asked = stage <= (DEMONSTRATE if mode == "eval" else DAGGER)
        # A label must follow from the state alone, and a plan that was made for what
        # the policy then did not do is of no use: in DAgger nothing is remembered.
        fresh = self.controller.start(actor, rows)
        carry = where_rows(jnp.broadcast_to(stage == DAGGER, rows), fresh, carry)
        plan = lambda carry: self.controller.act(actor, key_plan, carry, timestep)[:2]
        carry, expert = jax.lax.cond(
            asked, plan, lambda carry: (carry, jnp.zeros_like(carry[1])), carry
        )
        played = expert
        if mode == "train":
            noise = jax.random.normal(key_policy, expert.shape)
            noise *= self.config.action_noise * (stage == CONTROL)
            played = jnp.clip(expert + noise, -1.0, 1.0)
        read = timestep._replace(observation=self.seen(timestep.observation))
        mean, _ = self.nets.act(actor["policy"], key_policy, read, "eval")
        drawn, said = self.nets.act(actor["policy"], key_policy, read, mode)
        own = jnp.where(stage == DAGGER, mean, drawn)
        action = jnp.where(stage <= DEMONSTRATE, played, own)
        return carry, action, stored(expert, said["log_prob"], stage)

    def buffer(self, schedule: Any) -> Twofold:
        """Everything until PPO, and the newest steps.

        Raises:
          UserError: no rounds, a window that chunks do not fill, or too little room.
        """
        chunk, window = schedule.chunk_updates()[0], self.config.window
        if schedule.fit_steps is None:
            raise UserError("--train.fit_steps must say how long a round is")
        if window % chunk:
            raise UserError(
                f"--agent.window must be a multiple of --train.chunk {chunk}, got "
                f"{window}"
            )
        steps = chunk * schedule.envs
        whole = lambda count: -(-count // steps) * steps
        rounds = len(self.timetable) - 2
        need = whole(schedule.prefill) + rounds * whole(schedule.fit_steps)
        if schedule.replay < need:
            raise UserError(
                f"--train.replay must hold the {need:,} steps before PPO learns alone, "
                f"got {schedule.replay:,}"
            )
        return Twofold(Replay(schedule.replay, 1, newest_first=False), Rollout(window))

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """The window, of which an update says itself whether it is full.

        Raises:
          UserError: several updates per chunk, or minibatches of unequal size.
        """
        on_policy.newest(schedule)
        rows, window = schedule.envs, self.config.window
        sizes, option = "--train.envs x --agent.window", "--agent.ppo.minibatches"
        ppo.check_parts(self.config.ppo, rows * window, sizes, option)
        return {"newest": (rows, window + 1)}

    def fit(self, state: State, key: Key, dataset: Dataset) -> tuple[State, Metrics]:
        """Begin a round: fit what the timetable says, if anything."""
        fits = jnp.array([round.fits for round in self.timetable], jnp.int32)
        due = fits[jnp.minimum(state.rounds, len(self.timetable) - 1)]
        kinds = (lambda state, key, dataset: state, self.fit_model, self.fit_policy)
        state = jax.lax.switch(due, kinds, state, key, dataset)
        state = state.replace(rounds=state.rounds + 1)
        shown = {name: state.metrics[name] for name in FITS}
        return state, shown | {"behavior/stage": self.stage(state.rounds)}

    def fit_model(self, state: State, key: Key, dataset: Dataset) -> State:
        """Fit the network to random and on-policy transitions, in their shares."""
        stage = dataset.steps.extras["stage"]
        among = lambda who: ensemble_data.data_of(
            self.model, dataset._replace(mask=dataset.mask & (stage == who))
        )
        model, optimizer, metrics = mixed_fit.fit(
            self.model,
            self.config.fit,
            state.model,
            state.model_optimizer,
            key,
            among(RANDOM),
            among(CONTROL),
            first=state.rounds == 0,
        )
        return state.replace(
            model=model, model_optimizer=optimizer, metrics=state.metrics | metrics
        )

    def fit_policy(self, state: State, key: Key, dataset: Dataset) -> State:
        """Fit the policy to what the controller did, or would have done."""
        stage = dataset.steps.extras["stage"]
        params, optimizer, metrics = imitation.fit(
            self.config.imitation,
            self.mean,
            state.learner.params,
            state.imitation_optimizer,
            key,
            imitation.demonstrations(
                dataset, (stage == DEMONSTRATE) | (stage == DAGGER)
            ),
        )
        return state.replace(
            learner=state.learner.replace(params=params),
            imitation_optimizer=optimizer,
            metrics=state.metrics | metrics,
        )

    def seen(self, observation: jax.Array) -> jax.Array:
        """What the policy sees: angles as sine and cosine, as the network does."""
        nothing = jnp.zeros((*observation.shape[:-1], 0))
        return self.model.features(observation.astype(jnp.float32), nothing)

    def mean(self, params: Tree, observation: Tree) -> jax.Array:
        """What the policy does without noise, `[B, F]`."""
        seen = self.nets.scaled(None, self.seen(observation))
        return jnp.asarray(self.nets.policy(params, seen, None).mode())

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """An update of PPO, once the window holds nothing but new steps of its own."""
        batch = batches["newest"]
        timestep = batch.timestep
        batch = batch._replace(
            timestep=timestep._replace(observation=self.seen(timestep.observation))
        )
        begin, end = batch.index.time[0, 0], batch.index.time[0, -1]
        own = (batch.extras["stage"][:, :-1] == FREE).all()

        def learn(state: State) -> State:
            learner, metrics = self.ppo.update(state.learner, key, batch)
            metrics = state.metrics | metrics
            return state.replace(learner=learner, learned=end, metrics=metrics)

        due = own & (begin >= state.learned)
        state = jax.lax.cond(due, learn, lambda state: state, state)
        return state, {}, {name: state.metrics[name] for name in ppo.METRICS}


def stored(expert: jax.Array, log_prob: jax.Array, stage: jax.Array) -> dict[str, Tree]:
    """`extras` of a step: what the controller would do, the log density of what the
    policy did, and who acted."""
    who = jnp.broadcast_to(stage, log_prob.shape)
    return {"expert": expert, "log_prob": log_prob, "stage": who}
