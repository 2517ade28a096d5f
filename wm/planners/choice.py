"""Planners by name, for systems that let the user choose one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax

from wm.planners.cem import ICEM, CEMConfig, cem
from wm.planners.gradient import GradientConfig, gradient
from wm.planners.mcts import Heads, MCTSConfig, Statistics, greedy, mcts
from wm.planners.mppi import MPPIConfig, mppi
from wm.planners.rollouts import random_rollouts
from wm.planners.sequences import discounted, require
from wm.planners.shooting import ShootingConfig, shooting
from wm.types import Params, Policy, Tree, WorldModel

Name = Literal["shooting", "cem", "icem", "mppi", "gradient", "mcts"]


@dataclasses.dataclass(frozen=True)
class TreeConfig(MCTSConfig):
    """Settings of tree search as a planner: those of `MCTSConfig`, and who guides it.

    Its `gamma` is not read: the system has one of its own.
    """

    statistics: Statistics = "tree"
    """What values are stretched by: siblings, tree, or bounds."""
    draws: int = 16
    """Actions tried per state where they are numbers, drawn from the system's policy
    (Sampled MuZero 20)."""
    playout: int = 20
    """Steps of the random playout that values a leaf where the system has no critic."""

    def __post_init__(self):
        super().__post_init__()
        require(
            self,
            draws=(self.draws >= 2, "at least 2"),
            playout=(self.playout >= 1, "at least 1"),
        )


@dataclasses.dataclass(frozen=True)
class Planning:
    """Settings of every planner; those of the chosen one are read."""

    shooting: ShootingConfig = dataclasses.field(default_factory=ShootingConfig)
    """Random shooting (MB-MF, GrBAL)."""
    cem: CEMConfig = dataclasses.field(default_factory=CEMConfig)
    """The cross-entropy method (PETS, PlaNet)."""
    icem: CEMConfig = dataclasses.field(default_factory=lambda: ICEM)
    """The same with the options of iCEM."""
    mppi: MPPIConfig = dataclasses.field(default_factory=MPPIConfig)
    """Path integrals (mbrl-lib, TD-MPC)."""
    gradient: GradientConfig = dataclasses.field(default_factory=GradientConfig)
    """Gradients through the model."""
    mcts: TreeConfig = dataclasses.field(default_factory=TreeConfig)
    """Tree search (MuZero's, in any model)."""


def planner(
    name: Name,
    settings: Planning,
    model: WorldModel,
    gamma: float = 1.0,
    value: Callable[[Params, Tree], jax.Array] | None = None,
    heads: Heads | None = None,
    explore: bool = False,
) -> Policy:
    """The planner of that name.

    Args:
      name: which.
      settings: of all.
      model: planned in.
      gamma: discount per step.
      value: f32 `[B]` of the state that a sequence of actions ends in.
      heads: prior and values of `mcts`; unset: all alike, and random playouts.
      explore: whether `mcts` searches with noise; the others know none.

    Raises:
      ValueError: it does not fit the model's actions.
    """
    if name == "mcts":
        config = dataclasses.replace(settings.mcts, gamma=gamma)
        if heads is None:
            if not model.spec.action.discrete:
                raise ValueError(
                    f"planner must be cem, icem, mppi or shooting: {model.spec.name} "
                    "has actions in numbers, and nothing here says which of them a "
                    "tree should try, got mcts"
                )
            heads = random_rollouts(model, config.playout, gamma)
        return mcts(model, heads, config if explore else greedy(config))
    makers = {
        "shooting": shooting,
        "cem": cem,
        "icem": cem,
        "mppi": mppi,
        "gradient": gradient,
    }
    if name not in makers:
        raise ValueError(
            f"planner must be one of {', '.join(makers)}, mcts, got {name}"
        )
    return makers[name](model, discounted(gamma, value), getattr(settings, name))
