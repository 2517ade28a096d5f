"""What REINFORCE, A2C and PPO share: an actor and a critic over observations, running
scales, the newest data departure aligned, and the optimizer.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

from wm.behaviors import stochastic
from wm.behaviors.stochastic import Distribution, Form
from wm.data.rollout import Rollout
from wm.errors import UserError
from wm.nets.tower import Inputs, TowerConfig, example, inputs, tower
from wm.nodes import Node
from wm.ops import schedules
from wm.ops.normalizers import MomentsState, RunningMoments
from wm.ops.trees import swap_time, transitions
from wm.types import Batch, EnvSpec, Key, Mode, TimeStep, Tree

LIMIT = 10.0
"""Normalised observations and rewards are clipped to ±10 (cleanrl)."""


@dataclasses.dataclass(frozen=True)
class OnPolicyConfig(TowerConfig):
    """Settings that the on-policy agents share."""

    gamma: float = 0.99
    """Discount per step (0.99)."""
    entropy: float = 0.0
    """Weight of the policy's entropy, per nat."""
    value_scale: float = 0.5
    """Weight of the critic's loss, which is half the squared error."""
    learning_rate: float = 1e-3
    """Step size."""
    anneal_updates: int = 0
    """Optimizer steps over which the step size falls to 0; 0: constant."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """adam, or rmsprop with decay 0.99 and epsilon inside the root (sb3's A2C)."""
    epsilon: float = 1e-5
    """Of the optimizer (1e-5)."""
    max_norm: float = 0.5
    """Greatest norm of the gradient of all parameters (0.5); 0: not clipped."""
    actor_outscale: float = 0.01
    """Factor on the actor's initial output kernel (0.01)."""
    critic_layers: tuple[int, ...] | None = None
    """Width of the critic's hidden layers; none: those of `layers`."""
    shared: bool = False
    """One tower for actor and critic, which then are linear (Atari)."""
    form: Form = "normal"
    """Continuous actions: normal (the environment clips) or tanh (squashed)."""
    log_std: float = 0.0
    """Initial log deviation of normal actions (0)."""
    normalize_observation: bool = False
    """Shift and scale vectors by running moments, then clip to ±10."""
    normalize_reward: bool = False
    """Divide rewards by the running deviation of discounted sums, then clip to ±10."""
    reward_scale: float = 1.0
    """Factor on rewards (brax: per task)."""
    clip_reward: bool = False
    """Only the sign of a reward counts (Atari)."""

    def __post_init__(self):
        super().__post_init__()
        self.require("gamma", 0 <= self.gamma <= 1, "in [0, 1]")
        names = ("entropy", "value_scale", "max_norm", "anneal_updates")
        for name in names:
            self.require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("learning_rate", "epsilon", "reward_scale"):
            self.require(name, getattr(self, name) > 0, "above 0")
        self.require("form", self.form in get_args(Form), "normal or tanh")
        known = self.optimizer in ("adam", "rmsprop")
        self.require("optimizer", known, "adam or rmsprop")


class Moments(NamedTuple):
    """Running scales; None where they are switched off."""

    observation: MomentsState | None
    reward: MomentsState | None
    """Of discounted sums of rewards."""


class State(Node):
    """All that persists."""

    params: Any
    """`{"actor", "critic"}`, with `shared` also `"torso"`; no critic where none is
    learnt."""
    optimizer: Tree
    moments: Moments


class Experience(NamedTuple):
    """The newest data, time first, departure aligned."""

    inputs: Inputs
    """`[T + 1, B, …]`, the last for bootstrapping."""
    legal: jax.Array | None
    """bool `[T + 1, B, A]`."""
    action: jax.Array
    """`[T, B, …]`."""
    raw: jax.Array | None
    """`[T, B, F]`, before the tanh, where there is one."""
    log_prob: jax.Array
    """f32 `[T, B]`, when it was drawn."""
    reward: jax.Array
    """f32 `[T, B]`, earned by the action; scaled."""
    discount: jax.Array
    """f32 `[T, B]`, of the state it led to, gamma included; 0 only where terminal."""
    last: jax.Array
    """bool `[T, B]`: the state it led to ends the episode."""
    mask: jax.Array
    """f32 `[T, B]`: 0 where the "action" was the reset after an end."""


class OnPolicy:
    """Actor and critic of one environment."""

    def __init__(self, spec: EnvSpec, config: OnPolicyConfig, critic: bool = True):
        """Build nets.

        Raises:
          UserError: actions that are neither one index nor one vector, several players.
        """
        if spec.players > 1:
            raise UserError(f"{spec.name} has {spec.players} players; one is needed")
        self.spec, self.config = spec, config
        self.example = example(spec.observation)
        self.torso = tower(config) if config.shared else None
        heads = dataclasses.replace(config, layers=()) if config.shared else config
        self.actor = stochastic.actor(
            heads,
            spec.action,
            config.form,
            outscale=config.actor_outscale,
            log_std=config.log_std,
        )
        own = config.critic_layers is not None and not config.shared
        sizes = (
            dataclasses.replace(heads, layers=config.critic_layers) if own else heads
        )
        self.critic = tower(sizes, out=1) if critic else None
        vector = self.example.vector
        width = 0 if vector is None else vector.shape[-1]
        self.observations = RunningMoments((width,))
        self.rewards = RunningMoments(())

    def init(self, key: Key) -> State:
        """Fresh parameters, nothing seen."""
        key_torso, key_actor, key_critic = jax.random.split(key, 3)
        params, read = {}, (self.example,)
        if self.torso is not None:
            params["torso"] = self.torso.init(key_torso, self.example)
            features = jax.eval_shape(self.torso.apply, params["torso"], self.example)
            read = (Inputs(None, None), features)
        params["actor"] = self.actor.init(key_actor, *read)
        if self.critic is not None:
            params["critic"] = self.critic.init(key_critic, *read)
        config = self.config
        seen = config.normalize_observation and self.example.vector is not None
        moments = Moments(
            self.observations.init() if seen else None,
            self.rewards.init() if config.normalize_reward else None,
        )
        return State(params, optimizer(config).init(params), moments)

    def acting(self, state: State) -> Tree:
        """What acting needs: the actor, a shared tower, and the scale of vectors."""
        params = {k: v for k, v in state.params.items() if k != "critic"}
        return params, state.moments.observation

    def act(
        self, acting: Tree, key: Key, timestep: TimeStep, mode: Mode
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Sampled actions; in `eval` the most likely one, or the mean."""
        params, moments = acting
        read = self._read(params, self.scaled(moments, timestep.observation))
        policy = self.actor.distribution(params["actor"], *read, legal=timestep.legal)
        return self.actor.act(policy, key, mode)

    def scaled(self, moments: MomentsState | None, observation: Tree) -> Inputs:
        """What the nets read of observations."""
        x = inputs(self.spec.observation, observation)
        if moments is None or x.vector is None:
            return x
        vector = self.observations.normalize(moments, x.vector)
        return x._replace(vector=jnp.clip(vector, -LIMIT, LIMIT))

    def policy(self, params: Tree, x: Inputs, legal: jax.Array | None) -> Distribution:
        """Over actions."""
        read = self._read(params, x)
        return self.actor.distribution(params["actor"], *read, legal=legal)

    def value(self, params: Tree, x: Inputs) -> jax.Array:
        """f32 `[…]`."""
        assert self.critic is not None
        return self.critic.apply(params["critic"], *self._read(params, x))[..., 0]

    def both(
        self, params: Tree, x: Inputs, legal: jax.Array | None
    ) -> tuple[Distribution, jax.Array]:
        """Policy and value; a shared tower runs once."""
        assert self.critic is not None
        read = self._read(params, x)
        policy = self.actor.distribution(params["actor"], *read, legal=legal)
        return policy, self.critic.apply(params["critic"], *read)[..., 0]

    def experience(self, moments: Moments, batch: Batch) -> tuple[Moments, Experience]:
        """The scales after `batch` `[B, T + 1]`, and its transitions.

        Observations are scaled by the moments that acting used, so that ratios start
        at 1; rewards by the new ones.
        """
        config = self.config
        step = swap_time(transitions(batch))
        mask = step.mask.astype(jnp.float32)
        reward = jnp.sign(step.reward) if config.clip_reward else step.reward
        discount = config.gamma * step.discount
        observation = swap_time(batch.timestep.observation)
        x = self.scaled(moments.observation, observation)
        new = moments
        if moments.reward is not None:
            # Sums start at 0 with every window, cleanrl's with every episode: the
            # difference is gone after 1 / (1 − gamma) steps of a window.
            sums = discounted_sums(mask * reward, discount * ~step.next_is_last)
            scale = self.rewards.update(moments.reward, sums, mask)
            reward = jnp.clip(reward / self.rewards.std(scale), -LIMIT, LIMIT)
            new = new._replace(reward=scale)
        if moments.observation is not None:
            vector = inputs(self.spec.observation, observation).vector
            assert vector is not None
            seen = self.observations.update(moments.observation, vector[:-1])
            new = new._replace(observation=seen)
        legal = batch.timestep.legal
        return new, Experience(
            inputs=x,
            legal=None if legal is None else swap_time(legal),
            action=step.action,
            raw=step.extras.get("raw"),
            log_prob=step.extras["log_prob"],
            reward=config.reward_scale * reward,
            discount=discount,
            last=step.next_is_last,
            mask=mask,
        )

    def _read(self, params: Tree, x: Inputs) -> tuple:
        """What actor and critic read."""
        if self.torso is None:
            return (x,)
        return Inputs(None, None), self.torso.apply(params["torso"], x)


def discounted_sums(reward: jax.Array, factor: jax.Array) -> jax.Array:
    """g_t = r_t + factor_{t − 1} g_{t − 1}, forward in time, `[T, …]`."""

    def body(carry, inputs):
        reward, factor = inputs
        total = reward + carry
        return factor * total, total

    return jax.lax.scan(body, jnp.zeros_like(reward[0]), (reward, factor))[1]


def optimizer(config: OnPolicyConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then Adam or the RMSProp of TensorFlow (squares start at
    1, epsilon inside the root; sb3's RMSpropTFLike). Annealing counts its own steps."""
    rate: Any = config.learning_rate
    if config.anneal_updates:
        rate = schedules.linear(rate, 0.0, config.anneal_updates)
    adam = optax.adam(rate, eps=config.epsilon)
    rmsprop = optax.rmsprop(
        rate, decay=0.99, eps=config.epsilon, initial_scale=1.0, eps_in_sqrt=True
    )
    chosen = adam if config.optimizer == "adam" else rmsprop
    if not config.max_norm:
        return chosen
    return optax.chain(optax.clip_by_global_norm(config.max_norm), chosen)


def descend(
    rule: optax.GradientTransformation, gradient: Tree, state: Tree, params: Tree
) -> tuple[Tree, Tree]:
    """Parameters and the optimizer's state after a step of `rule`."""
    updates, state = rule.update(gradient, state, params)
    return optax.apply_updates(params, updates), state


def newest(schedule: Any) -> dict[str, tuple[int, int]]:
    """The batch with all that was done since the last update.

    Raises:
      UserError: more than one update would learn from it.
    """
    T, updates = schedule.chunk_updates()
    if updates > 1:
        raise UserError(
            f"--train.updates must be 1 (data are used once), got {updates}"
        )
    return {"newest": (schedule.envs, T + 1)}


def window(schedule: Any) -> Rollout:
    """The buffer that holds it."""
    return Rollout(schedule.chunk_updates()[0])
