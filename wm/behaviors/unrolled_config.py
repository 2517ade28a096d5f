"""Settings of `unrolled_agent`."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

from wm.errors import require
from wm.models.value_equivalent import ValueEquivalentConfig


@dataclasses.dataclass(frozen=True)
class UnrolledConfig:
    """How a model to search in is learned. Defaults: ours, for small tasks."""

    model: ValueEquivalentConfig = dataclasses.field(
        default_factory=ValueEquivalentConfig
    )
    """Sizes of the nets."""
    unroll: int = 5
    """Steps K of the model in learning (5)."""
    steps: int = 5
    """Steps n of the returns (Atari 10, with Reanalyse 5; boards: to the end)."""
    value_scale: float = 1.0
    """Weight of the value's loss (1; Reanalyse, EfficientZero 0.25)."""
    weight_decay: float = 0.0
    """Weight of the parameters' squared norm in the loss (1e-4)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """adam, or sgd with momentum 0.9 (MuZero)."""
    learning_rate: float = 1e-3
    """Step size (Atari 0.05)."""
    decay_updates: tuple[int, ...] = ()
    """Updates after which it is divided by ten (Atari every 350k)."""
    max_norm: float = 0.0
    """Greatest norm of the gradient; 0: any (EfficientZero 5)."""
    priority_exponent: float = 1.0
    """Windows are drawn in proportion to |v - z| to this power; 0: uniformly (Atari 1,
    boards 0)."""
    priority_floor: float = 1e-6
    """Added to |v - z| (EfficientZero 1e-6)."""
    importance: tuple[float, float] = (1.0, 1.0)
    """Exponent of the weights against that, at first and at last (Atari 1;
    EfficientZero 0.4 to 1)."""
    importance_updates: int = 1
    """Updates over which it rises."""
    reanalyse: float = 0.0
    """Share of each batch whose policies are searched anew with the target net
    (Reanalyse 0.8, EfficientZero 0.99)."""
    fresh_values: bool = False
    """Whether returns are bootstrapped from the target net's values, instead of those
    that the search found when acting (Reanalyse, EfficientZero)."""
    target_updates: int = 100
    """Updates between copies of the net to the target net (Reanalyse 100)."""
    reanalyse_batch: int = 16
    """Windows that are searched anew, policies and values, each time that
    `--train.reanalyse_steps` says so."""

    def __post_init__(self):
        given = lambda name, holds, allowed: require(self, name, holds, allowed)
        least = ("steps", "unroll", "importance_updates", "target_updates")
        for name in (*least, "reanalyse_batch"):
            given(name, getattr(self, name) >= 1, "at least 1")
        given("optimizer", self.optimizer in ("adam", "sgd"), "adam or sgd")
        given("learning_rate", self.learning_rate > 0, "above 0")
        names = ("value_scale", "weight_decay", "max_norm", "priority_exponent")
        for name in (*names, "priority_floor"):
            given(name, getattr(self, name) >= 0, "at least 0")
        given("reanalyse", 0 <= self.reanalyse <= 1, "in [0, 1]")
        between = all(0 <= x <= 1 for x in self.importance)
        given("importance", between, "in [0, 1]")
        rising = all(a < b for a, b in itertools.pairwise((0, *self.decay_updates)))
        given("decay_updates", rising, "above 0 and rising")
