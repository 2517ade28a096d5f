"""What DreamerV3 is assembled from, by its Config."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.agents.dreamer_v3_config import Config
from wm.behaviors.actor_critic import Actor, ActorCritic
from wm.models.rssm import RSSM
from wm.models.rssm_config import scalar_bins
from wm.nets import heads
from wm.ops import optimizers
from wm.ops.distributions import Categorical
from wm.ops.normalizers import PercentileScale
from wm.planners.choice import planner
from wm.types import EnvSpec, Key, Params, Policy, Tree


def behavior(spec: EnvSpec, config: Config, model: RSSM) -> ActorCritic:
    """Actor and critic on the features of `model`."""
    head = functools.partial(
        heads.HeadConfig,
        units=config.units,
        act=config.act,
        norm=config.norm,
        bias=config.bias,
        fan=config.fan,
        dtype=config.dtype,
    )
    critic = head(config.critic_layers, outscale=0.0)
    sizes = head(config.actor_layers, outscale=config.actor_outscale)
    action = spec.action
    actor = Actor(
        features=model.features,
        head=heads.categorical_head(sizes, action.classes)
        if action.classes
        else heads.normal_head(sizes, action.shape),
        spec=action,
        min_std=config.min_std,
        max_std=config.max_std,
        unimix=config.actor_unimix,
    )
    return ActorCritic(
        actor=actor,
        critic=heads.two_hot_head(critic, config.bins),
        code=scalar_bins(config),
        normalizer=PercentileScale(
            rate=config.return_rate,
            low=config.return_low,
            high=config.return_high,
            floor=config.return_limit,
        ),
        trace=config.trace,
        entropy=config.entropy,
        regularizer=config.slow_regularizer,
        pathwise=config.pathwise and not action.discrete,
    )


def planning(
    config: Config, model: RSSM, behavior: ActorCritic, explore: bool
) -> Policy:
    """A planner in the model in place of the actor.

    Plans are worth their discounted rewards and the critic's value of where they end;
    a tree is guided by the actor, too.

    Raises:
      ValueError: a planner that does not fit the actions.
    """
    assert config.planner != "none"

    def value(params: Params, state: Tree) -> jax.Array:
        features = model.features(state)
        logits = behavior.critic.apply(params["policy"]["critic"], features)
        return behavior.code.mean(logits)

    def heads(params: Params, key: Key, state: Tree):
        """The actor's prior, or draws from it, and the critic's value."""
        prior = behavior.actor.distribution(params, state)
        if isinstance(prior, Categorical):
            return prior.log_probs, value(params, state), None
        keys = jax.random.split(key, config.plan.mcts.draws)
        drawn = jax.vmap(prior.sample, out_axes=1)(keys)
        return None, value(params, state), drawn.reshape(*drawn.shape[:2], -1)

    gamma = 1 - 1 / config.horizon
    parts = config.planner, config.plan, model, gamma, value, heads
    plans = planner(*parts, explore=explore)
    return Perturbed(plans, model, config.plan_noise) if explore else plans


class Perturbed(NamedTuple):
    """A policy over model states with noise on its actions.

    Source: Hafner et al. 2019 (PlaNet), for continuous actions.
    """

    policy: Policy
    model: RSSM
    noise: float
    """Standard deviation, or the chance of a random (legal) class."""

    def start(self, params: Params, batch: int) -> Tree:
        """The policy's."""
        return self.policy.start(params, batch)

    def act(
        self, params: Params, key: Key, carry: Tree, x: Tree
    ) -> tuple[Tree, jax.Array, dict[str, Tree]]:
        """Act, then disturb."""
        key_act, key_noise, key_coin = jax.random.split(key, 3)
        carry, action, extras = self.policy.act(params, key_act, carry, x)
        if not self.model.spec.action.discrete:
            noise = self.noise * jax.random.normal(key_noise, action.shape)
            return carry, jnp.clip(action + noise, -1.0, 1.0), extras
        legal = self.model.legal(params, x)
        logits = jnp.where(legal, 0.0, -jnp.inf)
        other = jax.random.categorical(key_noise, logits).astype(action.dtype)
        coin = jax.random.bernoulli(key_coin, min(self.noise, 1.0), action.shape)
        return carry, jnp.where(coin, other, action), extras


def optimizer(config: Config) -> optax.GradientTransformation:
    """LaProp for all parameters, or an Adam for the model, the actor and the critic.

    Source: e3f0224 (`_make_opt`); 8fa35f8 (`model_opt`, `actor_opt`, `critic_opt`).
    """
    if config.optimizer == "adam":
        adam = lambda clip, rate, epsilon: optax.chain(
            optax.clip_by_global_norm(clip), optax.adam(rate, eps=epsilon)
        )
        rate = config.behavior_learning_rate
        parts: dict[Hashable, Any] = {
            "model": adam(1000.0, config.learning_rate, 1e-8),
            "actor": adam(100.0, rate, 1e-5),
            "critic": adam(100.0, rate, 1e-5),
        }
        labels = {"model": "model", "policy": {"actor": "actor", "critic": "critic"}}
        return optax.partition(parts, labels)
    return optimizers.laprop(
        config.learning_rate,
        warmup_steps=config.warmup_steps,
        clip=config.agc,
        beta1=config.beta1,
        beta2=config.beta2,
        epsilon=config.epsilon,
    )
