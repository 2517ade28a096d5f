"""GrBAL: every row adapts to its own last transitions, and plans in what came out."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.agents import fits
from tests.agents.fits import SCHEDULE, same
from wm.envs import batch
from wm.errors import UserError
from wm.models import meta_fit
from wm.train.loop import loop_of

TINY = {
    "model.layers": 1,
    "model.units": 8,
    "fit.window": 3,
    "fit.inner_rate": 0.1,
    "fit.batch_size": 2,
    "fit.epochs": 2,
    "fit.holdout_windows": 3,
    "plan.shooting.horizon": 3,
    "plan.shooting.samples": 6,
}
ENV = "classic/pendulum_masses"


@functools.cache
def ready():
    return fits.ready("grbal", ENV, TINY)


@functools.cache
def fit():
    return jax.jit(ready().agent.fit)


def pool(state):
    return ready().loop.buffer.dataset(state.buffer)


@functools.cache
def played(steps=6, rows=3, mode="train"):
    """Carry after each step of one episode, with what was seen and done."""
    agent, _, _, states = ready()
    actor = agent.actor(states[0].agent)
    env = batch(wm.env(ENV))

    @jax.jit
    def play(key):
        key_reset, key_act = jax.random.split(key)
        state, timestep = env.reset(key_reset, rows)

        def body(loop, key):
            state, timestep, carry = loop
            carry, action, _ = agent.act(actor, key, carry, timestep, mode)
            after, following = env.step(state, action)
            return (after, following, carry), (timestep, action, carry)

        start = (state, timestep, agent.start(actor, rows))
        return jax.lax.scan(body, start, jax.random.split(key_act, steps))[1]

    return play(jax.random.key(5))


@pytest.mark.parametrize("mode", ["train", "prefill"])
def test_the_memory_holds_the_last_transitions(mode):
    timestep, action, carry = played(mode=mode)
    seen = np.asarray(timestep.observation)
    np.testing.assert_array_equal(carry.count[:, 0], [0, 1, 2, 3, 4, 5])
    x = np.concatenate([seen[2:5], np.asarray(action)[2:5]], -1).swapaxes(0, 1)
    np.testing.assert_allclose(carry.x[-1], x, rtol=1e-6)
    change = (seen[3:6] - seen[2:5]).swapaxes(0, 1)
    np.testing.assert_allclose(carry.y[-1], change, rtol=1e-6)


def test_rows_adapt_once_the_window_is_full_and_each_to_its_own():
    agent, _, _, states = ready()
    model = states[0].agent.params["model"]
    carry = played()[2]
    at = lambda t, row: jax.tree.map(lambda x: x[t, row], carry)
    for t in range(6):
        moved = not same(agent.adapt(model, at(t, 0)), model)
        assert moved == (t >= 3)
    mine, other = (agent.adapt(model, at(5, row)) for row in (0, 1))
    assert not same(mine, other)
    recent = at(5, 0)
    args = (agent.model, agent.config.fit, model, recent.x, recent.y, jnp.ones(3))
    assert same(mine, meta_fit.adapt(*args))


def test_plans_are_made_in_the_adapted_network():
    """With one row, the action is that of the planner given the adapted parameters."""
    agent, _, _, states = ready()
    actor = agent.actor(states[0].agent)
    louder = jax.tree.map(lambda x: 5.0 * x, actor["model"]["nets"])
    actor = {"model": {**actor["model"], "nets": louder}}
    timestep, _, carry = played()
    row = lambda tree, t: jax.tree.map(lambda x: x[t, :1], tree)
    key = jax.random.key(3)
    act = jax.jit(lambda *args: agent.act(actor, *args, "train")[1])
    action = act(key, row(carry, 4), row(timestep, 5))
    recent = jax.tree.map(lambda x: x[5, 0], carry)
    adapted = {"model": agent.adapt(actor["model"], recent)}
    plan = jax.tree.map(lambda x: x[4, :1], carry.plan)
    (single,) = jax.random.split(key, 1)
    planned = lambda params: agent.policy.act(params, single, plan, row(timestep, 5))[1]
    assert same(action, planned(adapted), 1e-6)
    assert not same(planned(adapted), planned(actor), 1e-6)


def test_prefill_is_uniform():
    agent, _, _, states = ready()
    actor = agent.actor(states[0].agent)
    timestep = batch(wm.env(ENV)).reset(jax.random.key(3), 2000)[1]
    carry = agent.start(actor, 2000)
    _, action, _ = agent.act(actor, jax.random.key(0), carry, timestep, "prefill")
    assert abs(action.mean()) < 0.05
    np.testing.assert_allclose(action.std(), 1 / np.sqrt(3), rtol=0.05)


def test_a_fit_repeats_and_depends_on_key_and_data():
    _, _, _, states = ready()
    state, data = states[0].agent, pool(states[0])
    fitted, metrics = fit()(state, jax.random.key(1), data)
    assert same(fitted, fit()(state, jax.random.key(1), data)[0])
    assert not same(fitted, fit()(state, jax.random.key(2), data)[0])
    assert not same(fitted, fit()(state, jax.random.key(1), pool(states[1]))[0])
    assert metrics["model/epochs"] == 2
    again, _ = fit()(fitted, jax.random.key(3), data)
    assert again.optimizer[0].count == 2 * fitted.optimizer[0].count > 0
    assert all(np.isfinite(x) for x in metrics.values())


def test_what_is_remembered_is_what_fits_learn():
    """Rewards too, and absolute entries as they are."""
    more = {"model.learn_reward": True, "model.absolute": (2,)}
    agent = wm.agent("grbal", wm.env(ENV).spec, **TINY, **more)
    timestep, action, _ = played()
    row = lambda tree, t: jax.tree.map(lambda x: x[t], tree)
    fresh = agent.start({"model": {}}, 3)
    memory = agent.remember(fresh, fresh, row(timestep, 0)).replace(action=action[0])
    memory = agent.remember(fresh, memory, row(timestep, 1))
    np.testing.assert_array_equal(memory.y[:, -1, -1], timestep.reward[1])
    here, after = timestep.observation[0], timestep.observation[1]
    np.testing.assert_array_equal(memory.y[:, -1, 2], after[:, 2])
    np.testing.assert_array_equal(memory.y[:, -1, :2], (after - here)[:, :2])


def test_a_run_fits_every_so_many_steps():
    env = wm.env(ENV)
    agent = wm.agent("grbal", env.spec, **TINY)
    run = wm.train(agent, env, SCHEDULE, quiet=True)
    assert run.scores.shape == (1, 100)
    rows = [row["step"] for row in run.metrics() if "model/unadapted_error" in row]
    assert rows == [20, 40]


def test_what_cannot_work_is_one_line():
    with pytest.raises(UserError, match="one vector of numbers"):
        wm.agent("grbal", wm.env("pixels/catch").spec)
    with pytest.raises(UserError, match=r"--agent\.model\.members"):
        wm.agent("grbal", wm.env(ENV).spec, **{"model.gaussian": True})


def test_windows_that_nothing_holds_are_refused_before_a_run():
    """Nothing would ever be learned."""
    spec = wm.env(ENV, time_limit=6).spec
    wm.agent("grbal", spec, **TINY)
    message = r"--agent\.fit\.window must be at most half an episode .* 6 steps, got 4"
    with pytest.raises(UserError, match=message):
        wm.agent("grbal", spec, **{**TINY, "fit.window": 4})
    little = dataclasses.replace(SCHEDULE, replay=13)
    with pytest.raises(UserError, match=r"--train\.replay must hold at least 7 .* 6"):
        loop_of(wm.agent("grbal", spec, **TINY), little)
