"""A2C: one step of the policy gradient on every few steps of several environments.

Mnih et al. 2016 (A3C) in its synchronous form, with the details of DLR-RM/
stable-baselines3 e05d2db: GAE with lambda 1 by default, gradients clipped to 0.5, and,
with `optimizer` rmsprop, TensorFlow's RMSProp. Deviations:

- The default optimizer is Adam with 16 environments times 32 steps, which learns
  CartPole more steadily; preset `sb3` has theirs.
- A time limit bootstraps from the value of the true last observation (as sb3).
- The first chunk of a run fills the buffer and is not learned from.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from wm.behaviors import on_policy, stochastic
from wm.behaviors import policy_gradient as losses
from wm.behaviors.on_policy import Experience, OnPolicyConfig, State
from wm.behaviors.on_policy_agent import OnPolicyAgent
from wm.ops.returns import gae
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Tree


@dataclasses.dataclass(frozen=True)
class Config(OnPolicyConfig):
    """Settings of A2C. Defaults: ours for CartPole; see preset `sb3`."""

    learning_rate: float = 1e-3
    """Step size (sb3 with RMSProp 7e-4)."""
    trace: float = 1.0
    """Lambda of the advantages (1)."""
    value_scale: float = 1.0
    """Weight of the critic's loss, half the squared error (1, sb3's 0.5 of all)."""
    normalize_advantage: bool = False
    """Standardise advantages over the batch (off)."""

    def __post_init__(self):
        super().__post_init__()
        self.require("trace", 0 <= self.trace <= 1, "in [0, 1]")


class A2C(OnPolicyAgent):
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
        """What was done since the last update."""
        return on_policy.newest(schedule)

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step on everything."""
        return self.one_step(self.loss, state, key, batches)

    def loss(
        self, params: Tree, key: Key, data: Experience
    ) -> tuple[jax.Array, Metrics]:
        """Of `[T, B]` steps; `key` is read where the entropy is estimated."""
        config = self.config
        policies, values = self.nets.both(params, data.inputs, data.legal)
        policy = jax.tree.map(lambda x: x[:-1], policies)
        constant = jax.lax.stop_gradient(values)
        advantage = gae(data.reward, data.discount, data.last, constant, config.trace)
        target = constant[:-1] + advantage
        if config.normalize_advantage:
            advantage = losses.standardized(advantage, data.mask)

        mean = lambda x: losses.masked_mean(x, data.mask)
        log_prob = stochastic.log_prob(policy, data.action, data.raw)
        terms = {
            "policy": mean(losses.score_loss(log_prob, advantage)),
            "value": config.value_scale * mean(losses.value_loss(values[:-1], target)),
            "entropy": -config.entropy * mean(stochastic.entropy(policy, key)),
        }
        metrics = {f"loss/{name}": term for name, term in terms.items()}
        metrics["behavior/value"] = mean(constant[:-1])
        metrics["behavior/explained_variance"] = losses.explained_variance(
            constant[:-1], target, data.mask
        )
        return sum(terms.values(), jnp.zeros(())), metrics
