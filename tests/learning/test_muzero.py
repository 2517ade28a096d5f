"""MuZero learns Catch, not without dynamics, and CartPole.

`make test-learning` runs it. Preset `catch`: 35,000 steps of gymnax/Catch-bsuite, two
seeds at once, a minute. Random play scores -0.6, the best 1. Figures are of 22 November
2026.
"""

import jax
import pytest

import wm
from tests.learning.duels import duel, player
from tests.planners.boards import solved
from wm.models.value_equivalent import ValueEquivalent
from wm.train.evaluate import evaluator
from wm.train.loop import loop_of
from wm.train.schedule import Schedule

pytestmark = pytest.mark.slow
NAME = "gymnax/Catch-bsuite"
SEARCH, POLICY = {}, {"eval_simulations": 0}
ALONE = {"eval_guided": False, "eval_simulations": 128}


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
    """1.00, 1.00 by either."""
    states = trained()
    assert min(scores(states, **POLICY)) >= 0.9
    assert min(scores(states, **SEARCH)) >= 0.95


def test_without_dynamics_it_is_not(monkeypatch):
    """Every action leads back to where one is: -0.55, -0.64, by search and policy."""
    monkeypatch.setattr(ValueEquivalent, "advance", lambda self, p, latent, a: latent)
    states = trained()
    assert max(scores(states, **SEARCH)) < 0.3


def test_the_model_alone_is_enough():
    """Shown random play, then searched with 128 simulations without policy or value:
    at least 0.95 on both seeds. With latents in [0, 1] and no short cut past dynamics
    0.22 and 0.55, as rewards are not foreseen beyond two steps then."""
    states = trained(random_actions=1.0)
    assert min(scores(states, **ALONE)) >= 0.95


def offline(**settings):
    """The state after 3,000 updates on 1,024 games of random play, and nothing else."""
    agent, env = agent_of(random_actions=1.0, **settings), wm.env(NAME)
    schedule = {**agent.schedule, "batch_size": 64, "prefill": 9_216}
    loop, many = loop_of(agent, Schedule(**schedule)), wm.batch(env)
    chunks = 9_216 // loop.chunk_steps
    fill = lambda key: loop.prefill(many, loop.init(many, key), chunks)
    state = jax.jit(fill)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 3_000)
    learn = lambda state, key: (loop.learn(state, key), None)
    learned = jax.jit(lambda state: jax.lax.scan(learn, state, keys)[0].agent)
    return learned(state)


def test_reanalyse_learns_from_frozen_random_play():
    """Policies and values searched anew with the target net, 8 simulations: the policy
    alone 1.00; as they were stored by the untrained net below 0.2."""
    fresh = {"search.simulations": 8, "reanalyse": 1.0, "fresh_values": True}
    assert scores([offline(**fresh)], **POLICY)[0] >= 0.9
    assert scores([offline(**{"search.simulations": 8})], **POLICY)[0] < 0.2


def test_cart_pole_is_learned():
    """500 by search, 244 by the policy alone after 50,000 steps of one seed (random 22,
    best 500; 90 s). With values stretched among siblings: 171 and 107."""
    name, preset = "gymnax/CartPole-v1", "cartpole"
    agent = agent_of(name, preset)
    schedule = Schedule(**{**agent.schedule, "eval_episodes": 1})
    run = wm.train(agent, wm.env(name), schedule, quiet=True)
    evaluate = evaluator(agent, wm.env(name), 64)
    assert evaluate(run.state(), jax.random.key(7)).returns.mean() >= 400


def test_tic_tac_toe_is_learned_without_its_rules():
    """200,000 moves of self-play, the legal ones known where one stands only. Lost
    against a perfect opponent: 0.011 by the policy alone and 0.045 with 32 simulations,
    against any reply 0.007 and 0.020; an untrained net alone loses 0.84 (five
    minutes)."""
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
    assert max(lost[0][0], lost[32][0]) <= 0.1
