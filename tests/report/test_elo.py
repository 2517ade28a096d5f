"""`wm.report.elo`: by hand, and against the likelihood itself."""

import numpy as np
import pytest
from scipy.optimize import minimize

from wm.report.elo import ratings

THREE = 400 * np.log10(3)  # the difference at which 3 of 4 points are expected


def test_three_points_of_four_are_191_apart():
    found = ratings(np.array([[0, 3.0], [1.0, 0]]), {1: 0.0})
    np.testing.assert_allclose(found.elo, [THREE, 0], atol=1e-6)
    # 1 / (ln 10 / 400 · sqrt(4 · 3/4 · 1/4)).
    np.testing.assert_allclose(found.error, [200.592, 0], atol=0.01)


def test_differences_add_up_along_a_chain_and_move_with_the_anchor():
    points = np.zeros((3, 3))
    points[0, 1], points[1, 0] = 30, 10
    points[1, 2], points[2, 1] = 30, 10
    found = ratings(points, {2: 100.0})
    np.testing.assert_allclose(found.elo, [100 + 2 * THREE, 100 + THREE, 100])
    one = 1 / (np.log(10) / 400 * np.sqrt(40 * 3 / 16))
    np.testing.assert_allclose(found.error, [np.sqrt(2) * one, one, 0])


def test_two_anchors_weigh_as_their_games_do():
    """Half of the points of both, who are fixed 2 · 191 apart: in the middle."""
    points = np.array([[0, 2.0, 2.0], [2.0, 0, 0], [2.0, 0, 0]])
    found = ratings(points, {1: 0.0, 2: 2 * THREE})
    np.testing.assert_allclose(found.elo[0], THREE)
    np.testing.assert_array_equal(found.error[1:], 0)


def test_contradictory_results_get_what_is_likeliest():
    generator = np.random.default_rng(0)
    points = generator.integers(1, 20, (5, 5)).astype(float)

    def cost(free):
        elo = np.concatenate([[0.0], free])
        odds = (elo[:, None] - elo[None]) * np.log(10) / 400
        off = ~np.eye(5, dtype=bool)
        return (points * np.log1p(np.exp(-odds)))[off].sum()

    best = minimize(cost, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    found = ratings(points, {0: 0.0})
    np.testing.assert_allclose(found.elo[1:], best.x, atol=0.05)


def test_who_never_lost_is_as_good_as_the_prior_says():
    points = np.array([[0, 10.0], [0, 0]])
    for fixed in ({0: 0.0}, {1: 0.0}):
        with pytest.raises(ValueError, match=r"^a rating has no bound: all games of"):
            ratings(points, fixed)
    found = ratings(points, {1: 0.0}, prior=1.0)
    np.testing.assert_allclose(found.elo[0], 400 * np.log10(10.5 / 0.5))
    # Who never met anyone is not placed by it.
    with pytest.raises(ValueError, match="it met none"):
        ratings(np.array([[0, 1.0, 0], [1.0, 0, 0], [0, 0, 0]]), {1: 0.0}, prior=1.0)
    with pytest.raises(ValueError, match=r"^fixed must name a player"):
        ratings(points, {})
