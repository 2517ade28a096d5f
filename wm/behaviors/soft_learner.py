"""The learner of soft actor-critic: nets, and one update on transitions.

Haarnoja et al. 2018 ("Soft Actor-Critic Algorithms and Applications": two critics, no
value net, learnt temperature). The transitions may be real (SAC) or imagined (MBPO).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from wm.behaviors import soft_actor_critic as losses
from wm.behaviors import stochastic
from wm.behaviors.policy_gradient import masked_mean
from wm.errors import UserError
from wm.nets.tower import Inputs, Start, TowerConfig, example, inputs, tower
from wm.nodes import Node
from wm.ops import optimizers
from wm.ops.distributions import Squashed, TanhNormal
from wm.ops.trees import Transition
from wm.types import EnvSpec, Key, Metrics, Mode, Tree


@dataclasses.dataclass(frozen=True)
class SoftConfig(TowerConfig):
    """Settings of SAC. Defaults: DLR-RM/stable-baselines3 e05d2db."""

    layers: tuple[int, ...] = (256, 256)
    """Width of each hidden layer, of actor and critics (256, 256)."""
    act: str = "relu"
    """Activation of the hidden layers (relu)."""
    start: Start = "lecun"
    """Initial kernels: orthogonal or lecun (lecun)."""
    gamma: float = 0.99
    """Discount per step (0.99)."""
    actor_rate: float = 3e-4
    """Step size of the actor (3e-4)."""
    critic_rate: float = 3e-4
    """Step size of the critics (sb3 3e-4; cleanrl 1e-3)."""
    alpha_rate: float = 3e-4
    """Step size of the temperature (sb3 3e-4; cleanrl 1e-3)."""
    target_rate: float = 0.005
    """Share of the critics that their slow copies take over per update (0.005)."""
    alpha: float = 1.0
    """Temperature at first, per nat (1)."""
    learn_alpha: bool = True
    """Whether the temperature follows the entropy."""
    entropy_target: float = 1.0
    """Entropy it aims at is minus this times the size of actions (1; brax 0.5)."""
    alpha_loss: losses.Through = "log_alpha"
    """Its gradient: log_alpha (authors, sb3, MBPO) or alpha (cleanrl, brax, rejax)."""
    std: Literal["clipped", "rescaled", "softplus"] = "clipped"
    """Deviation of the actor: its log clipped to the next two (sb3), rescaled to them
    by a tanh (cleanrl), or softplus + 0.001 (brax)."""
    log_std_low: float = -20.0
    """Least log deviation (sb3 -20; cleanrl -5)."""
    log_std_high: float = 2.0
    """Greatest (2)."""
    reward_scale: float = 1.0
    """Factor on rewards (brax: per task)."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("gamma", "target_rate"):
            self._require(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        for name in ("actor_rate", "critic_rate", "alpha_rate", "reward_scale"):
            self._require(name, getattr(self, name) > 0, "above 0")
        # A learnt temperature of 0 has no logarithm; a fixed one is no bonus.
        allowed = self.alpha > 0 if self.learn_alpha else self.alpha >= 0
        self._require("alpha", allowed, "above 0 (0 only without learn_alpha)")
        known = ("clipped", "rescaled", "softplus")
        self._require("std", self.std in known, ", ".join(known))
        known = ("alpha", "log_alpha")
        self._require("alpha_loss", self.alpha_loss in known, " or ".join(known))
        ordered = self.log_std_low < self.log_std_high
        self._require("log_std_low", ordered, "below log_std_high")

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            value = getattr(self, name)
            raise ValueError(f"{name} must be {allowed}, got {value}")


class SoftState(Node):
    """All that persists of the learner."""

    actor: Tree
    critic: tuple[Tree, Tree]
    target: tuple[Tree, Tree]
    """Slow copies of the critics."""
    log_alpha: jax.Array
    """f32 `[]`."""
    optimizers: tuple[Tree, Tree, Tree]
    """Of actor, critics, temperature."""


class SoftActorCritic:
    """Nets and losses; see the module."""

    def __init__(self, spec: EnvSpec, config: SoftConfig | None = None):
        """Build nets for `spec`.

        Raises:
          UserError: actions that are not one vector of numbers, several players.
        """
        self.spec, self.config = spec, config = spec, config or SoftConfig()
        if spec.action.discrete:
            raise UserError(f"{spec.name}: soft actor-critic needs continuous actions")
        if spec.players > 1:
            raise UserError(f"{spec.name} has {spec.players} players; one is needed")
        bounds = config.log_std_low, config.log_std_high
        std = {
            "clipped": stochastic.clipped_std(*bounds),
            "rescaled": stochastic.rescaled_std(*bounds),
            "softplus": stochastic.softplus_std,
        }[config.std]
        self.policy = stochastic.actor(config, spec.action, "tanh", std, outscale=1.0)
        self.critic = tower(config, out=1)
        self.entropy_target = -config.entropy_target * math.prod(spec.action.shape)
        rates = config.actor_rate, config.critic_rate, config.alpha_rate
        self.optimizers = tuple(optax.adam(rate) for rate in rates)

    def init(self, key: Key) -> SoftState:
        """Fresh parameters; slow copies start equal."""
        key_actor, *keys = jax.random.split(key, 3)
        x = example(self.spec.observation)
        action = jax.ShapeDtypeStruct((1, *self.spec.action.shape), jnp.float32)
        actor = self.policy.init(key_actor, x)
        one, two = (self.critic.init(key, x, action) for key in keys)
        log_alpha = jnp.log(jnp.float32(self.config.alpha))
        learnt = (actor, (one, two), log_alpha)
        return SoftState(
            actor=actor,
            critic=(one, two),
            target=jax.tree.map(jnp.copy, (one, two)),
            log_alpha=log_alpha,
            optimizers=tuple(
                optimizer.init(params)
                for optimizer, params in zip(self.optimizers, learnt, strict=True)
            ),
        )

    def act(self, actor: Tree, key: Key, observation: Tree, mode: Mode) -> jax.Array:
        """Actions `[B, …]`: samples; tanh of means in `eval`, uniform in `prefill`."""
        policy = self.distribution(actor, self.read(observation))
        drawn = policy.mode() if mode == "eval" else policy.sample(key)
        if mode == "prefill":
            return jax.random.uniform(key, drawn.action.shape, minval=-1.0, maxval=1.0)
        return drawn.action

    def read(self, observation: Tree) -> Inputs:
        """What the nets read of observations."""
        return inputs(self.spec.observation, observation)

    def distribution(self, actor: Tree, x: Inputs) -> TanhNormal:
        """Over actions."""
        policy = self.policy.distribution(actor, x)
        assert isinstance(policy, TanhNormal)
        return policy

    def q(self, critics: Tree, x: Inputs, action: jax.Array):
        """Both critics' values, f32 `[…]` each."""
        one, two = (self.critic.apply(params, x, action)[..., 0] for params in critics)
        return one, two

    def update(
        self, state: SoftState, key: Key, step: Transition
    ) -> tuple[SoftState, Metrics]:
        """A step of the critics, then of the actor on them, then of the temperature.

        Args:
          state: before.
          key: consumed.
          step: transitions, leaves `[N, …]`; those whose `mask` is false do not count.
        """
        key_next, key_now = jax.random.split(key)
        mask = step.mask.astype(jnp.float32)
        alpha = jnp.exp(state.log_alpha)
        for_actor, for_critic, for_alpha = state.optimizers

        goal = self.target(state, key_next, step)
        loss = jax.value_and_grad(self.critic_loss)
        critic_loss, gradient = loss(state.critic, step, goal, mask)
        critic, for_critic = self._step(1, gradient, for_critic, state.critic)

        loss = jax.value_and_grad(self.actor_loss, has_aux=True)
        (actor_loss, drawn), gradient = loss(
            state.actor, critic, alpha, key_now, step, mask
        )
        actor, for_actor = self._step(0, gradient, for_actor, state.actor)

        log_alpha = state.log_alpha
        if self.config.learn_alpha:
            gradient = jax.grad(self.alpha_loss)(log_alpha, drawn, mask)
            log_alpha, for_alpha = self._step(2, gradient, for_alpha, log_alpha)
        metrics = {
            "loss/critic": critic_loss,
            "loss/actor": actor_loss,
            "behavior/alpha": alpha,
            "behavior/entropy": -masked_mean(drawn, mask),
            "behavior/target": masked_mean(goal, mask),
        }
        target = optimizers.ema(state.target, critic, self.config.target_rate)
        learnt = (for_actor, for_critic, for_alpha)
        return SoftState(actor, critic, target, log_alpha, learnt), metrics

    def target(self, state: SoftState, key: Key, step: Transition) -> jax.Array:
        """What the critics should say, f32 `[N]`."""
        config, x = self.config, self.read(step.next_observation)
        drawn, log_prob = self.draw(state.actor, key, x)
        q = self.q(state.target, x, drawn.action)
        return losses.target(
            config.reward_scale * step.reward,
            config.gamma * step.discount,
            q,
            log_prob,
            jnp.exp(state.log_alpha),
        )

    def critic_loss(self, critics, step: Transition, target, mask) -> jax.Array:
        """Mean over valid steps."""
        q = self.q(critics, self.read(step.observation), step.action)
        return masked_mean(losses.critic_loss(q, target), mask)

    def actor_loss(self, actor, critics, alpha, key: Key, step: Transition, mask):
        """Mean over valid steps, and log π of the actions drawn, f32 `[N]`."""
        x = self.read(step.observation)
        drawn, log_prob = self.draw(actor, key, x)
        loss = losses.actor_loss(self.q(critics, x, drawn.action), log_prob, alpha)
        return masked_mean(loss, mask), log_prob

    def alpha_loss(self, log_alpha: jax.Array, log_prob: jax.Array, mask) -> jax.Array:
        """Mean over valid steps."""
        through = self.config.alpha_loss
        loss = losses.temperature_loss(
            log_alpha, log_prob, self.entropy_target, through
        )
        return masked_mean(loss, mask)

    def draw(self, actor: Tree, key: Key, x: Inputs) -> tuple[Squashed, jax.Array]:
        """Reparameterised actions and their log density, f32 `[N]`."""
        policy = self.distribution(actor, x)
        drawn = policy.sample(key)
        return drawn, policy.log_prob(drawn)

    def _step(self, which: int, gradient: Tree, optimizer: Tree, params: Any):
        updates, optimizer = self.optimizers[which].update(gradient, optimizer, params)
        return optax.apply_updates(params, updates), optimizer
