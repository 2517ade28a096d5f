"""A calibrated belief is found calibrated, another one is not."""

import numpy as np
import pytest

from wm.report.calibration import FLOOR, NOMINAL, calibrate

W, D = 4000, 3
SCALE = np.array([1.0, 10.0, 0.1])


def believed(claimed):
    """Gaussian errors of deviations of their own; the belief claims a multiple."""
    generator = np.random.default_rng(0)
    deviation = SCALE * generator.uniform(0.1, 1.0, (W, D))
    mean = generator.normal(size=(W, D))
    truth = mean + deviation * generator.normal(size=(W, D))
    return calibrate(truth, mean, (claimed * deviation) ** 2, SCALE)


def test_a_calibrated_gaussian_covers_its_levels():
    found = believed(1.0)
    # Three standard deviations of a share of 12,000 at most.
    assert np.abs(found.coverage - NOMINAL).max() < 3 * np.sqrt(0.25 / (W * D))
    assert abs(found.confidence) < 0.01
    np.testing.assert_allclose(found.spread, found.error, rtol=0.1)
    assert found.rank > 0.3


def test_too_sure_and_too_unsure_are_told_apart():
    sure, unsure = believed(0.5), believed(2.0)
    # Half the deviation: |z| < 1.96 / 2 at the level of 95 %.
    assert sure.coverage[-1] == pytest.approx(0.673, abs=0.02)
    assert sure.confidence > 0.15
    assert unsure.confidence < -0.15
    assert believed(1.0).nll < min(sure.nll, unsure.nll)
    assert sure.miscalibration == pytest.approx(sure.confidence)


def test_the_likelihood_by_hand():
    truth, mean = np.array([[1.0, 7.0], [3.0, 7.0]]), np.zeros((2, 2))
    found = calibrate(truth, mean, np.full((2, 2), 4.0), np.array([2.0, 0.0]))
    # In units of 2: errors 0.5 and 1.5, deviation 1; the constant entry is left out.
    assert found.nll == pytest.approx(0.5 * (0.25 + 2.25) / 2 + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(found.error, [0.5, 1.5])


def test_no_doubt_and_no_number_are_not_the_end():
    truth = np.ones((5, 1))
    found = calibrate(truth, 0 * truth, 0 * truth, np.ones(1))
    assert found.nll == pytest.approx(
        0.5 / FLOOR**2 + np.log(FLOOR) + 0.5 * np.log(2 * np.pi)
    )
    assert (found.coverage == 0).all()
    nothing = np.nan * truth
    for mean, variance in ((nothing, truth), (nothing, nothing), (truth, nothing)):
        broken = calibrate(truth, mean, variance, np.ones(1))
        assert broken.nll == np.inf
        assert (broken.coverage == 0).all()
