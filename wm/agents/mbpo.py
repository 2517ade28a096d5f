"""MBPO: soft actor-critic on short rollouts of an ensemble, begun in real states.

Janner, Fu, Zhang & Levine 2019, Algorithm 2; details from the authors' code
(jannerm/mbpo ac694ff). Every `schedule.fit_steps` steps the ensemble is fitted, with
early stopping, and rollouts of the length that the schedule says are added to a pool;
in between, updates of SAC draw mostly from the pool.

Differs: members move rollouts in equal shares, dealt out anew in each step (the
authors: an independent draw per row; the same for each row). Rollouts stop where a
prediction is no number. How far the length has come is counted in stored steps, so
replay must hold the run, as the presets have it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from wm.behaviors.soft_learner import SoftActorCritic, SoftConfig, SoftState
from wm.data import pool
from wm.data.pool import Pool
from wm.data.replay import Replay
from wm.errors import UserError
from wm.models import ensemble_data, ensemble_fit
from wm.models.ensemble import BROKEN, Ensemble, EnsembleConfig, Particles
from wm.models.ensemble_fit import FitConfig
from wm.nodes import Node
from wm.ops.trees import Transition, transitions
from wm.types import (
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

LAYERS = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
"""Weight decay per layer (MBPO, code)."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of MBPO. Defaults: Janner et al. 2019, code."""

    model: EnsembleConfig = dataclasses.field(
        default_factory=lambda: EnsembleConfig(
            members=7,
            elites=5,
            layers=4,
            units=200,
            particles=1,
            propagation="ts1",
            learn_reward=True,
        )
    )
    """The ensemble; rollouts move one particle per row by `ts1`."""
    fit: FitConfig = dataclasses.field(
        default_factory=lambda: FitConfig(
            batch_size=256, epochs=500, weight_decay=LAYERS, holdout=0.2, patience=5
        )
    )
    """How it is fitted."""
    sac: SoftConfig = dataclasses.field(default_factory=SoftConfig)
    """The learner of the policy."""
    batch_size: int = 256
    """Transitions of an update, real and imagined (256)."""
    real_ratio: float = 0.05
    """Share of real transitions in a batch, rounded down (0.05)."""
    rollouts: int = 100_000
    """Rollouts begun after every fit (100,000; 400 per environment step)."""
    length: tuple[int, int, int, int] = (20, 150, 1, 1)
    """Rollouts grow from the third to the fourth of these between the first and the
    second, which are epochs (per task; Hopper 20, 150, 1, 15)."""
    epoch_steps: int = 1_000
    """Environment steps of an epoch (1000)."""
    retain_fits: int = 4
    """Fits whose rollouts stay in the pool (those of one epoch: 4; Humanoid 5)."""

    def __post_init__(self):
        if not 0 <= self.real_ratio <= 1:
            raise UserError(
                f"--agent.real_ratio must be in [0, 1], got {self.real_ratio}"
            )
        for name in ("batch_size", "rollouts", "epoch_steps", "retain_fits"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"--agent.{name} must be at least 1, got {getattr(self, name)}"
                )
        begin, end, low, high = self.length
        if not (begin < end and 1 <= low <= high):
            raise UserError(
                "--agent.length must be epochs in order, then lengths of at least 1 in "
                f"order, got {self.length}"
            )
        if self.model.particles != 1 or not self.model.learn_reward:
            raise UserError(
                "--agent.model.particles must be 1 and --agent.model.learn_reward true"
            )


class State(Node):
    """All that persists."""

    model: Tree
    """See `Ensemble`."""
    optimizer: Tree
    """Of the ensemble."""
    learner: SoftState
    pool: Pool
    """Of imagined transitions."""

    @property
    def params(self) -> Params:
        """`{"model": …, "policy": actor}`."""
        return {"model": self.model, "policy": self.learner.actor}


