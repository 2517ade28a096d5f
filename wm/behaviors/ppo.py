"""PPO as a behavior: what it does with newly collected steps, for any actor and critic.

Schulman et al. 2017; details and deviations are named in `wm.agents.ppo`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.behaviors import on_policy, stochastic
from wm.behaviors import policy_gradient as losses
from wm.behaviors.on_policy import Experience, OnPolicy, OnPolicyConfig, State
from wm.errors import UserError
from wm.nets.tower import Inputs
from wm.ops.returns import gae
from wm.ops.spread import spread
from wm.ops.trees import flatten_batch, swap_time
from wm.types import Batch, Key, Metrics, Tree

METRICS = (
    "loss/policy",
    "loss/value",
    "loss/entropy",
    "loss/gradient_norm",
    "behavior/ratio_max",
    "behavior/kl",
    "behavior/clipped",
    "behavior/explained_variance",
)
"""Names of what an update reports."""


@dataclasses.dataclass(frozen=True)
class PPOConfig(OnPolicyConfig):
    """Settings of PPO. Defaults: keraJLi/rejax d751095, CartPole."""

    learning_rate: float = 7.5e-4
    """Step size (rejax 7.5e-4; cleanrl 2.5e-4; sb3 3e-4)."""
    entropy: float = 0.01
    """Weight of the policy's entropy, per nat (0.01; continuous control 0)."""
    trace: float = 0.95
    """Lambda of the advantages (0.95)."""
    clip: float = 0.2
    """Ratios beyond 1 ± this earn nothing more (0.2; Atari 0.1)."""
    value_clip: bool = True
    """Whether values are kept near their old ones, by `clip` too (cleanrl, rejax)."""
    epochs: int = 5
    """Passes over the data (rejax 5; cleanrl 4; sb3 10)."""
    minibatches: int = 5
    """Parts per pass, one optimizer step each (rejax 5; cleanrl 4)."""
    normalize_advantage: bool = True
    """Standardise advantages per minibatch."""
    shuffle_parts: int = 1
    """Parts of the environments that are shuffled on their own and give an equal part
    of every minibatch: where --mesh.data divides it, devices exchange no steps (1)."""

    def __post_init__(self):
        super().__post_init__()
        self.require("trace", 0 <= self.trace <= 1, "in [0, 1]")
        self.require("clip", self.clip >= 0, "at least 0")
        for name in ("epochs", "minibatches", "shuffle_parts"):
            self.require(name, getattr(self, name) >= 1, "at least 1")


class Samples(NamedTuple):
    """Single steps, leaves `[N, …]`."""

    inputs: Inputs
    legal: jax.Array | None
    action: jax.Array
    raw: jax.Array | None
    log_prob: jax.Array
    mask: jax.Array
    value: jax.Array
    """f32, before the update."""
    advantage: jax.Array


