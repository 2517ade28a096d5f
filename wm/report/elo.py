"""Elo ratings from a matrix of results; numpy only.

The chance that i beats j is 1 / (1 + 10^((R_j - R_i) / 400)), and ratings are those of
the greatest likelihood, some of them fixed: only differences mean anything. A draw
counts as half a win and half a loss, which makes the errors too large, never too small,
where many games are drawn.

Source: Elo 1978; the model of Bradley & Terry 1952.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

SCALE = math.log(10) / 400
"""Log odds per point of rating."""
FARTHEST = 100_000.0
"""Points beyond which a rating has no greatest likelihood."""


class Ratings(NamedTuple):
    """Of P players."""

    elo: np.ndarray
    """f64 `[P]`."""
    error: np.ndarray
    """f64 `[P]`, standard errors; 0 where fixed."""


def ratings(
    points: np.ndarray, fixed: Mapping[int, float], prior: float = 0.0
) -> Ratings:
    """The ratings under which these results are the likeliest.

    Args:
      points: `[P, P]`, of row against column: 1 for a win, 1/2 for a draw, summed.
      fixed: rating by player, at least one.
      prior: drawn games that every two who met are thought to have played besides.
        Without any, who won or lost all games has no finite rating.

    Raises:
      ValueError: nobody is fixed; a rating has no bound, since all games of a player
        or a group were won, or lost, or it never met those who are fixed.
    """
    points = np.array(points, np.float64)
    np.fill_diagonal(points, 0.0)
    if not fixed:
        raise ValueError("fixed must name a player, got none")
    points += 0.5 * prior * ((points + points.T) > 0)
    games = points + points.T
    count = len(points)
    elo = np.zeros(count)
    elo[list(fixed)] = list(fixed.values())
    free = np.array([i not in fixed for i in range(count)])
    for _ in range(1_000):
        slope, curvature = _derivatives(elo, points, games)
        step = _solved(curvature[np.ix_(free, free)], slope[free])
        # Far from the top the likelihood is nearly flat: whole steps would overshoot.
        step = np.clip(step, -400.0, 400.0)
        elo[free] += step
        if np.abs(elo).max() > FARTHEST:
            raise _unbounded()
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    else:
        raise _unbounded()
    error = np.zeros(count)
    curvature = _derivatives(elo, points, games)[1][np.ix_(free, free)]
    error[free] = np.sqrt(np.diag(np.linalg.inv(curvature)))
    return Ratings(elo, error)


def _derivatives(elo: np.ndarray, points: np.ndarray, games: np.ndarray):
    """Of the log likelihood: first, and minus the second."""
    chance = 1 / (1 + np.exp(-SCALE * (elo[:, None] - elo[None])))
    slope = SCALE * (points - games * chance).sum(1)
    weight = SCALE**2 * games * chance * (1 - chance)
    return slope, np.diag(weight.sum(1)) - weight


def _solved(curvature: np.ndarray, slope: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(curvature, slope)
    except np.linalg.LinAlgError:
        raise _unbounded() from None


def _unbounded() -> ValueError:
    return ValueError(
        "a rating has no bound: all games of a player or group were won, or lost, or "
        "it met none of those that are fixed; give a prior"
    )
