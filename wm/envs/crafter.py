"""Crafter on the host, through its own package."""

from __future__ import annotations

from typing import Any

import numpy as np

from wm.envs.host import RowsEnv, check_num_envs
from wm.errors import UserError
from wm.types import ArraySpec, EnvSpec

TIME_LIMIT = 10_000
"""Steps after which the game truncates an episode."""


class CrafterRow:
    """One game; a `wm.envs.host.Row`."""

    def __init__(self, size: int, reward: bool):
        """Set up; the game is made at the first reset, with its seed."""
        self._options = {"size": (size, size), "reward": reward, "length": TIME_LIMIT}
        self._game: Any = None

    def reset(self, seed: int | None) -> np.ndarray:
        """A new world; worlds are numbered from the seed on."""
        if self._game is None or seed is not None:
            import crafter

            self._game = crafter.Env(seed=seed, **self._options)  # type: ignore
        return self._game.reset()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """One step; only death is terminal."""
        image, reward, ended, info = self._game.step(int(action))
        dead = info["discount"] == 0
        return image, float(reward), dead, bool(ended) and not dead

    def close(self) -> None:
        """Nothing to close."""


def make(
    name: str = "reward", num_envs: int = 16, seed: int = 0, size: int = 64
) -> RowsEnv:
    """Crafter: survive and unlock 22 achievements, each worth 1 once per episode.

    Args:
      name: `reward`, or `noreward` for all rewards 0.
      num_envs: games.
      seed: game i gets `seed + i`.
      size: pixels per side of the RGB image.

    Raises:
      UserError: impossible value.

    Source: Hafner 2022 (crafter 1.8.3); random 2.1 there (Table 1), 22 the best there
    is. Like the authors of DreamerV3 e3f0224, embodied/envs/crafter.py.
    """
    import crafter

    actions = len(crafter.constants.actions)  # type: ignore
    check_num_envs(num_envs)
    if name not in ("reward", "noreward"):
        raise UserError(f"crafter/{name}: name must be reward or noreward")
    if size < 9:
        raise UserError(f"size must be at least 9 (one pixel per cell), got {size}")
    known = name == "reward"
    spec = EnvSpec(
        observation=ArraySpec((size, size, 3), "uint8"),
        action=ArraySpec((), "int32", classes=actions),
        name=f"crafter/{name}",
        time_limit=TIME_LIMIT,
        random_return=2.1 if known else 0.0,
        optimal_return=22.0 if known else 0.0,
    )
    return RowsEnv([CrafterRow(size, known) for _ in range(num_envs)], spec, seed)