class MBPO:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For one vector of observations and continuous actions.

        Raises:
          UserError: other spaces.
        """
        self.spec, self.config = spec, config or Config()
        self.model = Ensemble(spec, self.config.model)
        self.learner = SoftActorCritic(spec, self.config.sac)

    def init(self, key: Key) -> State:
        """Untrained networks, an empty pool."""
        key_model, key_learner = jax.random.split(key)
        model = self.model.init(key_model)["model"]
        learned = ensemble_fit.learned_part(model)
        learner = self.learner.init(key_learner)
        config = self.config
        capacity = config.retain_fits * config.rollouts * config.length[3]
        return State(
            model=model,
            optimizer=ensemble_fit.optimizer(config.fit).init(learned),
            learner=learner,
            pool=pool.empty(self.example(), capacity),
        )

    def actor(self, state: State) -> Tree:
        """The actor's net."""
        return state.learner.actor

    def start(self, actor: Tree, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, actor: Tree, key: Key, carry: tuple, timestep: TimeStep, mode: Mode
    ) -> tuple[tuple, jax.Array, dict]:
        """A sample; tanh of the mean in `eval`, uniform in `prefill`."""
        action = self.learner.act(actor, key, timestep.observation, mode)
        return carry, action, {}

    def buffer(self, schedule: Any) -> Replay:
        """Uniform replay.

        Raises:
          UserError: it cannot hold the steps by which rollouts lengthen.
        """
        _, end, low, high = self.config.length
        grown = min(schedule.total, end * self.config.epoch_steps)
        if low < high and schedule.replay < grown:
            raise UserError(
                f"--train.replay must be at least {grown}: rollouts lengthen with the "
                f"steps that it holds (--agent.length), got {schedule.replay}"
            )
        return Replay(schedule.replay, 2, newest_first=False)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """The real part of a batch, if there is one."""
        real = self.real
        return {"replay": (real, 2)} if real else {}

    @property
    def real(self) -> int:
        """Real transitions of a batch."""
        return int(self.config.real_ratio * self.config.batch_size)

    def fit(self, state: State, key: Key, dataset: Dataset) -> tuple[State, Metrics]:
        """Fit the ensemble to everything real, then roll it out from there."""
        key_fit, key_start, key_roll = jax.random.split(key, 3)
        data = ensemble_data.data_of(self.model, dataset)
        model, optimizer, metrics = ensemble_fit.fit(
            self.model,
            self.config.fit,
            state.model,
            state.optimizer,
            key_fit,
            data,
        )
        pick = jax.random.randint(
            key_start, (self.config.rollouts,), 0, jnp.maximum(data.count, 1)
        )
        real = dataset.steps.timestep.observation.reshape(-1, self.model.size)
        starts = real[data.order[pick]].astype(jnp.float32)
        state = state.replace(model=model, optimizer=optimizer)
        length = self.length(dataset.size)
        imagined = self.imagine(state, key_roll, starts, length)
        metrics |= {
            "model/rollout_length": length.astype(jnp.float32),
            "model/pool": imagined.held.astype(jnp.float32),
        }
        return state.replace(pool=imagined), metrics

    def length(self, steps: jax.Array) -> jax.Array:
        """Steps of a rollout after so many real ones, i32."""
        begin, end, low, high = self.config.length
        epoch = (steps // self.config.epoch_steps).astype(jnp.float32)
        share = jnp.clip((epoch - begin) / (end - begin), 0.0, 1.0)
        return (low + (high - low) * share).astype(jnp.int32)

    def imagine(
        self, state: State, key: Key, starts: jax.Array, length: jax.Array
    ) -> Pool:
        """The pool after rollouts of `length` from `starts` f32 `[M, D]`.

        A loop of as many turns as the rollouts are long: all lengths share a program,
        and short ones do not pay for long ones.
        """
        config = self.config
        begun = Particles(starts[:, None], jnp.ones((config.rollouts, 1)))
        size = config.retain_fits * config.rollouts * length
        ready = pool.resized(state.pool, size)

        def step(carry):
            turn, particles, filled = carry
            key_act, key_model = jax.random.split(jax.random.fold_in(key, turn))
            here, alive = particles.observation[:, 0], particles.alive[:, 0]
            action = self.learner.act(state.learner.actor, key_act, here, "train")
            particles, earned = self.model.step(
                state.params, key_model, particles, action
            )
            row = Transition(
                observation=here,
                action=action,
                reward=earned.reward,
                discount=earned.discount,
                next_observation=particles.observation[:, 0],
                next_is_last=earned.discount == 0,
                mask=jnp.ones_like(alive, bool),
                extras={},
            )
            valid = (alive > 0) & (earned.reward > 0.5 * BROKEN)
            return turn + 1, particles, pool.add(filled, row, valid)

        carry = (jnp.zeros((), jnp.int32), begun, ready)
        return jax.lax.while_loop(lambda carry: carry[0] < length, step, carry)[2]

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step of SAC on real and imagined transitions together."""
        parts = []
        if "replay" in batches:
            real = jax.tree.map(lambda x: x[:, 0], transitions(batches["replay"]))
            parts.append(real._replace(extras={}))
        imagined = self.config.batch_size - self.real
        if imagined:
            key, key_pool = jax.random.split(key)
            parts.append(pool.sample(state.pool, key_pool, imagined))
        step = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
        learner, metrics = self.learner.update(state.learner, key, step)
        return state.replace(learner=learner), {}, metrics

    def example(self) -> Transition:
        """The form of a transition in the pool, leaves `[1, …]`."""
        vector = jnp.zeros((1, self.model.size))
        number, flag = jnp.zeros(1), jnp.zeros(1, bool)
        return Transition(
            observation=vector,
            action=jnp.zeros((1, *self.spec.action.shape)),
            reward=number,
            discount=number,
            next_observation=vector,
            next_is_last=flag,
            mask=flag,
            extras={},
        )
