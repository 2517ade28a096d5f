"""`wm/ops/riccati.py` against numbers by hand."""

import numpy as np
import pytest

from wm.ops.riccati import finite_horizon

ONE = np.ones((1, 1))


def test_two_steps_of_a_scalar():
    """All ones. One step to go: K = 1 / 2, P = 1 / 2; two: K = 1.5 / 2.5, P = 0.6."""
    gains, P = finite_horizon(ONE, ONE, ONE, ONE, 2)
    np.testing.assert_allclose(gains[:, 0, 0], [0.6, 0.5])
    assert P[0, 0] == pytest.approx(0.6)


def test_the_value_is_what_the_feedback_costs():
    generator = np.random.default_rng(0)
    A, B = generator.normal(size=(3, 3)), generator.normal(size=(3, 2))
    Q, R = np.diag([1.0, 2.0, 0.5]), np.diag([0.3, 0.1])
    gains, P = finite_horizon(A, B, Q, R, 6)
    begin = x = generator.normal(size=3)
    cost = 0.0
    for K in gains:
        u = -K @ x
        x = A @ x + B @ u
        cost += x @ Q @ x + u @ R @ u
    assert cost == pytest.approx(begin @ P @ begin)
