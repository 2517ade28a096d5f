"""Settings of DreamerV3."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

from wm.models.rssm_config import RSSMConfig, require
from wm.planners.choice import Name, Planning


@dataclasses.dataclass(frozen=True)
class Config(RSSMConfig):
    """Settings of DreamerV3. Defaults: danijar/dreamerv3 e3f0224, size1m, float32."""

    imagine_length: int = 15
    """Imagined steps from every replayed one (15)."""
    trace: float = 0.95
    """Lambda of the returns, imagined and replayed (0.95)."""
    entropy: float = 3e-4
    """Weight of the policy's entropy, per nat (3e-4)."""
    actor_layers: int = 3
    """Hidden layers of the actor (3)."""
    actor_unimix: float = 0.0
    """Uniform share of a discrete actor (2023: 0.01; the current code has the option
    and never applies it)."""
    pathwise: bool = False
    """Train a continuous actor by the gradient through the model (2023)."""
    actor_outscale: float = 0.01
    """Factor on the actor's initial output kernel (0.01)."""
    min_std: float = 0.1
    """Least standard deviation of a continuous action (0.1)."""
    max_std: float = 1.0
    """Greatest standard deviation of a continuous action (1)."""
    critic_layers: int = 3
    """Hidden layers of the critic (3)."""
    slow_rate: float = 0.02
    """Share of the critic that its slow copy takes over per update (0.02)."""
    slow_regularizer: float = 1.0
    """Weight of the critic's loss towards its slow copy (1)."""
    return_rate: float = 0.01
    """Rate of the running percentiles that scale returns, per update (0.01)."""
    return_low: float = 5.0
    """Lower percentile of returns (5)."""
    return_high: float = 95.0
    """Upper percentile of returns (95)."""
    return_limit: float = 1.0
    """Least range of returns to divide by, in task units (1)."""
    optimizer: Literal["laprop", "adam"] = "laprop"
    """One LaProp for everything, or Adam for model, actor and critic each (2023;
    `agc`, the betas, `epsilon` and `warmup_steps` are then ignored)."""
    learning_rate: float = 4e-5
    """Step size after warm-up (4e-5)."""
    behavior_learning_rate: float = 3e-5
    """Step size of actor and critic where each has its own Adam (3e-5)."""
    warmup_steps: int = 1_000
    """Updates over which the step size rises from 0 (1000)."""
    agc: float = 0.3
    """Largest gradient norm of a tensor, relative to the tensor's norm (0.3)."""
    beta1: float = 0.9
    """Decay of momentum per update (0.9)."""
    beta2: float = 0.999
    """Decay of squared gradients per update (0.999)."""
    epsilon: float = 1e-20
    """Added to the root of squared gradients (1e-20)."""
    policy_scale: float = 1.0
    """Weight of the actor's loss (1)."""
    value_scale: float = 1.0
    """Weight of the critic's loss on imagined states (1)."""
    replay_value_scale: float = 0.3
    """Weight of the critic's loss on replayed states, which trains the model too
    (0.3)."""
    newest_first: bool = True
    """Train on every new sequence once before any is drawn at random (2023: no)."""
    planner: Literal["none", Name] = "none"
    """Act by planning in the model, with the critic beyond the horizon, or by a tree
    search (mcts) whose prior is the actor's (none: the actor acts); actor and critic
    learn all the same."""
    plan: Planning = dataclasses.field(default_factory=Planning)
    """Settings of each planner."""
    plan_noise: float = 0.3
    """While training, standard deviation of noise on planned actions, of classes the
    chance of a random one (PlaNet 0.3); not read without a planner."""
    learn_model: bool = True
    """For ablation: whether the world model learns at all."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("imagine_length", "actor_layers", "critic_layers"):
            require(name, getattr(self, name) >= 1, "at least 1", self)
        for name in ("trace", "slow_rate", "return_rate"):
            require(name, 0 <= getattr(self, name) <= 1, "in [0, 1]", self)
        for name in ("beta1", "beta2", "actor_unimix"):
            require(name, 0 <= getattr(self, name) < 1, "in [0, 1)", self)
        for name in ("entropy", "warmup_steps", "slow_regularizer", "policy_scale"):
            require(name, getattr(self, name) >= 0, "at least 0", self)
        names = ("value_scale", "replay_value_scale", "actor_outscale", "plan_noise")
        for name in names:
            require(name, getattr(self, name) >= 0, "at least 0", self)
        require(
            "behavior_learning_rate", self.behavior_learning_rate > 0, "positive", self
        )
        for name in ("learning_rate", "agc", "epsilon", "return_limit", "min_std"):
            require(name, getattr(self, name) > 0, "positive", self)
        above = self.max_std >= self.min_std
        require("max_std", above, f"at least min_std {self.min_std}", self)
        ordered = 0 <= self.return_low < self.return_high <= 100
        require("return_low", ordered, "below return_high, both in [0, 100]", self)

    def scales(self, reconstructed: Iterable[str]) -> dict[str, float]:
        """Weight of every loss term, with one per reconstructed array."""
        names = ["dyn", "rep", "reward", "continue"]
        names += [f"rec/{name}" for name in reconstructed]
        return self.model_scales(names) | {
            "policy": self.policy_scale,
            "value": self.value_scale,
            "replay_value": self.replay_value_scale,
        }
