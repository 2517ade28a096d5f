"""Settings of SVG."""

from __future__ import annotations

import dataclasses

from wm.behaviors.stochastic import Form
from wm.errors import UserError
from wm.models.ensemble import EnsembleConfig
from wm.models.ensemble_fit import FitConfig
from wm.nets.tower import Start, TowerConfig


@dataclasses.dataclass(frozen=True)
class Config(TowerConfig):
    """Settings of SVG. Defaults: ours, for SVG(1) with experience replay."""

    layers: tuple[int, ...] = (64, 64)
    """Width of each hidden layer, of policy and critic."""
    act: str = "tanh"
    """Activation of the hidden layers (tanh)."""
    start: Start = "lecun"
    """Initial kernels: orthogonal or lecun."""
    horizon: int | None = 1
    """Real steps between the policy and the critic: 0, 1 or more; none: all of the
    trajectory, and no critic (SVG(0), SVG(1), SVG(infinity))."""
    gamma: float = 0.99
    """Discount per step."""
    infer_noise: bool = True
    """Whether the policy's noise is inferred from what was done; else drawn afresh,
    and then its gradient is not weighed by the likelihood."""
    max_weight: float = 5.0
    """Greatest likelihood ratio, now over then, that counts."""
    form: Form = "tanh"
    """Actions: tanh (squashed, deviation from the net) or normal (the environment
    clips)."""
    log_std_low: float = -1.5
    """Least log deviation of `tanh` (equal to the greatest: a fixed one)."""
    log_std_high: float = 0.0
    """Greatest log deviation of `tanh`; that of `normal` at first."""
    policy_rate: float = 1e-3
    """Step size of the policy (Adam)."""
    critic_rate: float = 1e-3
    """Step size of the critic (Adam)."""
    max_norm: float = 10.0
    """Greatest norm of the policy's gradient; 0: not clipped."""
    target_updates: int = 50
    """Updates between copies of the critic that its targets are read from."""
    database: int = 50_000
    """Transitions kept for the model of SVG(infinity); others learn from replay."""
    model: EnsembleConfig = dataclasses.field(
        default_factory=lambda: EnsembleConfig(
            members=1,
            layers=2,
            units=64,
            gaussian=False,
            particles=1,
            propagation="mean",
            normalize_targets=True,
        )
    )
    """The model, with additive noise; `learn_reward` where the task does not say it."""
    fit: FitConfig = dataclasses.field(
        default_factory=lambda: FitConfig(batch_size=128, steps=200)
    )
    """How it is fitted."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("horizon", "max_norm"):
            value = getattr(self, name)
            self.require(name, value is None or value >= 0, "at least 0")
        self.require("gamma", 0 <= self.gamma <= 1, "in [0, 1]")
        self.require("max_weight", self.max_weight >= 1, "at least 1")
        self.require("form", self.form in ("normal", "tanh"), "normal or tanh")
        ordered = self.log_std_low <= self.log_std_high
        self.require("log_std_low", ordered, "at most log_std_high")
        for name in ("policy_rate", "critic_rate"):
            self.require(name, getattr(self, name) > 0, "above 0")
        for name in ("target_updates", "database"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        mean = not self.model.gaussian and self.model.propagation == "mean"
        if self.horizon != 0 and not mean:
            raise UserError(
                "svg needs --agent.model.gaussian false and --agent.model.propagation "
                "mean: its model's noise is what the mean leaves over"
            )
