"""PETS: random at first, then fits and plans."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.agents import fits
from tests.agents.fits import SCHEDULE, same
from wm.errors import UserError

TINY = {
    "model.members": 2,
    "model.layers": 1,
    "model.units": 8,
    "model.particles": 2,
    "fit.batch_size": 8,
    "fit.epochs": 2,
    "plan.horizon": 3,
    "plan.samples": 6,
    "plan.elites": 2,
    "plan.iterations": 2,
}


@functools.cache
def ready():
    return fits.ready("pets", "classic/pendulum", TINY)


@functools.cache
def fit():
    return jax.jit(ready().agent.fit)


def pool(state):
    return ready().loop.buffer.dataset(state.buffer)


def first(rows=4):
    env = wm.envs.batch(wm.env("classic/pendulum"))
    return env.reset(jax.random.key(3), rows)[1]


def test_prefill_is_uniform_and_plans_nothing():
    agent, _, _, states = ready()
    actor = agent.actor(states[0].agent)
    carry = agent.start(actor, 2000)
    timestep = first(2000)
    after, action, _ = agent.act(actor, jax.random.key(0), carry, timestep, "prefill")
    assert same(after, carry)
    assert abs(action.mean()) < 0.05
    np.testing.assert_allclose(action.std(), 1 / np.sqrt(3), rtol=0.05)


def test_planning_depends_on_what_was_learned_and_on_what_is_seen():
    agent, _, _, states = ready()
    state = states[0].agent
    act = jax.jit(
        lambda actor, timestep: agent.act(
            actor, jax.random.key(0), agent.start(actor, 4), timestep, "train"
        )[1]
    )
    timestep = first()
    action = act(agent.actor(state), timestep)
    assert action.shape == (4, 1)
    assert (np.abs(action) <= 1).all()
    other = agent.init(jax.random.key(9)).params["model"]
    louder = jax.tree.map(lambda x: 5.0 * x, other["nets"])
    assert not np.allclose(act({"model": {**other, "nets": louder}}, timestep), action)
    elsewhere = timestep._replace(observation=timestep.observation[::-1])
    assert not np.allclose(act(agent.actor(state), elsewhere), action)


def test_a_fit_repeats_and_depends_on_key_and_data():
    _, _, _, states = ready()
    state, data = states[0].agent, pool(states[0])
    fitted, metrics = fit()(state, jax.random.key(1), data)
    assert same(fitted, fit()(state, jax.random.key(1), data)[0])
    assert not same(fitted, fit()(state, jax.random.key(2), data)[0])
    assert not same(fitted, fit()(state, jax.random.key(1), pool(states[1]))[0])
    assert not same(fitted.params["model"]["nets"], state.params["model"]["nets"])
    assert np.isfinite(metrics["model/loss"])
    assert metrics["model/epochs"] == 2
    once = fitted.optimizer[0].count
    again, _ = fit()(fitted, jax.random.key(3), data)
    assert again.optimizer[0].count == 2 * once > 0


def test_fits_of_several_seeds_at_once_equal_single_ones():
    _, _, _, states = ready()
    agents = jax.tree.map(lambda *x: jnp.stack(x), *(s.agent for s in states))
    pools = jax.tree.map(lambda *x: jnp.stack(x), *(pool(s) for s in states))
    keys = jax.random.split(jax.random.key(5), 2)
    together, _ = jax.jit(jax.vmap(ready()[0].fit))(agents, keys, pools)
    for seed, state in enumerate(states):
        alone, _ = fit()(state.agent, keys[seed], pool(state))
        mine = jax.tree.map(lambda x, seed=seed: x[seed], together)
        assert same(mine, alone, 1e-5)


def test_a_run_fits_every_so_many_steps():
    env = wm.env("classic/pendulum")
    agent = wm.agent("pets", env.spec, **TINY)
    run = wm.train(agent, env, SCHEDULE, quiet=True)
    assert run.scores.shape == (1, 100)
    fits = [row["step"] for row in run.metrics() if "model/loss" in row]
    assert fits == [20, 40]


def test_what_cannot_work_is_one_line():
    with pytest.raises(UserError, match="one vector of numbers"):
        wm.agent("pets", wm.env("pixels/catch").spec)
    with pytest.raises(UserError, match=r"--agent\.model\.learn_reward"):
        wm.agent("pets", wm.env("probe/hidden_point").spec)
