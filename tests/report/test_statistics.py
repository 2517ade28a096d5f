"""Aggregates by hand, and intervals that behave."""

import numpy as np
import pytest

from wm.report import statistics


def test_iqm_drops_a_quarter_at_each_end():
    # 1 … 8: two dropped at each end leave 3, 4, 5, 6.
    assert statistics.iqm([np.array([8, 1, 3, 100]), np.array([2, 6, 4, 5])]) == 4.5


def test_iqm_of_nine_drops_two_at_each_end():
    assert statistics.iqm([np.array([0, 0, 1, 2, 3, 4, 5, 90, 90])]) == 3.0


def test_mean_and_median_are_over_task_means():
    scores = [np.array([0.0, 2.0]), np.array([5.0]), np.array([10.0, 20.0])]
    assert statistics.mean(scores) == pytest.approx((1 + 5 + 15) / 3)
    assert statistics.median(scores) == 5.0


def test_optimality_gap_clips_each_run():
    # Task means of clipped runs: 0.75 and 1.
    scores = [np.array([0.5, 3.0]), np.array([1.0, 2.0])]
    assert statistics.optimality_gap(scores) == pytest.approx(1 - 0.875)


def test_probability_of_improvement_counts_ties_half():
    # Pairs: 1>0 yes, 1=1 half, 2>0 yes, 2>1 yes.
    chance = statistics.probability_of_improvement(
        [np.array([1.0, 2.0])], [np.array([0.0, 1.0])]
    )
    assert chance == pytest.approx(3.5 / 4)


def test_interval_of_one_run_per_task_has_no_width():
    result = statistics.interval([np.array([2.0]), np.array([4.0])], statistics.mean)
    assert result == statistics.Interval(3.0, 3.0, 3.0)


def test_interval_resamples_within_tasks_only():
    # Constant tasks far apart: resampling across tasks would give a wide interval.
    scores = [np.zeros(5), np.full(5, 100.0)]
    assert statistics.interval(scores, statistics.mean) == (50.0, 50.0, 50.0)


def test_interval_covers_a_normal_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        runs = generator.normal(1.0, 1.0, 30)
        low, high = statistics.interval(
            [runs], statistics.mean, resamples=200, seed=trial
        )[1:]
        covered += low <= 1.0 <= high
    # 95 % minus the small-sample loss of a percentile bootstrap; 3 sigma is 4.6 %.
    assert 0.88 <= covered / 200 <= 0.99


def test_mean_interval_weighs_seeds_not_episodes():
    seeds = [np.zeros(1000), np.ones(10)]
    assert statistics.mean_interval(seeds).value == 0.5


def test_mean_interval_is_wider_for_seeds_that_disagree():
    episodes = np.tile([0.0, 1.0], 50)
    agree = statistics.mean_interval([episodes] * 4)
    disagree = statistics.mean_interval([episodes - 1, episodes, episodes, episodes])
    assert disagree.high - disagree.low > 2 * (agree.high - agree.low)


@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_mean_intervals_hold_the_mean_as_often_as_they_say(seeds, spread):
    # Seeds with deviation `spread`, episodes with 2, 16 of each.
    generator = np.random.default_rng(0)
    means = generator.normal(3.0, spread, (2_000, seeds, 1))
    data = means + generator.normal(0.0, 2.0, (2_000, seeds, 16))
    _, low, high = np.array([statistics.mean_interval(list(x)) for x in data]).T
    held = np.mean((low <= 3.0) & (high >= 3.0))
    assert held == pytest.approx(0.95, abs=0.015)


def test_mean_interval_of_one_seed_is_of_its_episodes():
    episodes = np.random.default_rng(0).normal(0.0, 2.0, 400)
    _, low, high = statistics.mean_interval([episodes], resamples=4000)
    assert high - low == pytest.approx(2 * 1.96 * episodes.std() / 20, rel=0.05)


def test_mean_interval_is_the_same_every_time():
    seeds = [np.arange(10.0), np.arange(5.0)]
    assert statistics.mean_interval(seeds) == statistics.mean_interval(seeds)


def test_equal_values_share_their_ranks():
    np.testing.assert_array_equal(
        statistics.ranks(np.array([3.0, 1.0, 3.0, np.inf])), [2.5, 1.0, 2.5, 4.0]
    )


