"""What DreamerV3 is assembled from, by its Config."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

import optax

from wm.agents.dreamer_v3_config import Config
from wm.behaviors.actor_critic import Actor, ActorCritic
from wm.models.rssm import RSSM
from wm.models.rssm_config import scalar_bins
from wm.nets import heads
from wm.ops import optimizers
from wm.ops.normalizers import PercentileScale
from wm.types import EnvSpec


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