class PPO:
    """Updates of the nets of an actor and a critic."""

    def __init__(self, nets: OnPolicy, config: PPOConfig):
        """For these nets."""
        self.nets, self.config = nets, config
        self.optimizer = on_policy.optimizer(config)

    def update(self, state: State, key: Key, batch: Batch) -> tuple[State, Metrics]:
        """`epochs` passes over `batch` `[B, T + 1]` in `minibatches` steps each."""
        moments, experience = self.nets.experience(state.moments, batch)
        samples, explained = self.samples(state.params, experience)

        def step(learner, inputs):
            key, part = inputs
            params, optimizer = learner
            gradient, metrics = jax.grad(self.loss, has_aux=True)(
                params, key, spread(part)
            )
            metrics["loss/gradient_norm"] = optax.tree.norm(gradient)
            return on_policy.descend(
                self.optimizer, gradient, optimizer, params
            ), metrics

        def epoch(learner, key):
            key_order, key_steps = jax.random.split(key)
            parts = self.shuffled(key_order, samples)
            keys = jax.random.split(key_steps, self.config.minibatches)
            return jax.lax.scan(step, learner, (keys, parts))

        keys = jax.random.split(key, self.config.epochs)
        learner = (state.params, state.optimizer)
        (params, optimizer), metrics = jax.lax.scan(epoch, learner, keys)
        metrics = jax.tree.map(jnp.mean, metrics)
        metrics["behavior/explained_variance"] = explained
        return State(params, optimizer, moments), metrics

    def shuffled(self, key: Key, samples: Samples) -> Samples:
        """Leaves `[minibatches, N / minibatches, …]` of `[N, …]`, in random order."""
        count, config = samples.mask.shape[0], self.config
        parts, minibatches = config.shuffle_parts, config.minibatches
        if parts == 1:
            order = jax.random.permutation(key, count).reshape(minibatches, -1)
            return jax.tree.map(lambda x: x[order], samples)
        orders = jax.vmap(jax.random.permutation, (0, None))(
            jax.random.split(key, parts), count // parts
        )

        def one(x):
            x = x.reshape(parts, -1, *x.shape[1:])
            x = jax.vmap(lambda part, order: part[order])(x, orders)
            x = x.reshape(parts, minibatches, -1, *x.shape[2:])
            return jnp.swapaxes(x, 0, 1).reshape(minibatches, -1, *x.shape[3:])

        return jax.tree.map(one, samples)

    def samples(self, params: Tree, data: Experience) -> tuple[Samples, jax.Array]:
        """Single steps with advantages, and how well values predict the returns."""
        value = self.nets.value(params, data.inputs)
        trace = self.config.trace
        advantage = gae(data.reward, data.discount, data.last, value, trace)
        before = lambda tree: jax.tree.map(lambda x: x[:-1], tree)
        samples = Samples(
            inputs=before(data.inputs),
            legal=before(data.legal),
            action=data.action,
            raw=data.raw,
            log_prob=data.log_prob,
            mask=data.mask,
            value=value[:-1],
            advantage=advantage,
        )
        explained = losses.explained_variance(
            value[:-1], value[:-1] + advantage, data.mask
        )
        if self.config.shuffle_parts > 1:  # environments lead, so that they can part
            samples = swap_time(samples)
        return flatten_batch(samples), explained

    def loss(self, params: Tree, key: Key, data: Samples) -> tuple[jax.Array, Metrics]:
        """Of one minibatch; `key` is read where the entropy is estimated."""
        config = self.config
        policy, value = self.nets.both(params, data.inputs, data.legal)
        log_prob = stochastic.log_prob(policy, data.action, data.raw)

        advantage, target = data.advantage, data.value + data.advantage
        if config.normalize_advantage:
            advantage = losses.standardized(advantage, data.mask)
        if config.value_clip:
            fit = losses.clipped_value_loss(value, data.value, target, config.clip)
        else:
            fit = losses.value_loss(value, target)

        mean = lambda x: losses.masked_mean(x, data.mask)
        surrogate = losses.clipped_surrogate(
            log_prob, data.log_prob, advantage, config.clip
        )
        terms = {
            "policy": mean(surrogate),
            "value": config.value_scale * mean(fit),
            "entropy": -config.entropy * mean(stochastic.entropy(policy, key)),
        }
        change = log_prob - data.log_prob
        metrics = {f"loss/{name}": term for name, term in terms.items()}
        metrics["behavior/ratio_max"] = jnp.exp(jnp.max(data.mask * jnp.abs(change)))
        # Schulman, "Approximating KL divergence" (k3), 2020.
        metrics["behavior/kl"] = mean(jnp.exp(change) - 1 - change)
        clipped = jnp.abs(jnp.exp(change) - 1) > config.clip
        metrics["behavior/clipped"] = mean(clipped)
        return sum(terms.values(), jnp.zeros(())), metrics


def check_parts(
    config: PPOConfig, steps: int, sizes: str, option: str = "--agent.minibatches"
) -> None:
    """Minibatches of one size.

    Args:
      config: how many.
      steps: of an update, over all environments.
      sizes: the options that say how many steps.
      option: the one that says how many minibatches.

    Raises:
      UserError: they do not divide the steps.
    """
    if steps % config.minibatches:
        raise UserError(
            f"{option} must divide the {steps} steps of an update "
            f"({sizes}), got {config.minibatches}"
        )


def check_shuffle(config: PPOConfig, rows: int, steps: int) -> None:
    """Equal parts of the environments, each of which gives to every minibatch.

    Raises:
      UserError: they do not divide.
    """
    parts = config.shuffle_parts
    if rows % parts or rows // parts * steps % config.minibatches:
        raise UserError(
            f"--agent.shuffle_parts {parts} must divide --train.envs {rows}, and the "
            f"steps of a part into --agent.minibatches {config.minibatches}"
        )
