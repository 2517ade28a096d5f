"""MB-MPO: rollouts in every model, adapted policies that collect, one shared policy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import wm
from tests.agents import fits
from tests.agents.fits import same
from wm.behaviors import meta_gradient
from wm.behaviors import policy_gradient as losses
from wm.envs import batch
from wm.errors import UserError

TINY = {
    "model.members": 2,
    "model.particles": 2,
    "model.layers": 1,
    "model.units": 8,
    "fit.batch_size": 8,
    "fit.epochs": 2,
    "policy.layers": (4,),
    "inner_rate": 0.1,
    "epochs": 2,
    "steps": 2,
    "tasks": 2,
    "paths": 3,
    "length": 4,
}
ENV = "classic/pendulum"


@functools.cache
def ready():
    return fits.ready("mb_mpo", ENV, TINY)


@functools.cache
def fit():
    return jax.jit(ready().agent.fit)


def pool(state):
    return ready().loop.buffer.dataset(state.buffer)


@functools.cache
def fitted():
    state = ready().states[0]
    return fit()(state.agent, jax.random.key(1), pool(state))


def test_a_fit_repeats_and_depends_on_key_and_data():
    _, _, _, states = ready()
    state, data = states[0].agent, pool(states[0])
    after, metrics = fitted()
    assert same(after, fit()(state, jax.random.key(1), data)[0])
    assert not same(after, fit()(state, jax.random.key(2), data)[0])
    assert not same(after, fit()(state, jax.random.key(1), pool(states[1]))[0])
    assert not same(after.policy, state.policy)
    assert all(np.isfinite(x) for x in metrics.values())


def test_rows_collect_with_the_policy_of_their_task():
    agent, state = ready().agent, fitted()[0]
    timestep = batch(wm.env(ENV)).reset(jax.random.key(3), 6)[1]
    same_seen = timestep._replace(observation=timestep.observation * 0 + 0.5)
    key = jax.random.key(0)
    _, action, _ = agent.act(agent.actor(state), key, (), same_seen, "train")
    for row in range(6):
        params = jax.tree.map(lambda x, row=row: x[row % 4], state.adapted)
        mine = agent.act(
            (state.policy, agent.copies(params)), key, (), same_seen, "train"
        )
        np.testing.assert_allclose(action[row], mine[1][row], rtol=1e-6)
    assert not same(*(jax.tree.map(lambda x, k=k: x[k], state.adapted) for k in (0, 1)))
    assert (np.abs(action) <= 1).all()
    _, still, _ = agent.act(agent.actor(state), key, (), same_seen, "eval")
    assert (still == still[0]).all()


def test_rollouts_of_a_task_are_those_of_its_model():
    """Observations follow member k modulo E, cut to the range of the data."""
    agent, state = ready().agent, fitted()[0]
    starts = agent.beginnings(pool(ready().states[0]))
    model = state.model
    samples, _ = agent.rollouts(
        model, agent.copies(state.policy), jax.random.key(7), starts
    )
    assert samples.observation.shape == (4, 4, 3, 3)
    for task in range(4):
        seen, action = samples.observation[task, :-1], samples.action[task, :-1]
        x = agent.model.features(seen, jnp.clip(action, -1, 1)).reshape(1, 9, -1)
        nets = jax.tree.map(lambda w, task=task: w[task % 2][None], model["nets"])
        change, _ = agent.model.predict({**model, "nets": nets}, x)
        moved = seen + change.reshape(3, 3, 3)
        inside = jnp.clip(moved, model["low"], model["high"])
        np.testing.assert_allclose(samples.observation[task, 1:], inside, atol=1e-5)
    real = np.asarray(starts[0][: starts[1]])
    begun = np.asarray(samples.observation[:, 0]).reshape(-1, 3)
    assert all((np.abs(real - x).max(-1) < 1e-6).any() for x in begun)


def test_steps_after_the_end_of_an_episode_teach_nothing():
    """Networks of zeros: the first number grows by 1 a step and ends the episode at 3.
    Of four steps three count from 0, and one from 2."""
    spec = dataclasses.replace(
        wm.env(ENV).spec,
        reward_fn=lambda before, action, after: after[0] + 0.1 * action[0],
        terminal_fn=lambda before, action, after: after[0] > 2.5,
    )
    agent = wm.agent("mb_mpo", spec, **TINY)
    state = agent.init(jax.random.key(0))
    stats = {**state.model["stats"], "target_mean": jnp.array([1.0, 0.0, 0.0])}
    nets = jax.tree.map(jnp.zeros_like, state.model["nets"])
    model, one = {**state.model, "stats": stats, "nets": nets}, jnp.int32(1)
    policies, key = agent.copies(state.policy), jax.random.key(1)
    roll = jax.jit(
        lambda begin: agent.rollouts(
            model, policies, key, (jnp.full((1, 3), begin), one)
        )
    )
    adapted = jax.jit(lambda samples: agent.adapt(state.policy, samples))
    for begin, counting in ((0.0, 3), (2.0, 1)):
        samples, earned = roll(begin)
        live = np.broadcast_to(np.arange(4)[:, None] < counting, (4, 4, 3))
        np.testing.assert_array_equal(samples.mask, live)
        values = begin + 1.0 + np.arange(4)[:, None]
        rewards = values + 0.1 * np.clip(samples.action[..., 0], -1, 1)
        np.testing.assert_allclose(earned, (live * rewards).sum(1).mean(), rtol=1e-5)

        wild = lambda x, rows: jnp.where(
            rows.reshape(*rows.shape, *[1] * (x.ndim - 3)), 0.7, x
        )
        changed = lambda rows: samples._replace(
            observation=wild(samples.observation, rows),
            action=wild(samples.action, rows),
            advantage=wild(samples.advantage, rows),
        )
        assert same(adapted(samples), adapted(changed(~live)))
        assert not same(adapted(samples), adapted(changed(live)))


def test_rollouts_begin_where_episodes_did_or_anywhere():
    agent, _, _, states = ready()
    data = pool(states[0])
    first, count = agent.beginnings(data)
    assert count == data.steps.timestep.is_first.sum()
    everywhere = wm.agent("mb_mpo", agent.spec, **{**TINY, "starts": "all"})
    assert everywhere.beginnings(data)[1] == data.mask.sum()
    assert first.shape == everywhere.beginnings(data)[0].shape


def test_with_one_model_and_no_step_it_is_ppo_in_a_model_bit_for_bit():
    """Against PPO on the same rollouts, without anything that adapts."""
    settings = {"model.members": 1, "model.particles": 1, "tasks": 1, "inner_rate": 0}
    agent = wm.agent("mb_mpo", ready().agent.spec, **{**TINY, **settings})
    state, data = agent.init(jax.random.key(0)), pool(ready().states[0])
    starts, key, cfg = agent.beginnings(data), jax.random.key(5), agent.config
    found, _ = jax.jit(agent.improve)(state, key, starts)

    def plain(state, key):
        _, key_after = jax.random.split(key)
        policy = agent.copies(state.policy)
        after, _ = agent.rollouts(state.model, policy, key_after, starts)

        def loss(params, data):
            policy = meta_gradient.policy(agent.policy, params, data.observation)
            log_prob = policy.log_prob(data.action)
            args = (log_prob, data.log_prob, data.advantage, cfg.clip)
            return losses.masked_mean(losses.clipped_surrogate(*args), data.mask)

        def descend(learner, _):
            policy, descent = learner
            over = lambda params: jax.vmap(lambda data: loss(params, data))(after)
            gradient = jax.grad(lambda params: over(params).mean())(policy)
            change, descent = optax.adam(cfg.learning_rate).update(gradient, descent)
            return (optax.apply_updates(policy, change), descent), None

        start = (state.policy, state.descent)
        return jax.lax.scan(descend, start, None, cfg.epochs)[0][0]

    expected = jax.jit(plain)(state, key)
    assert not same(expected, state.policy)
    assert same(found.policy, expected)


def test_nothing_collected_leaves_numbers():
    states = ready().states
    data = pool(states[0])
    empty = data._replace(mask=jnp.zeros_like(data.mask))
    after, _ = fit()(states[0].agent, jax.random.key(1), empty)
    assert same(after.model, states[0].agent.model)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))


def test_the_authors_rule_of_stopping_is_the_default():
    config = wm.agent("mb_mpo", wm.env(ENV).spec).config
    fit = config.fit
    assert (fit.holdout, fit.persistency, fit.holdout_rows) == (0.2, 0.99, 20_000)
    with pytest.raises(UserError, match=r"--agent\.fit\.persistency needs"):
        dataclasses.replace(config.fit, holdout=0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("inner_rate", -1.0), ("gamma", 0.0), ("model.gaussian", True)],
)
def test_what_cannot_work_is_one_line(name, value):
    with pytest.raises(UserError, match=rf"--agent\.{name}"):
        wm.agent("mb_mpo", wm.env(ENV).spec, **{name: value})
