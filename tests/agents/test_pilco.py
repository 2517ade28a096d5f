"""PILCO: random at first, then processes and a policy in them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.agents import fits
from tests.agents.fits import SCHEDULE, same
from tests.models.tiny import fresh
from wm.agents.pilco import double, single
from wm.errors import UserError
from wm.ops import moments
from wm.ops.moments import Gaussian

TINY = {
    "model.angles": (0,),
    "model.target": (np.pi, 0.0),
    "model.points": 24,
    "model.iterations": 5,
    "policy.basis": 4,
    "horizon": 4,
    "iterations": 4,
}


@functools.cache
def ready():
    return fits.ready("pilco", "classic/pendulum_swingup", TINY)


@functools.cache
def fit():
    return jax.jit(ready().agent.fit)


def pool(state):
    return ready().loop.buffer.dataset(state.buffer)


@functools.cache
def policy(form):
    """An agent and a policy of some size."""
    spec = wm.env("classic/pendulum_swingup").spec
    agent = wm.agent("pilco", spec, **TINY, **{"policy.form": form})
    params = fresh(agent).params["policy"]
    if form == "rbf":
        points = jax.random.normal(jax.random.key(5), (4, 3))
        params = {**params, "points": points, "targets": 5 * params["targets"]}
        with jax.enable_x64(True):
            solved = jax.jit(lambda params: single(agent.policy.solved(double(params))))
            return agent, solved(params)
    return agent, jax.tree.map(lambda x: 3 * x, params)


def test_prefill_is_uniform_and_acting_is_the_policy():
    agent, _, _, states = ready()
    env = wm.envs.batch(wm.env("classic/pendulum_swingup"))
    actor, (_, timestep) = (
        agent.actor(states[0].agent),
        env.reset(jax.random.key(3), 2000),
    )
    act = lambda key, mode: agent.act(
        actor, jax.random.key(key), agent.start(actor, 2000), timestep, mode
    )[1]
    drawn = act(0, "prefill")
    assert abs(drawn.mean()) < 0.05
    np.testing.assert_allclose(drawn.std(), 1 / np.sqrt(3), rtol=0.05)
    assert same(act(0, "train"), act(1, "eval"))
    assert act(0, "train").dtype == jnp.float32


@pytest.mark.parametrize("form", ["rbf", "linear"])
def test_a_command_in_a_certain_state_is_the_action(form):
    agent, params = policy(form)
    seen = jnp.array([[0.3, -0.2], [-0.4, 0.5]])
    with jax.enable_x64(True):
        params, seen = double((params, seen))
        state = Gaussian(seen, jnp.zeros((2, 2, 2)))
        act, key = jax.jit(agent.policy.act), jax.random.key(0)
        _, command, _ = act({"policy": params}, key, (), state)
        action = jax.jit(agent.policy.certain)(params, seen)
        np.testing.assert_allclose(command.mean, action, rtol=1e-3)
        np.testing.assert_allclose(command.cov, 0, atol=1e-5)
        np.testing.assert_allclose(command.cross, 0, atol=1e-12)
    assert (np.abs(action) <= 1).all()
    assert np.abs(action).max() > 0.05


@pytest.mark.parametrize("form", ["rbf", "linear"])
def test_a_command_in_an_uncertain_state_matches_samples(form):
    """Within what taking sine and cosine for Gaussian costs at this spread."""
    agent, params = policy(form)
    with jax.enable_x64(True):
        params = double(params)
        cov = jnp.array([[0.01, 0.004], [0.004, 0.04]])
        state = Gaussian(jnp.array([0.4, -0.3]), cov)
        prepared = jax.jit(agent.policy.prepared)(params)
        command = jax.jit(agent.policy.command)(prepared, state)
        rng = np.random.default_rng(0)
        drawn = rng.multivariate_normal(state.mean, cov, 200_000)
        action = np.asarray(jax.jit(agent.policy.certain)(params, drawn))
        wide = agent.model.widened(state)
    pairs = np.stack([np.sin(drawn[:, 0]), np.cos(drawn[:, 0])], 1)
    both = np.cov(np.concatenate([drawn, pairs, action], 1).T)
    assert wide.mean.shape == (4,)
    np.testing.assert_allclose(command.mean, action.mean(0), atol=3e-3)
    np.testing.assert_allclose(command.cov[0, 0], both[-1, -1], rtol=0.05, atol=1e-5)
    np.testing.assert_allclose(command.cross[:, 0], both[:-1, -1], atol=1e-3)
    assert np.abs(both[:-1, -1]).max() > 1e-3


@pytest.mark.parametrize("form", ["rbf", "linear"])
def test_the_gradient_of_the_cost_is_that_of_differences(form):
    _, _, _, states = ready()
    fitted = fit()(states[0].agent, jax.random.key(1), pool(states[0]))[0]
    agent, params = policy(form)
    with jax.enable_x64(True):
        params, model = double((params, fitted.params["model"]))
        # Processes so unsure that rounding is no part of the differences.
        hyper = model["hyper"].at[:, -1].set(np.log(0.1))
        known = agent.model.prepared({"model": {**model, "hyper": hyper}})
        loss = jax.jit(lambda p: agent.expected_cost(known, p, jax.random.key(0)))
        gradient = jax.jit(jax.grad(loss))(params)
        rng = np.random.default_rng(1)
        way = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params)
        at = lambda h: loss(jax.tree.map(lambda x, w: x + h * w, params, way))
        slope = (at(1e-5) - at(-1e-5)) / 2e-5
        products = jax.tree.map(lambda g, w: (g * w).sum(), gradient, way)
        np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-6)
        assert abs(slope) > 1e-5


def test_a_fit_repeats_and_depends_on_key_and_data():
    _, _, _, states = ready()
    state, data = states[0].agent, pool(states[0])
    fitted, metrics = fit()(state, jax.random.key(1), data)
    assert same(fitted, fit()(state, jax.random.key(1), data)[0])
    other = fit()(state, jax.random.key(2), data)[0].params
    assert not same(fitted.params["policy"], other["policy"])
    elsewhere = fit()(state, jax.random.key(1), pool(states[1]))[0].params
    assert not same(fitted.params["model"], elsewhere["model"])
    assert fitted.fits == 1
    assert metrics["model/points"] == data.mask.sum()
    assert 0 < metrics["plan/cost"] <= 4
    shape = lambda x: (x.shape, x.dtype)
    assert jax.tree.map(shape, fitted) == jax.tree.map(shape, state)


def test_a_second_fit_goes_on_from_the_first_whatever_the_key():
    """And lowers the cost; by the same program."""
    _, _, _, states = ready()
    data = pool(states[0])
    once, before = fit()(states[0].agent, jax.random.key(1), data)
    compiled = fit()._cache_size()
    twice, after = fit()(once, jax.random.key(2), data)
    assert same(twice, fit()(once, jax.random.key(3), data)[0])
    assert after["plan/cost"] <= before["plan/cost"] + 1e-3
    assert after["model/loss"] <= before["model/loss"] + 1e-3
    assert fit()._cache_size() == compiled


def test_restarts_keep_the_best():
    _, _, _, states = ready()
    spec = wm.env("classic/pendulum_swingup").spec
    many = wm.agent("pilco", spec, **TINY, restarts=3)
    given = (states[0].agent, jax.random.key(1), pool(states[0]))
    fitted, metrics = jax.jit(many.fit)(*given)
    with jax.enable_x64(True):
        params = double(fitted.params)
        known = many.model.prepared({"model": params["model"]})
        cost = many.expected_cost(known, params["policy"], jax.random.key(0))
        np.testing.assert_allclose(cost, metrics["plan/cost"], rtol=1e-3)
        key_plan, *keys = jax.random.split(given[1], 4)
        starts = [double(many.policy.init(key, many.begin())) for key in keys]
        drawn = [float(many.expected_cost(known, p, key_plan)) for p in starts]
    assert metrics["plan/cost"] <= min(drawn) + 1e-3


def test_without_iterations_the_policy_stays_as_drawn():
    _, _, _, states = ready()
    spec = wm.env("classic/pendulum_swingup").spec
    idle = wm.agent("pilco", spec, **{**TINY, "iterations": 0})
    given = (states[0].agent, jax.random.key(1), pool(states[0]))
    policy, metrics = jax.jit(idle.fit)(*given)
    _, key = jax.random.split(jax.random.key(1), 2)
    with jax.enable_x64(True):
        drawn = idle.policy.solved(idle.policy.init(key, idle.begin()))
        assert same(policy.params["policy"], drawn, 1e-3)
    assert metrics["plan/iterations"] == 0


def test_fits_of_several_seeds_at_once_equal_single_ones():
    _, _, _, states = ready()
    agents = jax.tree.map(lambda *x: jnp.stack(x), *(s.agent for s in states))
    pools = jax.tree.map(lambda *x: jnp.stack(x), *(pool(s) for s in states))
    keys = jax.random.split(jax.random.key(5), 2)
    together, metrics = jax.jit(jax.vmap(ready()[0].fit))(agents, keys, pools)
    for seed, state in enumerate(states):
        alone, expected = fit()(state.agent, keys[seed], pool(state))
        mine = jax.tree.map(lambda x, seed=seed: x[seed], together)
        # `beta` solves nearly singular systems: policies are compared by their cost.
        assert same(mine.params["model"], alone.params["model"], 1e-3)
        np.testing.assert_allclose(
            metrics["plan/cost"][seed], expected["plan/cost"], rtol=1e-4
        )


def test_a_run_fits_every_so_many_steps():
    env = wm.env("classic/pendulum_swingup")
    agent = wm.agent("pilco", env.spec, **TINY)
    run = wm.train(agent, env, SCHEDULE, quiet=True)
    assert run.scores.shape == (1, 100)
    rows = [row for row in run.metrics() if "plan/cost" in row]
    assert [row["step"] for row in rows] == [20, 40]


def test_policies_begin_where_episodes_do():
    agent, _ = policy("rbf")
    points = fresh(agent).params["policy"]["points"]
    assert points.shape == (4, 3)  # speed, sine, cosine
    np.testing.assert_allclose(points[:, 2], 1, atol=0.1)
    with jax.enable_x64(True):
        begin = agent.begin()
        np.testing.assert_allclose(begin.cov, 0.01 * np.eye(2))
        assert moments.part(agent.model.widened(begin), (1,)).mean == 0


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"policy.form": "mlp"}, "must be rbf or linear, got mlp"),
        ({"policy.basis": 0}, r"--agent\.policy\.basis must be at least 1, got 0"),
        ({"horizon": 0}, r"--agent\.horizon must be at least 1, got 0"),
        ({"restarts": 0}, r"--agent\.restarts must be at least 1, got 0"),
        ({"begin": (1.0,)}, r"--agent\.begin must have 2 entries"),
        ({"begin_std": 0.0}, r"--agent\.begin_std must be above 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_one_line(wrong, match):
    spec = wm.env("classic/pendulum_swingup").spec
    with pytest.raises(UserError, match=match):
        wm.agent("pilco", spec, **wrong)
