"""Planners by name, for systems that let the user choose one."""

from __future__ import annotations

import dataclasses
from typing import Literal

from wm.planners.cem import ICEM, CEMConfig, cem
from wm.planners.gradient import GradientConfig, gradient
from wm.planners.mppi import MPPIConfig, mppi
from wm.planners.sequences import Objective
from wm.planners.shooting import ShootingConfig, shooting
from wm.types import Policy, WorldModel

Name = Literal["shooting", "cem", "icem", "mppi", "gradient"]


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


def planner(
    name: Name, settings: Planning, model: WorldModel, objective: Objective
) -> Policy:
    """The planner of that name.

    Raises:
      ValueError: it does not fit the model's actions.
    """
    makers = {
        "shooting": shooting,
        "cem": cem,
        "icem": cem,
        "mppi": mppi,
        "gradient": gradient,
    }
    return makers[name](model, objective, getattr(settings, name))