def test_rank_correlation_by_hand():
    # Ranks 1 2 3 4 5 and 1 2 3.5 5 3.5: 1 - 6 * 3.5 / 120 without, 0.8208 with ties.
    rho = statistics.spearman(np.arange(5), np.array([5, 6, 7, 8, 7]))
    assert rho.value == pytest.approx(8 / np.sqrt(10 * 9.5))
    assert rho.low < rho.value < rho.high
    falling = statistics.spearman(np.arange(4), -np.exp(np.arange(4.0)))
    assert falling == (-1.0, -1.0, -1.0)


def test_rank_correlation_is_that_of_scipy():
    from scipy import stats

    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 9, (2, 30))
    expected = stats.spearmanr(x, y).statistic
    assert statistics.spearman(x, y).value == pytest.approx(expected, abs=1e-12)


def test_a_rank_correlation_needs_pairs_that_differ():
    assert np.isnan(statistics.spearman(np.arange(3), np.arange(3)).value)
    assert np.isnan(statistics.spearman(np.ones(9), np.arange(9)).value)


def test_the_interval_of_a_rank_correlation_by_hand():
    generator = np.random.default_rng(1)
    x = generator.normal(size=28)
    rho = statistics.spearman(x, x + generator.normal(size=28))
    reach = 1.959964 * np.sqrt((1 + rho.value**2 / 2) / 25)
    assert rho.low == pytest.approx(np.tanh(np.arctanh(rho.value) - reach), abs=1e-5)
    assert rho.high == pytest.approx(np.tanh(np.arctanh(rho.value) + reach), abs=1e-5)


def matrix(runs: int, tasks: int, seed: int = 0) -> np.ndarray:
    """Scores as rliable has them, `[runs, tasks]`."""
    generator = np.random.default_rng(seed)
    return generator.gamma(2.0, 0.4, (runs, tasks)) * np.linspace(0.3, 2.0, tasks)


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_aggregates_are_those_of_rliable(runs):
    # google-research/rliable 72fc16c, metrics.py, computed with scipy and numpy here.
    from scipy import stats

    x = matrix(runs, 26)
    tasks = list(x.T)
    assert statistics.iqm(tasks) == pytest.approx(stats.trim_mean(x, 0.25, axis=None))
    assert statistics.mean(tasks) == pytest.approx(x.mean())
    assert statistics.median(tasks) == pytest.approx(np.median(x.mean(0)))
    gap = 1 - np.minimum(x, 1).mean()
    assert statistics.optimality_gap(tasks) == pytest.approx(gap)


def test_probability_of_improvement_is_that_of_rliable():
    from scipy import stats

    x, y = matrix(5, 12), matrix(10, 12, 1).round(1)
    x[:, 0] = x[:, 0].round(1)  # ties
    chances = [
        stats.mannwhitneyu(a, b, alternative="greater").statistic / (len(a) * len(b))
        for a, b in zip(x.T, y.T, strict=True)
    ]
    ours = statistics.probability_of_improvement(list(x.T), list(y.T))
    assert ours == pytest.approx(np.mean(chances))


def test_profiles_are_those_of_rliable():
    # library.py: run_score_deviation is mean(scores > tau) over runs and tasks.
    x, at = matrix(5, 26), np.linspace(0, 3, 7)
    expected = [np.mean(x > tau) for tau in at]
    value, low, high = statistics.profile_band(list(x.T), at)
    np.testing.assert_allclose(value, expected)
    np.testing.assert_allclose(statistics.profile(list(x.T), at), expected)
    assert (low <= value).all()
    assert (value <= high).all()
    assert (high - low).max() > 0.05


def test_profiles_weigh_tasks_and_not_runs():
    scores = [np.zeros(9), np.ones(1)]
    np.testing.assert_allclose(statistics.profile(scores, np.array([0.5])), [0.5])


def test_the_stratified_bootstrap_has_the_spread_that_theory_says():
    # Of a mean over T tasks of n runs each: var = Σ s² / n / T², s² over n.
    x = matrix(8, 20)
    low, high = statistics.interval(list(x.T), statistics.mean, resamples=4000)[1:]
    sigma = np.sqrt((x.var(0) / 8).sum()) / 20
    assert (high - low) == pytest.approx(2 * 1.96 * sigma, rel=0.05)


def test_the_interval_of_an_improvement_holds_it():
    x, y = matrix(5, 10), matrix(5, 10, 1)
    found = statistics.improvement_interval(list(x.T), list(y.T), resamples=300)
    assert found.low < found.value < found.high
    same = statistics.improvement_interval([np.ones(3)], [np.ones(4)], resamples=9)
    assert same == (0.5, 0.5, 0.5)
