"""MB-MPO: a policy that one step adapts to each model of an ensemble.

Clavera, Rothfuss, Schulman, Fujita, Asfour & Abbeel 2018, Algorithm 2; details from the
authors' code (jonasrothfuss/model_ensemble_meta_learning 8b1351d). Random steps, then:
fit an ensemble of deterministic networks to everything; `steps` times imagine rollouts
in every model, adapt the policy to each by one step of the policy gradient, imagine
again with the adapted policies, and improve the shared one through the adaptation;
collect with the adapted policies, repeat. With `inner_rate` 0 it is a policy gradient
in an ensemble (ME-TRPO, here ME-PPO). Rewards are known (`EnvSpec.reward_fn`) or
learned.

Differs: PPO in place of TRPO, as in the authors' own `mb-mpo-ppo-train.py`, without its
penalties of the divergence. Networks without weight normalisation. Members train on
bootstraps of one split (authors: shuffles and splits of their own). Imagined
observations stay within the range of the data (authors' code: ±1000; rewards of a
step are those before the cut). Rollouts begin where real episodes began. Evaluations
play the mean of the shared policy.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.behaviors import meta_gradient, stochastic
from wm.behaviors.meta_gradient import Samples
from wm.errors import UserError
from wm.imagine import imagine
from wm.models import ensemble_data, ensemble_fit
from wm.models.ensemble import BROKEN, Ensemble, EnsembleConfig, Particles
from wm.models.ensemble_fit import FitConfig
from wm.nets.tower import TowerConfig, example
from wm.nodes import Node
from wm.types import Dataset, EnvSpec, Key, Metrics, Mode, Params, TimeStep, Tree

FAR = 1000.0
"""Observations are kept within this until there are data (authors' code: always)."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of MB-MPO. Defaults: Clavera et al. 2018, code."""

    model: EnsembleConfig = dataclasses.field(
        default_factory=lambda: EnsembleConfig(
            members=5,
            layers=2,
            units=512,
            act="relu",
            gaussian=False,
            particles=5,
            normalize_targets=True,
        )
    )
    """The ensemble, deterministic."""
    fit: FitConfig = dataclasses.field(
        default_factory=lambda: FitConfig(
            batch_size=500,
            epochs=500,
            holdout=0.2,
            holdout_rows=20_000,
            persistency=0.99,
        )
    )
    """How it is fitted."""
    policy: TowerConfig = dataclasses.field(
        default_factory=lambda: TowerConfig(layers=(32, 32))
    )
    """The policy's mean (32, 32, tanh)."""
    log_std: float = 0.0
    """Initial log deviation of actions (0)."""
    inner_rate: float = 1e-3
    """Size of the step that adapts (1e-3); 0: none."""
    learning_rate: float = 1e-3
    """Of Adam, for the shared policy (1e-3, `mb-mpo-ppo-train.py`)."""
    epochs: int = 8
    """Steps of Adam on the same rollouts (8)."""
    clip: float = 0.5
    """Ratios beyond 1 ± this earn nothing more (0.5 or 0.7)."""
    steps: int = 30
    """Improvements of the shared policy per fit, each on rollouts of its own (30)."""
    tasks: int = 4
    """Adapted policies per model (4)."""
    paths: int = 50
    """Rollouts per task, before and after adaptation each (50)."""
    length: int = 200
    """Imagined steps of a rollout (200)."""
    gamma: float = 0.99
    """Discount per step (0.99)."""
    starts: Literal["first", "all"] = "first"
    """Where rollouts begin: where episodes did, or in any real observation."""

    def __post_init__(self):
        for name in ("epochs", "steps", "tasks", "paths", "length"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"--agent.{name} must be at least 1, got {getattr(self, name)}"
                )
        for name in ("inner_rate", "learning_rate", "clip"):
            if not getattr(self, name) >= 0:
                raise UserError(
                    f"--agent.{name} must be at least 0, got {getattr(self, name)}"
                )
        if not 0 < self.gamma <= 1:
            raise UserError(f"--agent.gamma must be in (0, 1], got {self.gamma}")
        if self.model.gaussian:
            raise UserError("--agent.model.gaussian must be false")


class State(Node):
    """All that persists."""

    model: Tree
    """See `Ensemble`; and the range of the data, `low` and `high` f32 `[D]`."""
    optimizer: Tree
    """Of the ensemble; outlives fits."""
    policy: Tree
    """Shared by all models."""
    adapted: Tree
    """Policies that collect, leaves `[K, …]`; the k-th to model k modulo E."""
    descent: Tree
    """Adam's state, of the shared policy."""

    @property
    def params(self) -> Params:
        """`{"model": …, "policy": the shared one}`."""
        return {"model": self.model, "policy": self.policy}


class Within(NamedTuple):
    """A model whose observations are cut to `params["model"]`'s `low` and `high`."""

    model: Ensemble

    def step(self, params: Params, key: Key, state: Particles, action: jax.Array):
        """The model's own, then the cut."""
        state, prediction = self.model.step(params, key, state, action)
        low, high = params["model"]["low"], params["model"]["high"]
        observation = jnp.clip(state.observation, low, high)
        return state.replace(observation=observation), prediction


class MBMPO:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For one vector of observations and continuous actions.

        Raises:
          UserError: other spaces, or no known reward.
        """
        self.spec, self.config = spec, config or Config()
        self.model = Ensemble(spec, self.config.model)
        one = {"members": 1, "particles": 1, "elites": None}
        single = dataclasses.replace(self.config.model, **one)
        self.member: Any = Within(Ensemble(spec, single))
        cfg = self.config
        self.policy = stochastic.actor(cfg.policy, spec.action, log_std=cfg.log_std)
        self.descent = optax.adam(cfg.learning_rate)
        self.count = cfg.model.members * cfg.tasks

    def init(self, key: Key) -> State:
        """Untrained networks; every policy that collects is the shared one."""
        key_model, key_policy = jax.random.split(key)
        model = self.model.init(key_model)["model"]
        learned = ensemble_fit.learned_part(model)
        policy = self.policy.init(key_policy, example(self.spec.observation))
        far = jnp.full(self.model.size, FAR)
        return State(
            model={**model, "low": -far, "high": far},
            optimizer=ensemble_fit.optimizer(self.config.fit).init(learned),
            policy=policy,
            adapted=self.copies(policy),
            descent=self.descent.init(policy),
        )

    def copies(self, policy: Tree) -> Tree:
        """The same for every task, leaves `[K, …]`."""
        return jax.tree.map(lambda x: jnp.repeat(x[None], self.count, 0), policy)

    def actor(self, state: State) -> Tree:
        """The shared policy and the adapted ones."""
        return state.policy, state.adapted

    def start(self, actor: Tree, batch: int) -> tuple:
        """Nothing is remembered."""
        return ()

    def act(
        self, actor: Tree, key: Key, carry: tuple, timestep: TimeStep, mode: Mode
    ) -> tuple[tuple, jax.Array, dict[str, Tree]]:
        """Row b samples from adapted policy b modulo K; in `eval` the mean of the
        shared policy, in `prefill` uniform actions."""
        seen = timestep.observation.astype(jnp.float32)
        rows = seen.shape[0]
        if mode == "prefill":
            shape = (rows, *self.spec.action.shape)
            return carry, jax.random.uniform(key, shape, minval=-1.0, maxval=1.0), {}
        shared, adapted = actor
        if mode == "eval":
            drawn = meta_gradient.policy(self.policy, shared, seen)
        else:
            mine = jax.tree.map(lambda x: x[jnp.arange(rows) % self.count], adapted)
            one = lambda params, x: meta_gradient.policy(self.policy, params, x)
            drawn = jax.vmap(one)(mine, seen)
        # Clipped as the environment and imagination do it: models learn from these.
        return carry, jnp.clip(self.policy.act(drawn, key, mode)[0], -1.0, 1.0), {}

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """None: everything is learned in `fit`."""
        return {}

    def fit(self, state: State, key: Key, dataset: Dataset) -> tuple[State, Metrics]:
        """Fit the models to everything real, then improve the policy in them."""
        key_fit, key_improve, key_adapt = jax.random.split(key, 3)
        data = ensemble_data.data_of(self.model, dataset)
        model, optimizer, metrics = ensemble_fit.fit(
            *(self.model, self.config.fit, state.model, state.optimizer),
            *(key_fit, data),
        )
        seen = dataset.steps.timestep.observation.astype(jnp.float32)
        seen, there = seen.reshape(-1, self.model.size), dataset.mask.reshape(-1, 1)
        low = jnp.where(there, seen, jnp.inf).min(0)
        high = jnp.where(there, seen, -jnp.inf).max(0)
        some = data.count > 0
        model["low"] = jnp.where(some, low, model["low"])
        model["high"] = jnp.where(some, high, model["high"])
        state = state.replace(model=model, optimizer=optimizer)

        starts = self.beginnings(dataset)
        improve = lambda state, key: self.improve(state, key, starts)
        keys = jax.random.split(key_improve, self.config.steps)
        state, more = jax.lax.scan(improve, state, keys)
        before, _ = self.rollouts(model, self.copies(state.policy), key_adapt, starts)
        metrics |= {name: value[-1] for name, value in more.items()}
        return state.replace(adapted=self.adapt(state.policy, before)), metrics

    def beginnings(self, dataset: Dataset) -> tuple[jax.Array, jax.Array]:
        """Observations `[N, D]` where rollouts begin, and how many of the first
        count."""
        timestep, chosen = dataset.steps.timestep, dataset.mask
        if self.config.starts == "first":
            first = chosen & timestep.is_first
            chosen = jnp.where(first.any(), first, chosen)
        order = jnp.argsort(~chosen.reshape(-1), stable=True)
        seen = timestep.observation.astype(jnp.float32).reshape(-1, self.model.size)
        return seen[order], chosen.sum(dtype=jnp.int32)

    def improve(self, state: State, key: Key, starts: tuple) -> tuple[State, Metrics]:
        """Rollouts, adaptation, rollouts, and `epochs` steps through the adaptation."""
        cfg = self.config
        key_before, key_after = jax.random.split(key)
        before, earned = self.rollouts(
            state.model, self.copies(state.policy), key_before, starts
        )
        adapted = self.adapt(state.policy, before)
        after, later = self.rollouts(state.model, adapted, key_after, starts)

        def descend(learner, _):
            policy, descent = learner
            loss, gradient = jax.value_and_grad(
                lambda params: meta_gradient.meta_loss(
                    *(self.policy, params, before, after, cfg.inner_rate, cfg.clip)
                )
            )(policy)
            change, descent = self.descent.update(gradient, descent, policy)
            return (optax.apply_updates(policy, change), descent), loss

        learner = (state.policy, state.descent)
        (policy, descent), loss = jax.lax.scan(descend, learner, None, cfg.epochs)
        metrics = {
            "loss/policy": loss[-1],
            "behavior/return_before": earned,
            "behavior/return_after": later,
        }
        return state.replace(policy=policy, descent=descent), metrics

    def adapt(self, policy: Tree, before: Samples) -> Tree:
        """The policy adapted to every task, leaves `[K, …]`."""
        one = lambda samples: meta_gradient.adapt(
            self.policy, policy, samples, self.config.inner_rate
        )
        return jax.vmap(one)(before)

    def rollouts(
        self, model: Params, policies: Tree, key: Key, starts: tuple
    ) -> tuple[Samples, jax.Array]:
        """Rollouts of policy k `[K, …]` in model k modulo E, leaves `[K, T, B, …]`, and
        the mean sum of their rewards."""
        cfg = self.config
        members = jnp.arange(self.count) % cfg.model.members
        nets = jax.tree.map(lambda w: w[members][:, None], model["nets"])
        playing: Any = meta_gradient.Playing(self.policy)

        def one(nets, policy, key):
            key_start, key_roll = jax.random.split(key)
            seen, count = starts
            pick = jax.random.randint(key_start, (cfg.paths,), 0, jnp.maximum(count, 1))
            begun = Particles(seen[pick][:, None], jnp.ones((cfg.paths, 1)))
            params = {"model": {**model, "nets": nets}, "policy": policy}
            _, _, rolled = imagine(
                *(self.member, playing, params, key_roll, begun, ()),
                cfg.length,
            )
            seen = rolled.state.observation[:, :, 0]
            mask = (rolled.state.alive[:, :, 0] > 0) & (rolled.reward > 0.5 * BROKEN)
            mask = mask.astype(jnp.float32)
            advantage = meta_gradient.advantages(
                seen, rolled.reward, rolled.discount, mask, cfg.gamma
            )
            total = (mask * rolled.reward).sum(0).mean()
            log_prob = rolled.extras["log_prob"]
            return Samples(seen, rolled.action, log_prob, advantage, mask), total

        keys = jax.random.split(key, self.count)
        samples, total = jax.vmap(one)(nets, policies, keys)
        return jax.lax.stop_gradient(samples), total.mean()
