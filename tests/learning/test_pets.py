"""PETS on its own cart-pole swing-up: 400 steps, of which 50 are random.

`make test-learning` runs it. Thresholds are of the specification; figures are means
over 3 seeds of 8 episodes after the last fit, measured on 21 November 2026.
"""

import functools

import numpy as np
import pytest

import wm

pytestmark = pytest.mark.slow


@functools.cache
def scores(**settings):
    """Mean return of every seed."""
    env = wm.env("classic/cartpole_swingup")
    agent = wm.agent("pets", env.spec, preset="swingup", **settings)
    run = wm.train(agent, env, seeds=3, quiet=True)
    return np.asarray(run.scores).mean(1)


def test_the_swing_up_is_learned_in_400_steps():
    """37.7 ± 1.1 (random 0.9). Elites at random 0.6."""
    found = scores()
    assert found.mean() >= 30
    assert (found >= 25).all()


def test_planning_needs_elites_that_are_the_best():
    """0.6 ± 0.1."""
    assert scores(**{"plan.select": "random"}).mean() <= 3


def test_an_ensemble_is_better_than_one_network():
    """28.6 ± 3.5 with one deterministic network, 37.7 with five."""
    one = scores(**{"model.members": 1, "model.particles": 1})
    assert scores().mean() - one.mean() >= 5


def test_variances_cost_at_this_budget():
    """13.1 ± 4.1 with TS-infinity, 16.3 ± 2.0 with TS1: the specification's prototype
    had 19 and 17. Learned, but far below the ensemble without variances."""
    assert scores(**{"model.gaussian": True}).mean() >= 8
