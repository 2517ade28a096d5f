"""SVG by its three horizons, and the same with the slope that teaches cut.

`make test-learning` runs it. Figures are mean returns of 10 episodes per seed, 2 seeds,
21 November 2026.
"""

import jax
import numpy as np
import pytest

import wm
from wm.behaviors import value_gradient
from wm.models.ensemble import Ensemble

pytestmark = pytest.mark.slow


def scores(preset, env_name, steps):
    """Mean return of every seed."""
    env = wm.env(env_name)
    agent = wm.agent("svg", env.spec, preset=preset)
    run = wm.train(agent, env, steps=steps, seeds=2, quiet=True)
    return np.asarray(run.scores).mean(1)


def one_step():
    return scores("", "classic/pendulum", 6_000)


def no_model():
    return scores("svg0", "classic/pendulum", 6_000)


def whole():
    return scores("svg_inf", "probe/double_integrator", 40_800)


def cut_model(monkeypatch):
    """Predictions stay; how they change with state and action is lost."""
    original = Ensemble._change
    constant = lambda *args: jax.lax.stop_gradient(original(*args))
    monkeypatch.setattr(Ensemble, "_change", constant)


def test_one_real_step_and_a_value_learn_the_pendulum():
    """-157 and -212 (random -1229), in 25 s."""
    assert (one_step() >= -400).all()


def test_one_step_without_the_slope_of_the_model_does_not(monkeypatch):
    """-1279 and -1550."""
    cut_model(monkeypatch)
    assert (one_step() <= -800).all()


def test_values_of_actions_learn_the_pendulum():
    """-176 and -151, in 19 s."""
    assert (no_model() >= -400).all()


def test_values_without_the_slope_of_actions_do_not(monkeypatch):
    """-1418 and -1176."""
    original = value_gradient.played
    constant = lambda *args: jax.lax.stop_gradient(original(*args))
    monkeypatch.setattr(value_gradient, "played", constant)
    assert (no_model() <= -800).all()


def test_whole_trajectories_learn_the_double_integrator():
    """-1.69 and -1.35 (random -344, best possible -1.48 on average), in 26 s."""
    assert (whole() >= -3).all()


def test_whole_trajectories_without_the_slope_of_the_model_do_not(monkeypatch):
    """-44 and -59: what is left is that a push costs."""
    cut_model(monkeypatch)
    assert (whole() <= -20).all()
