"""PPO: several epochs of a clipped policy gradient on what was just collected.

Schulman et al. 2017, with the details of vwxyzjn/cleanrl fe8d8a0 and DLR-RM/
stable-baselines3 e05d2db: GAE, minibatches shuffled over time and environments,
advantages standardised per minibatch, orthogonal start, Adam with epsilon 1e-5.
Deviations:

- A time limit bootstraps from the value of the true last observation (cleanrl, rejax
  and the paper treat it as death; sb3 does as here).
- Steps that end in a reset are masked out of every mean and count of a minibatch.
- Values and advantages are computed once per update, before the first epoch (brax:
  anew for every minibatch).
- Observations are scaled by the moments from before the rollout, all of it alike
  (cleanrl's move with every step), so that ratios start at 1.
- The first chunk of a run fills the buffer and is not learned from.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.behaviors import on_policy, stochastic
from wm.behaviors import policy_gradient as losses
from wm.behaviors.on_policy import Experience, OnPolicyConfig, State
from wm.behaviors.on_policy_agent import OnPolicyAgent
from wm.errors import UserError
from wm.nets.tower import Inputs
from wm.ops.returns import gae
from wm.ops.trees import flatten_batch
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Tree


@dataclasses.dataclass(frozen=True)
class Config(OnPolicyConfig):
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

    def __post_init__(self):
        super().__post_init__()
        self.require("trace", 0 <= self.trace <= 1, "in [0, 1]")
        self.require("clip", self.clip >= 0, "at least 0")
        for name in ("epochs", "minibatches"):
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


class PPO(OnPolicyAgent):
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build nets for `spec`.

        Raises:
          UserError: actions that are neither one index nor one vector.
        """
        self.config = config or Config()
        super().__init__(spec, self.config)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """What was done since the last update.

        Raises:
          UserError: minibatches of unequal size.
        """
        batches = on_policy.newest(schedule)
        rows, L = batches["newest"]
        steps, parts = rows * (L - 1), self.config.minibatches
        if steps % parts:
            raise UserError(
                f"--agent.minibatches must divide the {steps} steps of an update "
                f"(--train.envs x --train.chunk), got {parts}"
            )
        return batches

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """`epochs` passes in `minibatches` steps each."""
        moments, experience = self.nets.experience(state.moments, batches["newest"])
        samples, explained = self.samples(state.params, experience)
        count = samples.mask.shape[0]

        def step(learner, inputs):
            key, part = inputs
            params, optimizer = learner
            gradient, metrics = jax.grad(self.loss, has_aux=True)(params, key, part)
            metrics["loss/gradient_norm"] = optax.tree.norm(gradient)
            return self.descend(gradient, optimizer, params), metrics

        def epoch(learner, key):
            key_order, key_steps = jax.random.split(key)
            order = jax.random.permutation(key_order, count)
            order = order.reshape(self.config.minibatches, -1)
            parts = jax.tree.map(lambda x: x[order], samples)
            keys = jax.random.split(key_steps, self.config.minibatches)
            return jax.lax.scan(step, learner, (keys, parts))

        keys = jax.random.split(key, self.config.epochs)
        learner = (state.params, state.optimizer)
        (params, optimizer), metrics = jax.lax.scan(epoch, learner, keys)
        metrics = jax.tree.map(jnp.mean, metrics)
        metrics["behavior/explained_variance"] = explained
        return State(params, optimizer, moments), {}, metrics

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
