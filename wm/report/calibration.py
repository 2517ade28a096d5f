"""Whether a model knows how wrong it is: likelihood, coverage, spread beside error.

Beliefs are Gaussians per entry of the observation, `[W, D]`; numpy only.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from wm.report.statistics import spearman

NOMINAL = np.arange(1, 20) / 20
"""Levels of the central intervals, 0.05 to 0.95."""
BINS = 10
"""Groups of equal size in which spread is set beside error."""
FLOOR = 1e-4
"""Least standard deviation, in units of the data's: a belief without any doubt would
make the likelihood infinite."""


class Calibration(NamedTuple):
    """One model on one set of data; spread and error in units of the data's spread."""

    nll: float
    """Mean per entry, in nats, of the density over scaled observations."""
    coverage: np.ndarray
    """f64 `[len(NOMINAL)]`: share of entries inside the central interval of that
    level."""
    spread: np.ndarray
    """f64 `[BINS]`: root mean square of the predicted deviation, least first."""
    error: np.ndarray
    """f64 `[BINS]`: root mean square error of the same entries."""
    rank: float
    """Rank correlation of predicted deviation with absolute error; NaN where one of
    them is constant."""

    @property
    def miscalibration(self) -> float:
        """Mean of |coverage − nominal|."""
        return float(np.abs(self.coverage - NOMINAL).mean())

    @property
    def confidence(self) -> float:
        """Mean of nominal − coverage: above 0 the model is too sure of itself."""
        return float((NOMINAL - self.coverage).mean())


def calibrate(
    truth: np.ndarray, mean: np.ndarray, variance: np.ndarray, scale: np.ndarray
) -> Calibration:
    """Compare beliefs with what happened.

    Args:
      truth: `[W, D]`.
      mean: of the beliefs, `[W, D]`.
      variance: of the beliefs, `[W, D]`.
      scale: spread of the data `[D]`; entries where it is 0 are left out.

    Source: Kuleshov et al. 2018 (coverage of intervals against their level).
    """
    lively = scale > 0
    error = np.abs(truth - mean)[:, lively].astype(np.float64) / scale[lively]
    spread = np.sqrt(np.asarray(variance, np.float64))[:, lively] / scale[lively]
    spread = np.maximum(np.nan_to_num(spread, nan=np.inf, posinf=np.inf), FLOOR)
    error = np.nan_to_num(error, nan=np.inf, posinf=np.inf).ravel()
    spread = spread.ravel()
    ratio = np.zeros_like(error)
    np.divide(error, spread, where=spread < np.inf, out=ratio)
    # A belief that is no number covers nothing, however wide.
    ratio[np.isnan(mean + variance)[:, lively].ravel()] = np.inf
    reach = np.array([NormalDist().inv_cdf((1 + level) / 2) for level in NOMINAL])
    order = np.argsort(spread, kind="stable")
    groups = [group for group in np.array_split(order, BINS) if len(group)]
    rms = lambda x: np.array([np.sqrt(np.square(x[g]).mean()) for g in groups])
    density = 0.5 * ratio**2 + np.log(spread) + 0.5 * np.log(2 * np.pi)
    return Calibration(
        nll=float(density.mean()),
        coverage=(ratio[:, None] <= reach).mean(0),
        spread=rms(spread),
        error=rms(error),
        rank=spearman(spread, error).value,
    )
