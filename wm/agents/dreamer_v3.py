"""DreamerV3: an actor and a critic that learn in the imagination of an RSSM.

Hafner, Pasukonis, Ba, Lillicrap, "Mastering diverse control tasks through world
models", Nature 2025; code danijar/dreamerv3 at e3f0224, whose losses, gradients and
updates this file reproduces (tests/golden). Deviations:

- Latents and discrete actions are drawn by inverting the distribution function, one
  uniform each; the law is the same.
- Stored latents are bfloat16 h and integer z (theirs: all float32); the context of a
  sequence is therefore rounded to 8 bits of mantissa.
- A time limit is not a terminal, in any task (their Atari wrapper says it is).
- Missing entries of a vector observation cost nothing (theirs: an infinite loss).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from wm.agents.dreamer_v3_config import Config
from wm.behaviors import actor_critic as ac
from wm.data.replay import Replay
from wm.imagine import Draws, act_in, imagine
from wm.models.rssm import RSSM, RSSMState
from wm.models.rssm_config import scalar_bins
from wm.nets import heads
from wm.ops import normalizers, optimizers, returns
from wm.ops.trees import flatten_batch, swap_time
from wm.types import (
    Batch,
    EnvSpec,
    Feedback,
    Key,
    Metrics,
    Mode,
    Params,
    Policy,
    TimeStep,
    Tree,
)

stop = jax.lax.stop_gradient


class State(struct.PyTreeNode):
    """All that persists."""

    params: Params
    """`{"model": …, "policy": {"actor", "critic"}}`."""
    slow_critic: Tree
    """Slow copy of the critic."""
    optimizer: Tree
    scale: Any
    """Running percentiles of imagined returns."""
    updates: jax.Array
    """i32, updates made."""


class Noise(NamedTuple):
    """All randomness of one update, drawn before it."""

    posterior: jax.Array
    """Uniforms `[N, L, groups]`."""
    prior: jax.Array
    """Uniforms `[H, N * L, groups]`."""
    policy: jax.Array
    """Uniforms `[H, N * L]`, or normals `[H, N * L, A]`."""


class Learned(NamedTuple):
    """By-products of the loss."""

    terms: dict[str, jax.Array]
    """`[N, L]` each; replay_value `[N, L - 1]`."""
    states: RSSMState
    """Posterior states `[N, L, …]`."""
    scale: Any
    metrics: Metrics


class DreamerV3:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build nets for `spec`.

        Raises:
          UserError: an observation or action that the nets cannot take.
        """
        self.spec = spec
        self.config = config = config or Config()
        self.model = RSSM(spec, config)
        shared = {"units": config.units, "act": config.act, "norm": config.norm}
        shared["dtype"] = config.dtype
        critic = heads.HeadConfig(config.critic_layers, outscale=0.0, **shared)
        self.critic = heads.two_hot_head(critic, config.bins)
        self.two_hot = scalar_bins(config)
        sizes = heads.HeadConfig(
            config.actor_layers, outscale=config.actor_outscale, **shared
        )
        action = spec.action
        self.policy = ac.Actor(
            features=self.model.features,
            head=heads.categorical_head(sizes, action.classes)
            if action.classes
            else heads.normal_head(sizes, action.shape),
            spec=action,
            min_std=config.min_std,
            max_std=config.max_std,
        )
        self.optimizer = optimizers.laprop(
            config.learning_rate,
            clip=config.agc,
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=config.epsilon,
            warmup_steps=config.warmup_steps,
        )
        self.normalizer = normalizers.PercentileScale(
            rate=config.return_rate,
            low=config.return_low,
            high=config.return_high,
            floor=config.return_limit,
        )

    def init(self, key: Key) -> State:
        """Fresh parameters; the slow critic starts equal to the critic."""
        key_model, key_actor, key_critic = jax.random.split(key, 3)
        params = self.model.init(key_model)
        state = jax.eval_shape(lambda: self.model.features(self.model.start(params, 1)))
        critic = self.critic.init(key_critic, state)
        actor = self.policy.head.init(key_actor, state)
        params = params | {"policy": {"actor": actor, "critic": critic}}
        return State(
            params=params,
            slow_critic=jax.tree.map(jnp.copy, critic),
            optimizer=self.optimizer.init(params),
            scale=self.normalizer.init(),
            updates=jnp.zeros((), jnp.int32),
        )

    def actor(self, state: State) -> Params:
        """What acting needs: encoder, core, posterior and actor."""
        model = state.params["model"]
        names = ("encoder", "core", "prior", "posterior")
        return {
            "model": {name: model[name] for name in names},
            "policy": {"actor": state.params["policy"]["actor"]},
        }

    def start(self, actor: Params, batch: int) -> Tree:
        """Fresh (model state, previous action, policy memory)."""
        return act_in(self.model, self.policy).start(actor, batch)

    def act(
        self, actor: Params, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, Tree]]:
        """Observe and sample an action, in every mode.

        `extras["latent"]` is the model state after `timestep`, as replay stores it.
        """
        policy = act_in(self.model, self.policy)
        carry, action, extras = policy.act(actor, key, carry, timestep)
        return carry, action, extras | {"latent": self.model.pack(carry[0])}

    def buffer(self, schedule: Any) -> Replay:
        """Uniform replay that serves every new sequence once, soon."""
        return Replay(schedule.replay, length=schedule.batch_length + 1)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """One batch, each sequence with a step of context before it."""
        return {"replay": (schedule.batch_size, schedule.batch_length + 1)}

    def imagined_per_update(self, schedule: Any) -> int:
        """Imagined steps per update."""
        steps = schedule.batch_size * schedule.batch_length
        return steps * self.config.imagine_length

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step of everything, and fresh latents for the replay."""
        batch = batches["replay"]
        noise = self.draw(key, *batch.timestep.is_first[:, 1:].shape)
        state, learned, metrics = self.learn(state, noise, batch)
        return state, {"replay": self._feedback(batch, learned.states)}, metrics

    def learn(
        self, state: State, noise: Noise, batch: Batch, policy: Policy | None = None
    ) -> tuple[State, Learned, Metrics]:
        """`update` with given noise, imagining by `policy` if it is set."""
        loss = jax.value_and_grad(self.loss, has_aux=True)
        (total, learned), gradient = loss(state.params, state, noise, batch, policy)
        updates, optimizer = self.optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        slow = optimizers.ema(
            state.slow_critic, params["policy"]["critic"], self.config.slow_rate
        )
        metrics = learned.metrics | {
            "loss/total": total,
            "loss/gradient_norm": optax.tree.norm(gradient),
        }
        state = State(
            params=params,
            slow_critic=slow,
            optimizer=optimizer,
            scale=learned.scale,
            updates=state.updates + 1,
        )
        return state, learned, metrics

    def draw(self, key: Key, N: int, L: int) -> Noise:
        """Noise for N sequences of L steps."""
        key_posterior, key_prior, key_policy = jax.random.split(key, 3)
        groups, H = self.config.groups, self.config.imagine_length
        return Noise(
            posterior=jax.random.uniform(key_posterior, (N, L, groups)),
            prior=jax.random.uniform(key_prior, (H, N * L, groups)),
            policy=self.policy.draw(key_policy, (H, N * L)),
        )

    def loss(
        self,
        params: Params,
        state: State,
        noise: Noise,
        batch: Batch,
        policy: Policy | None = None,
    ) -> tuple[jax.Array, Learned]:
        """Weighted sum of the means of all terms.

        Args:
          params: differentiated; those in `state` are not read.
          state: for the slow critic and the scale of returns.
          noise: see `Noise`.
          batch: `[N, L + 1, …]`, the first step for context.
          policy: acts in imagination in place of the actor.
        """
        config = self.config
        if not config.learn_model:
            params = params | {"model": stop(params["model"])}

        # World model
        fit = self.model.fit(params, noise.posterior, batch)
        terms = dict(fit.terms)

        # Imagination
        behavior, targets, scale, metrics = self._behavior(
            params, state, noise, fit.states, policy or self.policy
        )
        shape = batch.action.shape[0], -1
        terms |= {k: term.mean(0).reshape(shape) for k, term in behavior.items()}

        # Replay
        terms["replay_value"] = self._replay_value(
            params, state, fit.states, batch, targets[0].reshape(shape)
        )

        scales = self._scales()
        assert terms.keys() == scales.keys(), (sorted(terms), sorted(scales))
        means = {name: term.mean() for name, term in terms.items()}
        total = sum(scales[name] * means[name] for name in scales)
        metrics |= fit.metrics | {f"loss/{name}": mean for name, mean in means.items()}
        return total, Learned(terms, fit.states, scale, metrics)

    def _behavior(self, params, state: State, noise: Noise, states, policy: Policy):
        """Terms `[H, N * L]` of actor and critic, returns, new scale and metrics."""
        config, frozen = self.config, stop(params)
        starts = stop(flatten_batch(states))
        rows = starts.deter.shape[0]
        last, _, trajectory = imagine(
            self.model.dynamics,
            policy,
            frozen,
            Draws(policy=noise.policy, model=noise.prior),
            starts,
            policy.start(frozen, rows),
            config.imagine_length,
        )
        visited = stop(trajectory.state)
        x = self.model.features(visited)
        x_last = self.model.features(last)[None]
        x_all = stop(jnp.concatenate([x, x_last]))
        logits = self.critic.apply(params["policy"]["critic"], x_all)
        slow = self.two_hot.mean(self.critic.apply(stop(state.slow_critic), x_all[:-1]))
        dream = ac.Dream(
            reward=self.model.reward(frozen, x_all[1:]),
            survival=self.model.survival(frozen, x_all),
            value=self.two_hot.mean(stop(logits)),
        )
        targets, weight = ac.dream_returns(dream, config.trace)
        scale = self.normalizer.update(state.scale, targets)
        spread = self.normalizer.scale(scale)
        advantage = (targets - dream.value[:-1]) / spread
        distribution = self.policy.distribution(params, visited)
        policy_loss, entropy = ac.score_loss(
            distribution, trajectory.action, advantage, weight, config.entropy
        )
        value_loss = ac.critic_loss(
            self.two_hot, logits[:-1], targets, slow, weight, config.slow_regularizer
        )
        metrics = {
            "behavior/return": targets.mean(),
            "behavior/return_scale": spread,
            "behavior/value": dream.value.mean(),
            "behavior/reward": dream.reward.mean(),
            "behavior/survival": dream.survival.mean(),
            "behavior/advantage_std": advantage.std(),
            "behavior/entropy": entropy.mean(),
        }
        terms = {"policy": policy_loss, "value": value_loss}
        return terms, targets, scale, metrics

    def _replay_value(self, params, state: State, states, batch: Batch, bootstrap):
        """Critic loss `[N, L - 1]` on replayed states, towards replayed rewards.

        Returns beyond a step are those imagined from it. The gradient reaches the
        model.
        """
        config = self.config
        x = self.model.features(states)
        timestep = jax.tree.map(lambda x: x[:, 1:], batch.timestep)
        logits = self.critic.apply(params["policy"]["critic"], x)
        slow = self.two_hot.mean(self.critic.apply(state.slow_critic, stop(x)))
        terminal = timestep.discount == 0
        columns = timestep.reward, timestep.is_last, terminal, bootstrap
        targets = returns.replay_lambda_return(
            *swap_time(columns), 1 - 1 / config.horizon, config.trace
        )
        weight = 1.0 - timestep.is_last[:, :-1]
        return ac.critic_loss(
            self.two_hot,
            logits[:, :-1],
            swap_time(targets),
            slow[:, :-1],
            weight,
            config.slow_regularizer,
        )

    def _scales(self) -> dict[str, float]:
        config = self.config
        names = ["dyn", "rep", "reward", "continue"]
        names += [f"rec/{name}" for name in self.model.reconstructed]
        return config.model_scales(names) | {
            "policy": config.policy_scale,
            "value": config.value_scale,
            "replay_value": config.replay_value_scale,
        }

    def _feedback(self, batch: Batch, states: RSSMState) -> Feedback:
        """Posterior latents to store; the context keeps what it had."""
        fresh = self.model.pack(stop(states))
        stored = batch.extras["latent"]
        latent = jax.tree.map(
            lambda old, new: jnp.concatenate([old[:, :1], new.astype(old.dtype)], 1),
            stored,
            fresh,
        )
        mask = jnp.ones(batch.timestep.is_first.shape, bool).at[:, 0].set(False)
        return Feedback(index=batch.index, fields={"latent": latent}, mask=mask)
