"""Settings of MB-MF, and what they say of who acts and what is fitted when."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from wm.behaviors.imitation import ImitationConfig
from wm.behaviors.ppo import PPOConfig
from wm.errors import UserError
from wm.models.ensemble import EnsembleConfig
from wm.models.mixed_fit import MixedConfig
from wm.planners.choice import Name, Planning

RANDOM, CONTROL, DEMONSTRATE, DAGGER, FREE = range(5)
"""Who acted, in `extras["stage"]`: nobody, the controller (twice), the policy of
imitation, that of PPO."""
NOTHING, MODEL, POLICY = range(3)
"""What a call of `fit` fits."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of MB-MF. Defaults: half-cheetah, code."""

    model: EnsembleConfig = dataclasses.field(
        default_factory=lambda: EnsembleConfig(
            members=1,
            layers=1,
            units=500,
            act="relu",
            gaussian=False,
            particles=1,
            normalize_targets=True,
        )
    )
    """The network."""
    fit: MixedConfig = dataclasses.field(default_factory=MixedConfig)
    """How it is fitted."""
    planner: Name = "shooting"
    """Who plans in it; its own settings are under `plan`."""
    plan: Planning = dataclasses.field(default_factory=Planning)
    """Settings of each planner."""
    action_noise: float = 0.005
    """Deviation of the noise on what the controller plays in `aggregation` (swimmer and
    half-cheetah 0.005; hopper and ant 0)."""
    imitation: ImitationConfig = dataclasses.field(default_factory=ImitationConfig)
    """How the policy is fitted to the controller."""
    ppo: PPOConfig = dataclasses.field(
        default_factory=lambda: PPOConfig(
            gamma=0.995, entropy=0.0, log_std=math.log(0.5)
        )
    )
    """The policy (two layers of 64, tanh), and how it learns without a model. TRPO had
    gamma 0.995; the deviation begins at 0.5 (swimmer and hopper 1)."""
    aggregation: tuple[int, int] = (7, 9)
    """Iterations, each begun by a fit, and rounds of each (half-cheetah 7 x 9)."""
    demonstrations: int = 60
    """Rounds that the first fit of the policy learns from (60)."""
    dagger: tuple[int, int] = (3, 2)
    """Iterations, each begun by a fit, and rounds of each (half-cheetah 3 x 2)."""
    window: int = 50_000
    """Steps of every environment that an update of PPO learns from (TRPO: 50,000;
    hopper 25,000); a multiple of `--train.chunk`."""

    def __post_init__(self):
        model = self.model
        if model.members != 1 or model.gaussian or model.particles != 1:
            raise UserError(
                "--agent.model.members and --agent.model.particles must be 1 and "
                "--agent.model.gaussian false"
            )
        for name in ("aggregation", "dagger"):
            if min(getattr(self, name)) < 0:
                raise UserError(
                    f"--agent.{name} must be iterations and rounds of at least 0, got "
                    f"{getattr(self, name)}"
                )
        least = {"demonstrations": 0, "action_noise": 0, "window": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if value < bound:
                raise UserError(f"--agent.{name} must be at least {bound}, got {value}")
        if self.ppo.form != "normal" or self.ppo.normalize_observation:
            raise UserError(
                "--agent.ppo.form must be normal and --agent.ppo.normalize_observation "
                "false: the policy is fitted to actions before PPO sees anything"
            )


class Round(NamedTuple):
    """What happens between two calls of `fit`, and in the first of them."""

    stage: int
    fits: int


def timetable(config: Config) -> list[Round]:
    """Every round until PPO alone learns; the last one goes on for ever."""
    iterations, length = config.aggregation
    first = [MODEL] + [NOTHING] * (length - 1)
    rounds = [Round(CONTROL, fits) for fits in first[:length] * iterations]
    rounds += [Round(DEMONSTRATE, NOTHING)] * config.demonstrations
    iterations, length = config.dagger
    first = [POLICY] + [NOTHING] * (length - 1)
    rounds += [Round(DAGGER, fits) for fits in first[:length] * iterations]
    return [*rounds, Round(FREE, POLICY), Round(FREE, NOTHING)]
