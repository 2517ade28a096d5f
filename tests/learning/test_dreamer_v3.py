"""DreamerV3 learns the probe tasks, and does not without its key components.

Seed 0 of each; scores are means over 100 episodes. CPU seconds on one core, compile
aside. Figures of the ablations stand in each docstring; imagination horizon 1 is
reported and not required to fail, since it is still temporal-difference learning.
"""

import pytest

from tests.learning.probes import score

pytestmark = pytest.mark.slow

DEAF = {"hide_actions": True}
DULL = {"learn_model": False}
AMNESIC = {"reset_every_step": True}


def test_catch_from_pixels_is_learned():
    """CATCH_FIGURES"""
    assert score("pixels/catch") >= 0.84


@pytest.mark.parametrize("broken", [DULL, DEAF], ids=["dull", "deaf"])
def test_catch_needs_a_model_that_learns_and_sees_actions(broken):
    assert score("pixels/catch", **broken) < 0.2


def test_recall_is_learned():
    """RECALL_FIGURES"""
    assert score("probe/recall") >= 0.9


@pytest.mark.parametrize("broken", [DULL, AMNESIC], ids=["dull", "amnesic"])
def test_recall_needs_memory_and_a_model_that_learns(broken):
    assert score("probe/recall", **broken) < 0.7


def test_hidden_point_is_learned():
    """HIDDEN_FIGURES"""
    assert score("probe/hidden_point") >= 20


@pytest.mark.parametrize(
    "broken", [DULL, DEAF, AMNESIC], ids=["dull", "deaf", "amnesic"]
)
def test_hidden_point_needs_memory_actions_and_a_model_that_learns(broken):
    assert score("probe/hidden_point", **broken) < 18


def test_sparse_point_is_learned():
    """SPARSE_FIGURES"""
    assert score("probe/sparse_point") >= 30


@pytest.mark.parametrize("broken", [DULL, DEAF], ids=["dull", "deaf"])
def test_sparse_point_needs_a_model_that_learns_and_sees_actions(broken):
    assert score("probe/sparse_point", **broken) < 25


def test_cartpole_is_learned():
    """CARTPOLE_FIGURES"""
    assert score("gymnax/CartPole-v1") >= 450


@pytest.mark.parametrize("broken", [DULL, DEAF], ids=["dull", "deaf"])
def test_cartpole_needs_a_model_that_learns_and_sees_actions(broken):
    assert score("gymnax/CartPole-v1", **broken) < 300
