"""MB-MPO on the pendulum: 6000 steps, of which 1000 are random.

`make test-learning` runs it. Figures are means of 2 seeds and 100 episodes, of the mean
of the shared policy, 21 November 2026 (random -1229). The policy only ever learns from
what is imagined: models that are wrong, or no gradient, leave nothing.
"""

import numpy as np
import pytest

import wm
from wm.models.ensemble import Ensemble

pytestmark = pytest.mark.slow


def scores(**settings):
    """Mean return of every seed."""
    env = wm.env("classic/pendulum")
    agent = wm.agent("mb_mpo", env.spec, preset="pendulum", **settings)
    run = wm.train(agent, env, seeds=2, quiet=True)
    return np.asarray(run.scores).mean(1)


def test_the_pendulum_is_held_up_after_6000_steps():
    """-228 and -155. Without the step that adapts (ME-PPO) -225 and -159: at this size
    the ensemble does it. With a learning rate of 0, one seed, -1352."""
    assert (scores() >= -350).all()


def test_models_that_move_the_wrong_way_ruin_the_policy(monkeypatch):
    """-1602 and -1649."""
    original = Ensemble._change
    turned = lambda self, *args: -original(self, *args)
    monkeypatch.setattr(Ensemble, "_change", turned)
    assert (scores() <= -900).all()
