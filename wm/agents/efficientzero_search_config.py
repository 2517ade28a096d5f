"""Settings of `efficientzero_search`."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

from wm.errors import UserError
from wm.models.value_equivalent import ValueEquivalentConfig
from wm.planners.mcts import MCTSConfig


@dataclasses.dataclass(frozen=True)
class LatentSearchConfig:
    """Settings of MuZero and what descends from it. Defaults: ours, for small tasks."""

    search: MCTSConfig = dataclasses.field(
        default_factory=lambda: MCTSConfig(16, "puct", 0.997)
    )
    """The search of acting; its gamma is also that of the returns. puct (MuZero) or
    gumbel (Gumbel MuZero)."""
    eval_simulations: int | None = None
    """Of the search in evaluation, which has no noise; 0: the likeliest action of the
    policy head without a search; unset: as in training."""
    eval_guided: bool = True
    """Off: evaluation searches with all actions alike and values of 0, so that it shows
    what dynamics and rewards alone are good for."""
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
    warmup_updates: int = 0
    """Updates over which it first rises from 0 (EfficientZero 1000)."""
    max_norm: float = 0.0
    """Greatest norm of the gradient; 0: any (EfficientZero 5)."""
    priority_exponent: float = 1.0
    """Windows are drawn in proportion to |ν - z| to this power; 0: uniformly (Atari 1,
    boards 0)."""
    priority_floor: float = 1e-6
    """Added to |ν - z| (EfficientZero 1e-6)."""
    importance: tuple[float, float] = (1.0, 1.0)
    """Exponent of the weights against that, at first and at last (Atari 1;
    EfficientZero 0.4 to 1)."""
    importance_updates: int = 1
    """Updates over which it rises."""
    temperatures: tuple[float, ...] = ()
    """puct: factors on `search.temperature`, in training, one after another (Atari 1,
    0.5, 0.25). Unset: 1 throughout."""
    temperature_updates: tuple[int, ...] = ()
    """Updates after which the next one holds, one fewer than there are of them (Atari
    500k, 750k of 1M)."""
    random_actions: float = 0.0
    """Share of actions drawn uniformly while collecting (0); 1 shows the model random
    play."""
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
        simulations, parts = self.eval_simulations, len(self.temperatures)
        given = lambda name, holds, allowed: require(self, name, holds, allowed)
        given("eval_simulations", simulations is None or simulations >= 0, "at least 0")
        least = ("steps", "unroll", "importance_updates", "target_updates")
        for name in (*least, "reanalyse_batch"):
            given(name, getattr(self, name) >= 1, "at least 1")
        given("optimizer", self.optimizer in ("adam", "sgd"), "adam or sgd")
        given("learning_rate", self.learning_rate > 0, "above 0")
        names = ("value_scale", "weight_decay", "max_norm", "priority_exponent")
        for name in (*names, "priority_floor", "warmup_updates"):
            given(name, getattr(self, name) >= 0, "at least 0")
        for name in ("random_actions", "reanalyse"):
            given(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        between = all(0 <= x <= 1 for x in self.importance)
        given("importance", between, "in [0, 1]")
        for name in ("decay_updates", "temperature_updates"):
            rising = all(
                a < b for a, b in itertools.pairwise((0, *getattr(self, name)))
            )
            given(name, rising, "above 0 and rising")
        given("temperatures", all(x > 0 for x in self.temperatures), "above 0")
        matched = len(self.temperature_updates) == max(parts - 1, 0)
        given("temperature_updates", matched, "one fewer than temperatures")
        visits = not self.temperatures or self.search.method == "puct"
        given("temperatures", visits, "unset unless search.method is puct")


def require(config: LatentSearchConfig, name: str, holds: bool, allowed: str) -> None:
    """One line where a setting is not what it must be.

    Raises:
      UserError: `holds` is false.
    """
    if not holds:
        got = getattr(config, name)
        raise UserError(f"--agent.{name} must be {allowed}, got {got}")
