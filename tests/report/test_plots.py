"""Charts: figures as people write them, thinning, alignment of seeds."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from wm.report import markup, plots
from wm.report.record import Series


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.97, "0.97"),
        (-0.6, "−0.6"),
        (1.0, "1"),
        (0.0, "0"),
        (46_910.4, "46,910"),
        (45.678, "45.7"),
        (0.00012, "0.00012"),
        (float("nan"), "–"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert plots.number(value) == text


def test_thinning_keeps_the_mean():
    size = 10 * plots.MAX_POINTS + 7
    line = plots.Line("", np.arange(size), np.arange(size, dtype=float))
    thin = plots.thin(line)
    assert len(thin.steps) <= plots.MAX_POINTS
    np.testing.assert_allclose(thin.steps, thin.values)
    assert thin.steps[0] == pytest.approx(5)  # the mean of steps 0 to 10


def test_seeds_are_aligned_where_all_have_values():
    one = Series(np.array([0, 10, 20]), np.array([0.0, 1.0, 2.0]))
    two = Series(np.array([5, 15, 25]), np.array([0.0, 2.0, 4.0]))
    steps, values = plots.aligned([one, two])
    assert steps.tolist() == [5, 10, 15, 20]
    np.testing.assert_allclose(values, [[0.5, 1, 1.5, 2], [0, 1, 2, 3]])


def test_seeds_that_never_overlap_have_no_mean():
    one = Series(np.array([0, 10]), np.array([0.0, 1.0]))
    two = Series(np.array([20, 30]), np.array([0.0, 2.0]))
    assert len(plots.seed_lines([one, two], "x")) == 2


def test_charts_are_themed_svg_without_ids_of_their_own():
    line = plots.Line("a", np.arange(5), np.arange(5.0), np.zeros(5), np.ones(5))
    chart = plots.curves([line], [plots.Level("random", 0.5)], name="x")
    root = ElementTree.fromstring(chart)
    assert root.tag.endswith("svg")
    assert "var(--p-c0)" in chart
    assert "#1234" not in chart
    assert "<style" not in chart
    assert "random 0.5" in chart


def test_durations():
    assert markup.duration(130) == "2:10"
    assert markup.duration(3_723) == "1:02:03"
    assert markup.duration(None) == "–"


def test_words():
    assert markup.plural(1, "seed") == "1 seed"
    assert markup.plural(1_000, "step") == "1,000 steps"
    assert markup.text("<a>") == "&lt;a&gt;"
