"""Settings of AlphaGo, and the stages of its run."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from wm.behaviors.symmetry import Name as SymmetryName
from wm.errors import UserError
from wm.nets.policy_value import PolicyValueConfig
from wm.planners.mcts import MCTSConfig

TEACH, REINFORCE, VALUE = range(3)
"""Who played, in `extras["stage"]`: the teacher; the policy against earlier selves; the
games of the value net."""


def _teacher() -> MCTSConfig:
    return MCTSConfig(
        simulations=100, method="puct", statistics="bounds", noise=0.0, exploration=1.25
    )


def _search() -> MCTSConfig:
    # c_puct of 5 for values in [-1, 1]; here they are stretched to [0, 1].
    return MCTSConfig(
        simulations=100,
        method="puct",
        statistics="bounds",
        exploration=2.5,
        exploration_base=1e9,
        noise=0.0,
        temperature=0.0,
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of AlphaGo. Defaults: the paper's, but for the teacher and the sizes of
    data, which presets set."""

    teacher: MCTSConfig = dataclasses.field(default_factory=_teacher)
    """The search with random playouts whose games the first policy learns from (theirs:
    160,000 games of people). Its temperature makes them differ; what is learned is the
    move it visited most."""
    search: MCTSConfig = dataclasses.field(default_factory=_search)
    """The search that plays in evaluation (most visited move; c_puct 5, here 2.5 since
    values are stretched to [0, 1])."""
    plays: Literal["search", "supervised", "reinforced"] = "search"
    """Who plays in evaluation: the search, or the likeliest move of a policy alone."""
    mixing: float = 0.5
    """Share of the playout in a leaf's value, the rest is the value net's (lambda
    0.5)."""
    playout: Literal["learned", "random"] = "learned"
    """Playouts by a linear policy that learned from the teacher, or at random."""
    prior: Literal["supervised", "reinforced"] = "supervised"
    """Whose moves the search believes in (supervised)."""
    prior_temperature: float = 0.67
    """Of the prior: logits are divided by it (0.67)."""
    net: PolicyValueConfig = dataclasses.field(
        default_factory=lambda: PolicyValueConfig(
            layers=6, units=192, value_units=256, norm="none"
        )
    )
    """Of both policies and of the value, each a net of its own (13 convolutions of 192
    channels; here 6 blocks of two behind the first)."""
    symmetry: SymmetryName = "none"
    """What is the same to the game (Go: square); used in supervised fits."""
    batch_size: int = 16
    """Positions per step of the fits (policy 16, value 32)."""
    epochs: int = 50
    """Passes of the fits over their positions (theirs: 340 and 50 million steps)."""
    supervised_rate: float = 1e-3
    """Step size of the first policy and the linear one (Adam; theirs SGD, 0.003)."""
    value_rate: float = 1e-3
    """Step size of the value net (Adam; theirs SGD, 0.003)."""
    reinforce_rate: float = 1e-4
    """Step size of the policy gradient (Adam; theirs SGD)."""
    reinforce_rounds: int = 20
    """Rounds, of `--train.fit_steps` each, of play against earlier selves; every one
    ends with another self in the pool (theirs: 10,000 updates, one per 500)."""
    pool: int = 20
    """Earlier selves kept, the newest ones (theirs: all)."""
    value_rounds: int = 20
    """Rounds of games for the value net, before its fit."""
    game_moves: int | None = None
    """Moves of the longest game (unset: the environment's limit)."""

    def __post_init__(self):
        def given(name: str, holds: bool, allowed: str) -> None:
            if not holds:
                got = getattr(self, name)
                raise UserError(f"--agent.{name} must be {allowed}, got {got}")

        for name, values in {
            "plays": ("search", "supervised", "reinforced"),
            "playout": ("learned", "random"),
            "prior": ("supervised", "reinforced"),
        }.items():
            given(name, getattr(self, name) in values, "one of " + ", ".join(values))
        given("mixing", 0 <= self.mixing <= 1, "in [0, 1]")
        rates = ("supervised_rate", "value_rate", "reinforce_rate")
        for name in ("prior_temperature", *rates):
            given(name, getattr(self, name) > 0, "above 0")
        for name in ("batch_size", "epochs", "pool", "value_rounds"):
            given(name, getattr(self, name) >= 1, "at least 1")
        given("reinforce_rounds", self.reinforce_rounds >= 0, "at least 0")
        moves: Any = self.game_moves
        given("game_moves", moves is None or moves >= 1, "at least 1")
