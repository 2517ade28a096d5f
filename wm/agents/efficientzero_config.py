"""Settings of EfficientZero."""

from __future__ import annotations

import dataclasses

from wm.behaviors.unrolled_config import UnrolledConfig
from wm.errors import require
from wm.models.value_prefix import ValuePrefixConfig
from wm.planners.acting import ActingConfig


@dataclasses.dataclass(frozen=True)
class Config(UnrolledConfig, ActingConfig):
    """Settings of EfficientZero. Sizes by default: ours, for small tasks; the paper's:
    `atari100k`. V2: `v2`."""

    model: ValuePrefixConfig = dataclasses.field(default_factory=ValuePrefixConfig)
    """Sizes of the nets."""
    consistency_scale: float = 2.0
    """Weight of -cosine between latents stepped to and latents of what was then
    observed (2; V2 5 on Atari, 2 on DMC)."""
    horizon_interval: int = 30_000
    """Steps of age by which n of the returns falls by one (30k); 0: it never does."""
    pad: int = 0
    """Pixels by which pictures are shifted at random in learning (4)."""
    intensity: float = 0.0
    """By how much their brightness varies (0.05)."""
    sign_rewards: bool = False
    """Whether rewards are learned by their sign alone (Atari)."""
    mixed_updates: int | None = None
    """Updates after which values of old records are the search's own, and no returns
    (V2: 30k on Atari, 40k on DMC); unset: never (V1)."""
    mixed_age: int = 5_000
    """Steps of age from which a record is old in that (V2: 5k on Atari, 20k on DMC)."""
    warmup_updates: int = 0
    """Updates over which the step size first rises from 0 (1000)."""
    value_scale: float = 0.25
    """Weight of the value's loss (0.25; V2 0.5)."""
    priority_exponent: float = 0.6
    """Windows are drawn in proportion to |v - z| to this power (0.6; V2 1)."""
    importance: tuple[float, float] = (0.4, 1.0)
    """Exponent of the weights against that, at first and at last (0.4 to 1; V2 1)."""
    importance_updates: int = 100_000
    """Updates over which it rises (100k)."""
    reanalyse: float = 0.99
    """Share of each batch whose policies are searched anew with the target net (0.99;
    V2 1)."""
    fresh_values: bool = True
    """Whether returns are bootstrapped from the target net's values (on)."""
    target_updates: int = 200
    """Updates between copies of the net to the target net (200)."""

    def __post_init__(self):
        ActingConfig.__post_init__(self)
        UnrolledConfig.__post_init__(self)
        own = ("consistency_scale", "horizon_interval", "pad", "intensity")
        for name in (*own, "warmup_updates"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        after = self.mixed_updates
        require(self, "mixed_updates", after is None or after >= 0, "at least 0")
        require(self, "mixed_age", self.mixed_age >= 0, "at least 0")
        searched = after is None or self.reanalyse > 0
        require(self, "reanalyse", searched, "above 0 where mixed_updates is set")
