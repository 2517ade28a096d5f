"""Random shooting: of many random action sequences, play the best one's first action.

Sources: Nagabandi et al. 2018 (MB-MF), nagaban2/nn_dynamics b76a62f; Nagabandi,
Clavera et al. 2019 (GrBAL), iclavera/learning_to_adapt bd7d99b; Chua et al. 2018.
No memory: what the step before found is forgotten.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wm.planners import published
from wm.planners.sequences import Objective, Space, evaluate, require, space_of
from wm.types import Key, Params, Tree, WorldModel


@dataclasses.dataclass(frozen=True)
class ShootingConfig:
    """Settings of random shooting. Defaults: MB-MF (half-cheetah)."""

    horizon: int = 20
    """Actions of a sequence (MB-MF 5 to 40; GrBAL 10; PETS 25)."""
    samples: int = 1000
    """Sequences (MB-MF 1000 to 15000; GrBAL 500; PETS 2000 to 2500)."""
    particles: int = 1
    """Rollouts per sequence, for models with chance."""

    def __post_init__(self):
        require(
            self,
            horizon=(self.horizon >= 1, "at least 1"),
            samples=(self.samples >= 1, "at least 1"),
            particles=(self.particles >= 1, "at least 1"),
        )


MB_MF = ShootingConfig()
GRBAL = ShootingConfig(**published.GRBAL)
PETS_RANDOM = ShootingConfig(horizon=25, samples=2000)


class Shooting(NamedTuple):
    """A policy over model states; built by `shooting`."""

    model: Any
    objective: Objective
    config: ShootingConfig
    space: Space

    def start(self, params: Params, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, params: Params, key: Key, carry: tuple, x: Tree
    ) -> tuple[tuple, jax.Array, dict[str, Tree]]:
        """The first action of the best of `samples` sequences."""
        config = self.config
        key_draw, key_score = jax.random.split(key)
        B = jax.tree.leaves(x)[0].shape[0]
        shape = (B, config.samples, config.horizon, self.space.size)
        drawn = self.space.uniform(jax.random.uniform(key_draw, shape))
        actions = self.space.playable(drawn)
        scores = evaluate(
            self.model, self.objective, params, key_score, x, actions, config.particles
        )
        best = jnp.argmax(scores, -1)
        return carry, actions[jnp.arange(B), best, 0], {}


def shooting(
    model: WorldModel, objective: Objective, config: ShootingConfig | None = None
) -> Shooting:
    """Plan by random shooting; see the module.

    Raises:
      ValueError: actions that no form of it fits.
    """
    return Shooting(model, objective, config or MB_MF, space_of(model.spec))
