"""DreamerV3 learns the probe tasks, and does not without its key components.

Seed 0 of each; scores are means over 100 episodes, as measured on 2026-11-21 (two
shared CPU cores, jax 0.10.2); CPU seconds with compilation. Figures of the ablations
stand in each docstring. Imagination horizon 1 is not an ablation here: it is still
temporal-difference learning.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
import pytest

from tests.learning.probes import agent_of, score, trained
from wm.train import evaluate

pytestmark = pytest.mark.slow

DEAF = {"hide_actions": True}
DULL = {"learn_model": False}
AMNESIC = {"reset_every_step": True}


def test_catch_from_pixels_is_learned():
    """0.96 (random -0.6, best 1; 103 CPU s). No world-model learning -0.56; actions
    hidden from the core -0.56."""
    assert score("pixels/catch") >= 0.84


@pytest.mark.parametrize("broken", [DULL, DEAF], ids=["dull", "deaf"])
def test_catch_needs_a_model_that_learns_and_sees_actions(broken):
    assert score("pixels/catch", **broken) < 0.2


def test_recall_is_learned():
    """1.00 (random 0.5). State reset at every step 0.49; no world-model learning 0.48;
    actions hidden from the core 0.49."""
    assert score("probe/recall") >= 0.9


@pytest.mark.parametrize("broken", [DULL, AMNESIC], ids=["dull", "amnesic"])
def test_recall_needs_memory_and_a_model_that_learns(broken):
    assert score("probe/recall", **broken) < 0.7


def test_hidden_point_is_learned():
    """27.6 (random 5.7, best without memory 15.4, best 28.9; 91 CPU s). State reset at
    every step 2.6; no world-model learning 2.6; actions hidden 2.8."""
    assert score("probe/hidden_point") >= 20


@pytest.mark.parametrize(
    "broken", [DULL, DEAF, AMNESIC], ids=["dull", "deaf", "amnesic"]
)
def test_hidden_point_needs_memory_actions_and_a_model_that_learns(broken):
    assert score("probe/hidden_point", **broken) < 18


class Played(NamedTuple):
    """Mean returns of 32 episodes by one trained agent."""

    actor: float
    mppi: float
    blind: float
    """CEM, of whose plans the elites are drawn at random."""
    tree: float
    """Tree search of 32 simulations among 16 of the actor's draws."""


PLANS = {
    "cem": {"samples": 64, "elites": 8, "iterations": 3, "horizon": 8},
    "mppi": {
        **{"samples": 64, "iterations": 3, "horizon": 8},
        **{"relative": True, "temperature": 0.3},
    },
}


@functools.cache
def played() -> Played:
    """The actor, and planners that see 8 steps ahead, 192 plans per step."""
    name = "probe/hidden_point"
    run = trained(name, steps=2_500)
    state = run.state()

    def by(planner="none", **more):
        plan = {**PLANS.get(planner, {}), **more}
        settings = {f"plan.{planner}.{key}": value for key, value in plan.items()}
        agent = agent_of(name, planner=planner, **settings)
        play = evaluate.evaluator(agent, run.env, 32)
        return float(np.mean(play(state, jax.random.key(7)).returns))

    return Played(by(), by("mppi"), by("cem", select="random"), by("mcts"))


def test_planning_in_the_model_plays_almost_as_well_as_the_actor():
    """Measured on 22 November 2026, after 2500 steps, 183 s with training: the actor
    24.3, MPPI 22.1, a tree 26.1. CEM with PETS' settings and as many plans 10.3 (21.6
    where it begins at deviation 1), elites drawn at random 5.7 (random play 5.7)."""
    found = played()
    assert found.mppi >= 18
    assert found.tree >= 20
    assert found.actor >= 18


def test_planning_in_the_model_needs_plans_that_are_chosen():
    assert played().blind <= played().mppi - 8


def test_sparse_point_is_learned():
    """38.9 (random 2.7, best 42.5; 201 CPU s). Actions hidden from the core 0.7; no
    world-model learning 0.8."""
    assert score("probe/sparse_point") >= 30


@pytest.mark.parametrize("broken", [DULL, DEAF], ids=["dull", "deaf"])
def test_sparse_point_needs_a_model_that_learns_and_sees_actions(broken):
    assert score("probe/sparse_point", **broken) < 25


def test_cartpole_is_learned():
    """500 in each of the last three evaluations (random 22, best 500; 230 CPU s);
    another seed at 24,000 steps 498. At twice the step size the policy was as good at
    half the steps and then wavered: 500, 485, 405, 169. No world-model learning 22.9;
    actions hidden from the core 22.5 (both at twice the step size)."""
    assert score("gymnax/CartPole-v1") >= 450


@pytest.mark.parametrize("broken", [DULL, DEAF], ids=["dull", "deaf"])
def test_cartpole_needs_a_model_that_learns_and_sees_actions(broken):
    assert score("gymnax/CartPole-v1", **broken) < 300
