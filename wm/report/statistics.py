"""Aggregates over runs and tasks, bootstrap intervals, rank correlation; numpy only.

Definitions follow Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of
the Statistical Precipice". `scores` is one array of runs per task; runs may differ in
number between tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

Scores = Sequence[np.ndarray]
"""One array of final scores `[runs]` per task."""
RESAMPLES = 2_000
"""The percentile interval's ends move by about 1 % of its width at this number."""
LEAST_PAIRS = 4
"""Pairs from which a rank correlation is said."""


class Interval(NamedTuple):
    """A value with its interval."""

    value: float
    low: float
    high: float


def iqm(scores: Scores) -> float:
    """Interquartile mean of all run × task scores.

    The mean of what is left after dropping `floor(n / 4)` scores at each end.

    Source: Agarwal et al. 2021, Section 4.3.
    """
    pooled = np.sort(np.concatenate([np.ravel(runs) for runs in scores]))
    cut = len(pooled) // 4
    return float(pooled[cut : len(pooled) - cut].mean())


def mean(scores: Scores) -> float:
    """Mean over tasks of each task's mean over runs."""
    return float(np.mean([np.mean(runs) for runs in scores]))


def median(scores: Scores) -> float:
    """Median over tasks of each task's mean over runs."""
    return float(np.median([np.mean(runs) for runs in scores]))


def optimality_gap(scores: Scores, target: float = 1.0) -> float:
    """`target - mean(min(score, target))`, clipped per run.

    Source: Agarwal et al. 2021, Section 4.3.
    """
    clipped = [np.mean(np.minimum(runs, target)) for runs in scores]
    return float(target - np.mean(clipped))


def probability_of_improvement(scores: Scores, other: Scores) -> float:
    """Chance that a run of `scores` beats one of `other`, averaged over tasks.

    Ties count half.

    Source: Agarwal et al. 2021, Appendix A.3 (Mann-Whitney U per task).
    """
    chances = []
    for ours, theirs in zip(scores, other, strict=True):
        difference = np.ravel(ours)[:, None] - np.ravel(theirs)[None]
        chances.append(np.mean((difference > 0) + 0.5 * (difference == 0)))
    return float(np.mean(chances))


def profile(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """Performance profile: the share of runs above every threshold, f64 `[P]`.

    Shares are averaged over tasks, each with its own number of runs.

    Source: Agarwal et al. 2021, Section 4.2 (score distributions).
    """
    above = [np.ravel(runs)[:, None] > thresholds[None] for runs in scores]
    return np.mean([one.mean(0) for one in above], 0)


def profile_band(
    scores: Scores,
    thresholds: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The profile, and the ends of its stratified bootstrap interval, `[P]` each."""
    draws = [profile(one, thresholds) for one in _redrawn(scores, resamples, seed)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.stack(draws), [tail, 1 - tail], axis=0)
    return profile(scores, thresholds), low, high


def improvement_interval(
    scores: Scores,
    other: Scores,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """`probability_of_improvement` with both sides resampled within tasks."""
    pairs = zip(
        _redrawn(scores, resamples, seed),
        _redrawn(other, resamples, seed + 1),
        strict=True,
    )
    draws = [probability_of_improvement(*pair) for pair in pairs]
    return _percentiles(probability_of_improvement(scores, other), draws, confidence)


def interval(
    scores: Scores,
    statistic: Callable[[Scores], float] = iqm,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Stratified percentile bootstrap: runs are resampled within each task.

    With one run of every task the interval is that run's value: nothing is known of
    the spread between runs.

    Args:
      scores: one array of runs per task.
      statistic: of resampled `scores`.
      confidence: mass between the ends.
      resamples: bootstrap draws.
      seed: of numpy's generator, so that a page is the same every time.

    Source: Agarwal et al. 2021, Section 4.1.
    """
    draws = [statistic(one) for one in _redrawn(scores, resamples, seed)]
    return _percentiles(statistic(scores), draws, confidence)


def mean_interval(
    seeds: Sequence[np.ndarray],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean score of one task over seeds, each with its evaluation episodes.

    With two seeds or more Student's t interval of their means; the luck of episodes is
    in the spread of these already. With one seed its episodes are resampled, and the
    interval says nothing of other seeds.

    Args:
      seeds: one array of episode returns per seed.
      confidence: mass between the ends.
      resamples: bootstrap draws, of episodes.
      seed: of numpy's generator, likewise.
    """
    arrays = [np.asarray(episodes, np.float64) for episodes in seeds]
    if len(arrays) > 1:
        return t_interval(np.array([x.mean() for x in arrays]), confidence)
    draws = _resampled_means(arrays[0], resamples, np.random.default_rng(seed))
    return _percentiles(float(arrays[0].mean()), draws, confidence)


def t_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of `[S]`; of one value without width."""
    mean, reach = float(values.mean()), 0.0
    if len(values) > 1:
        spread = float(values.std(ddof=1)) / math.sqrt(len(values))
        reach = student(len(values) - 1, confidence) * spread
    return Interval(mean, mean - reach, mean + reach)


def student(freedom: int, confidence: float = 0.95) -> float:
    """Half the width of a t interval, in standard errors."""
    from scipy import stats

    return float(stats.t.ppf((1 + confidence) / 2, freedom))


def ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal values share the mean of their ranks; f64 `[n]`."""
    values = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(x: np.ndarray, y: np.ndarray, confidence: float = 0.95) -> Interval:
    """Rank correlation of two samples `[n]`, in [-1, 1], with an interval for it.

    NaN where fewer than `LEAST_PAIRS` pairs are given or one side is constant. Pairs
    are taken as independent, which checkpoints of one seed are not: the interval of
    such is too narrow.

    Source: Bonett & Wright 2000: Fisher's z with variance (1 + rho²/2) / (n − 3).
    """
    n, nothing = len(x), Interval(float("nan"), float("nan"), float("nan"))
    if n < LEAST_PAIRS:
        return nothing
    a, b = (one - one.mean() for one in (ranks(x), ranks(y)))
    size = np.sqrt((a @ a) * (b @ b))
    if not size:
        return nothing
    rho = float(np.clip(a @ b / size, -1, 1))
    if abs(rho) == 1:
        return Interval(rho, rho, rho)
    reach = NormalDist().inv_cdf((1 + confidence) / 2)
    reach *= np.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-reach, reach]))
    return Interval(rho, float(low), float(high))


def _redrawn(scores: Scores, resamples: int, seed: int) -> Iterator[list[np.ndarray]]:
    """Scores with the runs of every task drawn anew, `resamples` times."""
    generator = np.random.default_rng(seed)
    tasks = [np.ravel(runs) for runs in scores]
    for _ in range(resamples):
        yield [runs[generator.integers(0, len(runs), len(runs))] for runs in tasks]


def _resampled_means(
    units: np.ndarray, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    picks = generator.integers(0, len(units), (resamples, len(units)))
    return units[picks].mean(1)


def _percentiles(value: float, draws, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(draws), [tail, 1 - tail])
    return Interval(value, float(low), float(high))
