"""REINFORCE: the policy gradient with Monte Carlo returns.

Williams 1992; Sutton & Barto 2018, sections 13.3 and 13.4. A window of T steps of every
environment teaches once. Returns run to the end of the episode, however it comes; the
`baseline` is their mean over the window, a learnt value, or nothing. Deviations:

- Returns that the end of the window cuts off count as they are, unless `whole`; a
  learnt baseline continues them with its value there, and at time limits.
- The factor gamma^t of the book's Eq. 13.8 is left out, as everywhere in practice.
- The first chunk of a run fills the buffer and is not learned from.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from wm.behaviors import on_policy, stochastic
from wm.behaviors import policy_gradient as losses
from wm.behaviors.on_policy import Experience, OnPolicyConfig, State
from wm.behaviors.on_policy_agent import OnPolicyAgent
from wm.nets.tower import Inputs
from wm.ops.returns import lambda_return
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Tree


@dataclasses.dataclass(frozen=True)
class Config(OnPolicyConfig):
    """Settings of REINFORCE. Defaults: ours for CartPole; no published ones."""

    learning_rate: float = 1e-2
    """Step size."""
    baseline: Literal["mean", "learned", "none"] = "mean"
    """What returns are compared with."""
    whole: bool = False
    """Only steps whose episode ends within the window teach; favours short episodes."""
    normalize_advantage: bool = True
    """Divide by the deviation of returns minus baseline."""

    def __post_init__(self):
        super().__post_init__()
        known = self.baseline in ("mean", "learned", "none")
        self.require("baseline", known, "mean, learned or none")


class Reinforce(OnPolicyAgent):
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build nets for `spec`.

        Raises:
          UserError: actions that are neither one index nor one vector.
        """
        self.config = config or Config()
        self.learned = self.config.baseline == "learned"
        super().__init__(spec, self.config, critic=self.learned)

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
        before = lambda tree: jax.tree.map(lambda x: x[:-1], tree)
        x: Inputs = before(data.inputs)
        policy = self.nets.policy(params, x, before(data.legal))
        value = jnp.zeros(())
        if self.learned:
            value = self.nets.value(params, data.inputs)
        returns = monte_carlo(data, jax.lax.stop_gradient(value))
        mask = data.mask * ends_inside(data) if config.whole else data.mask

        mean = lambda x: losses.masked_mean(x, mask)
        terms = {}
        if self.learned:
            fit = losses.value_loss(value[:-1], returns)
            terms["value"] = config.value_scale * mean(fit)
        advantage = returns - jax.lax.stop_gradient(
            self._baseline(value, mean(returns))
        )
        if config.normalize_advantage:
            square = mean(jnp.square(advantage - mean(advantage)))
            advantage = advantage / (jnp.sqrt(square) + 1e-8)
        log_prob = stochastic.log_prob(policy, data.action, data.raw)
        terms["policy"] = mean(losses.score_loss(log_prob, advantage))
        terms["entropy"] = -config.entropy * mean(stochastic.entropy(policy, key))
        metrics = {f"loss/{name}": term for name, term in terms.items()}
        metrics["behavior/return"] = mean(returns)
        return sum(terms.values(), jnp.zeros(())), metrics

    def _baseline(self, value: jax.Array, average: jax.Array) -> jax.Array:
        if self.learned:
            return value[:-1]
        return average if self.config.baseline == "mean" else jnp.zeros(())


def monte_carlo(data: Experience, value: jax.Array) -> jax.Array:
    """Discounted sums of rewards to the end of the episode or window, f32 `[T, B]`.

    Args:
      data: transitions.
      value: f32 `[T + 1, B]`, continues sums where the episode was cut (not where it
        ended for good), or 0.
    """
    value = jnp.broadcast_to(value, (data.reward.shape[0] + 1, data.reward.shape[1]))
    return lambda_return(data.reward, data.discount, value[1:], 1.0 - data.last)


def ends_inside(data: Experience) -> jax.Array:
    """f32 `[T, B]`: 1 where the episode ends within the window."""
    return jax.lax.cummax(data.last.astype(jnp.float32), reverse=True)
