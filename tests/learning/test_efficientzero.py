"""EfficientZero learns Catch from few steps, and its latents foresee what is observed.

`make test-learning` runs it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.train.evaluate import evaluator
from wm.train.loop import loop_of
from wm.train.schedule import Schedule

pytestmark = pytest.mark.slow
SEARCH, POLICY = {}, {"eval_simulations": 0}


def trained(name, preset, seeds=2, **settings):
    """States of every seed."""
    env = wm.env(name)
    agent = wm.agent("efficientzero", env.spec, preset=preset, **settings)
    schedule = Schedule(**{**agent.schedule, "eval_episodes": 1})
    run = wm.train(agent, env, schedule, seeds=seeds, quiet=True)
    return [run.state(seed) for seed in range(seeds)]


def scores(states, name, preset, **settings):
    """Mean return of every seed over 256 episodes."""
    env = wm.env(name)
    agent = wm.agent("efficientzero", env.spec, preset=preset, **settings)
    evaluate = evaluator(agent, env, 256)
    key = jax.random.key(7)
    return [float(evaluate(state, key).returns.mean()) for state in states]


def cosines(state, name, preset):
    """Of every k, on 1,000 steps that were not learned from."""
    env = wm.env(name)
    agent = wm.agent("efficientzero", env.spec, preset=preset, pad=0, intensity=0.0)
    loop = loop_of(agent, Schedule(**agent.schedule))
    batched, K = wm.batch(env), agent.config.unroll

    def measured(agent_state, key):
        begun = loop.init(batched, key).replace(agent=agent_state)
        begun = loop.prefill(batched, begun, loop.prefill_chunks)
        batch = loop.buffer.sample(begun.buffer, key, 256, agent.window)[1]
        params, views = agent_state.params, agent.views(key, batch)
        latent = agent.model.represent(params, views.first)
        latents = []
        for k in range(K):
            latent = agent.model.advance(params, latent, batch.action[:, k])
            latents.append(latent)
        cosine = agent.consistency(params, jnp.stack(latents), views.later)
        over = jnp.cumsum(batch.timestep.is_last, 1)[:, :K].T > 0
        return jnp.sum(jnp.where(over, 0.0, cosine), 1) / jnp.sum(~over, 1)

    return np.asarray(jax.jit(measured)(state, jax.random.key(5)))


def test_catch_is_learned_in_ten_thousand_steps():
    states = trained("gymnax/Catch-bsuite", "catch")
    found = scores(states, "gymnax/Catch-bsuite", "catch", **SEARCH)
    alone = scores(states, "gymnax/Catch-bsuite", "catch", **POLICY)
    print("catch: search", found, "policy", alone, flush=True)
    assert min(found) >= 0.9


def test_latents_point_where_observations_do_only_if_they_are_made_to():
    name, preset = "pixels/catch", "pixels"
    found = {}
    for scale in (2.0, 0.0):
        (state,) = trained(name, preset, seeds=1, consistency_scale=scale)
        found[scale] = cosines(state, name, preset)
        score = scores([state], name, preset)
        print("consistency", scale, found[scale].round(3), score, flush=True)
    assert found[2.0].min() >= 0.9
    assert found[0.0].max() < 0.6
