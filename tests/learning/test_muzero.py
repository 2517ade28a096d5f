"""MuZero learns Catch, not without dynamics, and CartPole.

`make test-learning` runs it. Preset `catch`: 35,000 steps of gymnax/Catch-bsuite, two
seeds at once, a minute. Random play scores -0.6, the best 1. Figures are of 21 November
2026.
"""

import jax
import pytest

import wm
from tests.learning.duels import duel, player
from tests.planners.boards import solved
from wm.models.value_equivalent import ValueEquivalent
from wm.train.evaluate import evaluator
from wm.train.schedule import Schedule

pytestmark = pytest.mark.slow
NAME = "gymnax/Catch-bsuite"
SEARCH, POLICY = {}, {"eval_simulations": 0}


def agent_of(name=NAME, preset="catch", **settings):
    return wm.agent("muzero", wm.env(name).spec, preset=preset, **settings)


def trained(seeds=2, **settings):
    """States of every seed."""
    agent = agent_of(**settings)
    schedule = Schedule(**{**agent.schedule, "eval_episodes": 1})
    run = wm.train(agent, wm.env(NAME), schedule, seeds=seeds, quiet=True)
    return [run.state(seed) for seed in range(seeds)]


def scores(states, **settings):
    """Mean return of every seed over 256 episodes."""
    evaluate = evaluator(agent_of(**settings), wm.env(NAME), 256)
    key = jax.random.key(7)
    found = [float(evaluate(state, key).returns.mean()) for state in states]
    return found


def test_catch_is_learned_by_policy_and_search():
    """1.00, 1.00 by either; the model alone 0.22, 0.16."""
    states = trained()
    assert min(scores(states, **POLICY)) >= 0.9
    assert min(scores(states, **SEARCH)) >= 0.95


def test_without_dynamics_it_is_not(monkeypatch):
    """Every action leads back to where one is: -0.55, -0.64, by search and policy."""
    monkeypatch.setattr(ValueEquivalent, "advance", lambda self, p, latent, a: latent)
    states = trained()
    assert max(scores(states, **SEARCH)) < 0.3


def test_cart_pole_is_learned():
    """479 by search, 474 by the policy alone after 50,000 steps of one seed (random 22,
    best 500; 140 s). With Gumbel's search and n = 10: 171 and 107."""
    name, preset = "gymnax/CartPole-v1", "cartpole"
    agent = agent_of(name, preset)
    schedule = Schedule(**{**agent.schedule, "eval_episodes": 1})
    run = wm.train(agent, wm.env(name), schedule, quiet=True)
    evaluate = evaluator(agent, wm.env(name), 64)
    assert evaluate(run.state(), jax.random.key(7)).returns.mean() >= 400


def test_tic_tac_toe_is_learned_without_its_rules():
    """200,000 moves of self-play, the legal ones known where one stands only. Lost
    against a perfect opponent: 0.37 by the policy alone, 0.38 with 32 simulations,
    against any reply 0.16 and 0.15; an untrained net alone loses 0.84. The aim of 0.10
    is not reached (three minutes)."""
    pytest.importorskip("pgx")
    env = wm.env("pgx/tic_tac_toe")
    made = lambda **settings: wm.agent(
        "muzero", env.spec, preset="tic_tac_toe", **settings
    )
    run = wm.train(made(), env, quiet=True)
    lost = {}
    for simulations in (0, 32):
        agent = made(eval_simulations=simulations)
        play = player(agent, agent.actor(run.state()))
        lost[simulations] = [duel(play, solved(), best).loss for best in (True, False)]
    assert max(lost[0][0], lost[32][0]) <= 0.5
