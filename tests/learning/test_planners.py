"""Planners on the true rules, against the best there is, with their ablations.

Regret is Σ cost / Σ least cost − 1 over 16 starts of `probe/double_integrator`, seed 0,
horizon 20; the least cost is that of the quadratic program with bounds. Figures as
measured on 2026-11-21 (one shared core, jax 0.10.2). No action at all: 3444 %.
"""

import dataclasses

import pytest

from tests.planners.regret import idle, regret
from wm.planners.cem import ICEM, PETS, cem
from wm.planners.gradient import GradientConfig, gradient
from wm.planners.mppi import MPPIConfig, mppi
from wm.planners.shooting import ShootingConfig, shooting

pytestmark = pytest.mark.slow

change = dataclasses.replace
CEM20 = change(PETS, horizon=20)
ICEM20 = change(ICEM, horizon=20, beta=0.0)
"""White noise: the task ends in fine regulation."""


def of(make, config):
    return lambda model, objective: make(model, objective, config)


def test_cem_beats_random_shooting_at_equal_samples():
    """One point: CEM 400/40/5 8.6 %, 2000 random sequences 24.8 %. The best sequence in
    place of the mean 5.6 %."""
    ours, random = of(cem, CEM20), of(shooting, ShootingConfig(20, 2000))
    found, shot = regret(ours), regret(random)
    assert found <= 0.15
    assert 2 * found <= shot <= 0.4


def test_cem_needs_its_elites():
    """Elites drawn at random: 8526 %, worse than doing nothing (3444 %)."""
    assert regret(of(cem, change(CEM20, select="random"))) > 10
    assert regret(idle) > 10


def test_cem_needs_its_warm_start():
    """Six points: warm 50.3 %, cold 77.2 %."""
    warm, cold = (
        regret(of(cem, change(CEM20, warm_start=way)), 6) for way in (True, False)
    )
    assert cold >= 1.3 * warm


def test_icem_needs_its_memory():
    """One point: 21.8 %; neither sequences nor plans kept 44.4 %; only plans 35.7 %;
    beta 2 25.6 %, without memory 63.9 %."""
    red = change(ICEM20, beta=2.0)
    bare = change(red, reuse=0.0, warm_start=False)
    assert regret(of(cem, ICEM20)) <= 0.35
    assert regret(of(cem, bare)) >= 2 * regret(of(cem, red))


def test_mppi_regulates_six_points():
    """Returns in standard deviations, temperature 0.3: 53.3 %; mbrl-lib's raw returns
    75.4 %; the form of TD-MPC 136 %."""
    config = MPPIConfig(
        20, 350, temperature=0.3, relative=True, sigma=0.5, blend=1.0, bounds="clip"
    )
    assert regret(of(mppi, config), 6) <= 0.75


def test_gradients_regulate_best_where_all_is_smooth():
    """One point 30.9 %, six 31.6 %, where random shooting has 273 % and CEM 50 %. The
    last plan in place of the best one met: 27.0 % and 26.4 %."""
    found = regret(of(gradient, GradientConfig()), 6)
    assert found <= 0.4
    assert found < regret(of(shooting, ShootingConfig(20, 2000)), 6)
