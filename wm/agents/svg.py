"""SVG: a stochastic policy by gradients along real trajectories.

Heess, Wayne, Silver, Lillicrap, Tassa & Erez 2015. A learned model says how the next
state changes with state and action, and nothing else: what happened is replayed with
the noise of policy and model inferred from it, so that every state is a real one.
`horizon` steps of that chain are closed by a critic:

- 0: SVG(0), ∇Q(s, π(s, η)) on transitions from replay, no model;
- H: SVG(H), rewards of H steps, then V, on sequences from replay; 1 is SVG(1)-ER;
- none: SVG(∞), Algorithm 1: all of the newest trajectories, no critic; the model learns
  from every transition so far.

Off the newest data a sequence counts by how much more likely its actions are now than
they were, truncated; the same factor weighs the errors of V.

Differs: the ensemble is fitted every `schedule.fit_steps` steps (theirs: at every step;
here so only for SVG(∞), before every step of the policy), on a bootstrap of the data.
In a window longer than an episode every trajectory counts; one that the window or a
time limit cuts is closed by V if H is finite, and else ends there. Values of sizes and
rates are ours: the paper's were not at hand.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from wm.agents.svg_config import Config
from wm.behaviors import on_policy, stochastic, value_gradient
from wm.behaviors.policy_gradient import masked_mean, value_loss
from wm.behaviors.value_gradient import Reparameterised
from wm.data import pool
from wm.data.pool import Pool
from wm.data.replay import Replay
from wm.data.rollout import Rollout
from wm.errors import UserError
from wm.models import ensemble_data, ensemble_fit
from wm.models.anchored import anchored, replayed
from wm.models.ensemble import Ensemble
from wm.models.ensemble_data import Data
from wm.nets.tower import example, inputs, tower
from wm.nodes import Node
from wm.ops import optimizers
from wm.ops.trees import Transition, flatten_batch, swap_time, transitions
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


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": …, "policy": actor}`; no model with horizon 0."""
    critic: Tree
    """Q with horizon 0, else V; `{}` without a horizon."""
    target: Tree
    """Its copy."""
    optimizers: dict[str, Tree]
    """Of policy, critic and model, where there are any."""
    pool: Pool | None
    """What the model learns from, without a horizon."""
    updates: jax.Array
    """i32."""


class SVG:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For one vector of observations (with horizon 0 any) and continuous actions.

        Raises:
          UserError: other spaces, or no known reward.
        """
        self.spec, self.config = spec, config = spec, config or Config()
        if spec.action.discrete or spec.players > 1:
            raise UserError(f"{spec.name}: svg needs one player, continuous actions")
        bounds = config.log_std_low, config.log_std_high
        self.net = stochastic.actor(
            config,
            spec.action,
            config.form,
            stochastic.rescaled_std(*bounds),
            outscale=0.1,
            log_std=config.log_std_high,
        )
        self.critic = None if config.horizon is None else tower(config, out=1)
        self.model = Ensemble(spec, config.model) if config.horizon != 0 else None
        if self.model is not None:
            self.chain = anchored(self.model)
        self.policy = Reparameterised(
            self.net, lambda state: self.read(state.observation[:, 0])
        )
        clip = config.max_norm
        clipped = optax.clip_by_global_norm(clip) if clip else optax.identity()
        self.descent = {
            "policy": optax.chain(clipped, optax.adam(config.policy_rate)),
            "critic": optax.adam(config.critic_rate),
            "model": ensemble_fit.optimizer(config.fit),
        }

    def init(self, key: Key) -> State:
        """Fresh nets, nothing seen."""
        key_policy, key_critic, key_model = jax.random.split(key, 3)
        config, x = self.config, example(self.spec.observation)
        params: dict[str, Any] = {"policy": self.net.init(key_policy, x)}
        learned, critic, seen = {"policy": params["policy"]}, {}, None
        if self.critic is not None:
            action = jax.ShapeDtypeStruct((1, *self.spec.action.shape), jnp.float32)
            more = (action,) if config.horizon == 0 else ()
            critic = learned["critic"] = self.critic.init(key_critic, x, *more)
        if self.model is not None:
            params["model"] = self.model.init(key_model)["model"]
            learned["model"] = ensemble_fit.learned_part(params["model"])
            if config.horizon is None:
                sizes = (1, self.model.inputs), (1, self.model.outputs)
                seen = pool.empty(tuple(map(jnp.zeros, sizes)), config.database)
        return State(
            params=params,
            critic=critic,
            target=jax.tree.map(jnp.copy, critic),
            optimizers={
                name: self.descent[name].init(x) for name, x in learned.items()
            },
            pool=seen,
            updates=jnp.zeros((), jnp.int32),
        )

    def actor(self, state: State) -> Tree:
        """The policy's net."""
        return state.params["policy"]

    def start(self, actor: Tree, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, actor: Tree, key: Key, carry: tuple, timestep: TimeStep, mode: Mode
    ) -> tuple[tuple, jax.Array, dict]:
        """Sampled actions, in `eval` the mode; `extras` holds their log density."""
        policy = self.net.distribution(actor, self.read(timestep.observation))
        return carry, *self.net.act(policy, key, mode)

    def read(self, observation: Tree) -> Any:
        """What the nets read of observations."""
        return inputs(self.spec.observation, observation)

    def buffer(self, schedule: Any) -> Replay | Rollout:
        """Uniform replay; without a horizon the newest steps."""
        horizon = self.config.horizon
        if horizon is None:
            return on_policy.window(schedule)
        return Replay(schedule.replay, max(horizon, 1) + 1, newest_first=False)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """`batch_size` sequences; without a horizon all that is new.

        Raises:
          UserError: a model that would never be fitted, or fitted twice, or a chunk
            that its pool does not hold.
        """
        horizon = self.config.horizon
        if horizon is None:
            new = schedule.envs * schedule.chunk_updates()[0]
            if new > self.config.database:
                raise UserError(
                    f"--agent.database must be at least {new:,}, the steps of a chunk, "
                    f"got {self.config.database:,}"
                )
            if schedule.fit_steps is not None:
                raise UserError(
                    "--train.fit_steps must be none: without a horizon the model is "
                    "fitted in every update"
                )
            return on_policy.newest(schedule)
        if horizon and schedule.fit_steps is None:
            raise UserError("--train.fit_steps must be set: it fits the model")
        return {"replay": (schedule.batch_size, max(horizon, 1) + 1)}

    def fit(self, state: State, key: Key, dataset: Dataset) -> tuple[State, Metrics]:
        """Fit the model to everything in replay; nothing with horizon 0."""
        if self.model is None:
            return state, {}
        return self.fitted(state, key, ensemble_data.data_of(self.model, dataset))

    def fitted(self, state: State, key: Key, data: Data) -> tuple[State, Metrics]:
        """The state with a model fitted to `data`."""
        assert self.model is not None
        model, descent, metrics = ensemble_fit.fit(
            self.model,
            self.config.fit,
            state.params["model"],
            state.optimizers["model"],
            key,
            data,
        )
        params = {**state.params, "model": model}
        rest = {**state.optimizers, "model": descent}
        return state.replace(params=params, optimizers=rest), metrics

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """The critic, or without a horizon the model; then a step of the policy."""
        key_learn, key_policy = jax.random.split(key)
        [batch] = batches.values()
        step: Transition = swap_time(transitions(batch))
        if self.critic is None:
            state, metrics = self.remember(state, key_learn, step)
        else:
            state, metrics = self.evaluate(state, key_learn, step)

        loss = jax.value_and_grad(self.policy_loss)
        value, gradient = loss(state.params["policy"], state, key_policy, step)
        state, policy = self.descend(state, "policy", gradient, state.params["policy"])
        metrics |= {
            "behavior/value": -value,
            "behavior/weight": masked_mean(self.ratio(state, step), step.mask),
            "loss/policy_gradient": optax.tree.norm(gradient),
        }
        params = {**state.params, "policy": policy}
        return state.replace(params=params, updates=state.updates + 1), {}, metrics

    def remember(self, state: State, key: Key, step: Transition):
        """The state after new transitions entered the pool and the model was fitted."""
        assert self.model is not None
        assert state.pool is not None
        pairs = ensemble_data.pairs(
            self.model,
            step.observation,
            step.action,
            step.next_observation,
            step.reward,
        )
        seen = pool.add(state.pool, flatten_batch(pairs), step.mask.reshape(-1))
        order = jnp.arange(self.config.database, dtype=jnp.int32)
        x, y = seen.rows
        data = Data(x, y, order, seen.held)
        return self.fitted(state.replace(pool=seen), key, data)

    def evaluate(self, state: State, key: Key, step: Transition):
        """The state after a step of the critic towards r + γ·d·(its copy)."""
        value, gradient = jax.value_and_grad(self.critic_loss)(
            state.critic, state, key, step
        )
        state, critic = self.descend(state, "critic", gradient, state.critic)
        target = optimizers.hard_copy(
            state.target, critic, state.updates, self.config.target_updates
        )
        return state.replace(critic=critic, target=target), {"loss/critic": value}

    def descend(self, state: State, name: str, gradient: Tree, params: Tree):
        """The state with the optimizer's, and the parameters, after a step."""
        change, own = self.descent[name].update(
            gradient, state.optimizers[name], params
        )
        rest = {**state.optimizers, name: own}
        return state.replace(optimizers=rest), optax.apply_updates(params, change)

    def critic_loss(self, critic: Tree, state: State, key: Key, step: Transition):
        """Mean over valid transitions; of V weighed by how likely the actions are."""
        assert self.critic is not None
        before, after = self.read(step.observation), self.read(step.next_observation)
        weight = jnp.ones_like(step.reward)
        taken, following = (), ()
        if self.config.horizon == 0:
            policy = self.net.distribution(state.params["policy"], after)
            taken, following = (step.action,), (value_gradient.played(policy, key),)
        else:
            weight = self.ratio(state, step)
        ahead = self.critic.apply(state.target, after, *following)[..., 0]
        goal = step.reward + self.config.gamma * step.discount * ahead
        value = self.critic.apply(critic, before, *taken)[..., 0]
        return masked_mean(weight * value_loss(value, goal), step.mask)

    def ratio(self, state: State, step: Transition) -> jax.Array:
        """Truncated likelihood of each action, now over then, f32 `[T, B]`."""
        policy = self.net.distribution(
            state.params["policy"], self.read(step.observation)
        )
        return value_gradient.truncated(
            self.log_ratio(policy, step), self.config.max_weight
        )

    def log_ratio(self, policy: Any, step: Transition) -> jax.Array:
        """Log likelihood of each action, now less then, f32 `[T, B]`."""
        now = stochastic.log_prob(policy, step.action, step.extras.get("raw"))
        return jax.lax.stop_gradient(now - step.extras["log_prob"])

    def policy_loss(self, policy: Params, state: State, key: Key, step: Transition):
        """Minus the mean return of the chain; its gradient is that of Algorithm 1.

        Args:
          policy: differentiated.
          state: everything else.
          key: of noise that is not inferred.
          step: consecutive transitions `[T, B, …]`.
        """
        config = self.config
        now = self.net.distribution(policy, self.read(step.observation))
        noise = jax.random.normal(key, step.action.shape)
        log_ratio = jnp.zeros_like(step.reward)
        if config.infer_noise:
            noise = value_gradient.infer(now, step.action, step.extras.get("raw"))
            if config.horizon is not None:
                log_ratio = self.log_ratio(now, step)
        if config.horizon == 0:
            assert self.critic is not None
            action = value_gradient.played(now, noise)
            x = self.read(step.observation)
            q = self.critic.apply(state.critic, x, action)[..., 0]
            weight = value_gradient.truncated(log_ratio, config.max_weight)
            return -masked_mean(weight * q, step.mask)
        weights = value_gradient.weigh(step, config.gamma, log_ratio, config.max_weight)
        params = {**state.params, "policy": policy}
        reward, after = replayed(self.chain, self.policy, params, noise, step)
        value = jnp.zeros_like(reward)
        if self.critic is not None:
            value = self.critic.apply(state.critic, self.read(after))[..., 0]
        return -value_gradient.mean_return(weights, reward, value)
