"""MB-MF: the stages of a run, who acts in each, and what each learns from."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.agents.mb_mf_config import (
    CONTROL,
    DAGGER,
    DEMONSTRATE,
    FREE,
    MODEL,
    NOTHING,
    POLICY,
    RANDOM,
    Config,
    Round,
    timetable,
)
from wm.errors import UserError
from wm.presets import of
from wm.train.device import DeviceRunner
from wm.train.loop import Loop, loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys

TINY = {
    "model.units": 8,
    "fit.batch_size": 8,
    "fit.epochs": 2,
    "planner": "cem",
    "plan.cem.horizon": 3,
    "plan.cem.samples": 8,
    "plan.cem.elites": 2,
    "plan.cem.iterations": 2,
    "imitation.batch_size": 8,
    "imitation.epochs": 2,
    "ppo.layers": (8,),
    "ppo.minibatches": 2,
    "ppo.epochs": 2,
    "aggregation": (1, 1),
    "demonstrations": 1,
    "dagger": (1, 1),
    "window": 20,
    "action_noise": 0.1,
}
SCHEDULE = Schedule(
    total=400, envs=2, chunk=10, updates=1, prefill=20, fit_steps=20, replay=200
)
ENV = wm.env("classic/cartpole_swingup", time_limit=8)


def agent_of(**settings):
    return wm.agent("mb_mf", ENV.spec, **{**TINY, **settings})


class Course(NamedTuple):
    """A run, its state after each round, and the state before any."""

    agent: Any
    loop: Loop
    rounds: list


@functools.cache
def course() -> Course:
    """Control, demonstrations, DAgger, and four rounds of PPO, of a chunk each."""
    agent = agent_of()
    loop = loop_of(agent, SCHEDULE)
    runner = DeviceRunner(loop, ENV, Seeds(seed_keys(0, 1), "loop"))
    states = runner.prefill(runner.init(), [1])
    keep = lambda states: jax.tree.map(jnp.copy, states[0])
    kept = [keep(states)]
    for _ in range(7):
        states, _ = runner.fit(states, [True])
        states, _ = runner.interval(states, [1], [0])
        kept.append(keep(states))
    return Course(agent, loop, kept)


def newest(number: int):
    """Records of a round, `[2, 10, …]`, without the time step after them."""
    loop, state = course().loop, course().rounds[number]
    batch = loop.buffer.newest(state.buffer, 11)._replace(probability=None)
    return jax.tree.map(lambda x: x[:, :-1], batch)


def test_timetable():
    config = dataclasses.replace(
        Config(), aggregation=(2, 2), demonstrations=1, dagger=(2, 1)
    )
    fit, go = Round(CONTROL, MODEL), Round(CONTROL, NOTHING)
    ask = Round(DAGGER, POLICY)
    wanted = [fit, go, fit, go, Round(DEMONSTRATE, NOTHING), ask, ask]
    assert timetable(config)[:-2] == wanted
    assert timetable(config)[-2:] == [Round(FREE, POLICY), Round(FREE, NOTHING)]


def test_published_rounds():
    halfcheetah = timetable(Config())
    assert len(halfcheetah) == 7 * 9 + 60 + 3 * 2 + 2
    assert sum(round.fits == MODEL for round in halfcheetah) == 7
    schedule = of("mb_mf")["halfcheetah"].schedule
    assert schedule["fit_steps"] == 1_001
    assert schedule["replay"] == (10 + 63 + 60 + 6) * 1_001
    hopper = of("mb_mf")["hopper"].schedule  # random rollouts of 200 steps, others 1000
    assert (hopper["fit_steps"], hopper["prefill"]) == (1_001, 20 * 201)
    assert hopper["replay"] == (5 + 50 + 60 + 25) * 1_001


@pytest.mark.parametrize(("number", "remembers"), [(1, True), (3, False)])
def test_in_dagger_the_controller_remembers_no_plan(number, remembers):
    """A label follows from the state alone; under control the plan goes on."""
    agent, state = course().agent, course().rounds[number]
    actor, timestep = agent.actor(state.agent), state.timestep
    assert (int(actor["stage"]) == DAGGER) != remembers
    act = jax.jit(lambda carry: agent.act(actor, key, carry, timestep, "train"))
    key, fresh = jax.random.key(3), agent.start(actor, 2)
    model, action, plan = fresh
    numbers = lambda x: jnp.issubdtype(x.dtype, jnp.floating)
    changed = jax.tree.map(lambda x: x + 0.5 if numbers(x) else x, plan)
    said = [act(carry)[2]["expert"] for carry in (fresh, (model, action, changed))]
    begins = np.asarray(timestep.is_first)
    differ = np.abs(np.asarray(said[0] - said[1]))[~begins] > 1e-6
    assert differ.any() == remembers


def test_stages_follow_one_another():
    stages = [set(np.asarray(newest(n).extras["stage"]).flat) for n in range(6)]
    assert stages == [{RANDOM}, {CONTROL}, {DEMONSTRATE}, {DAGGER}, {FREE}, {FREE}]
    assert int(course().agent.stage(jnp.int32(1_000))) == FREE


def test_the_controller_plays_what_it_plans_with_noise_while_data_are_collected():
    record = newest(1)
    difference = np.asarray(record.action - record.extras["expert"])
    assert 0 < np.abs(difference).mean() < 0.2
    assert (np.abs(record.action) <= 1).all()
    record = newest(2)
    np.testing.assert_array_equal(record.action, record.extras["expert"])


def test_in_dagger_the_policy_acts_and_the_controller_says_what_it_would_have_done():
    agent, loop, rounds = course()
    record = newest(3)
    before, _ = jax.jit(lambda s: loop.fit(None, s))(rounds[2])
    mean = agent.mean(before.agent.learner.params, record.timestep.observation)
    np.testing.assert_allclose(record.action, mean, atol=1e-5)
    assert (np.abs(record.action - record.extras["expert"]) > 1e-3).any()
    assert (np.abs(record.extras["expert"]) <= 1).all()


def test_the_policy_is_fitted_to_the_controllers_actions_not_to_its_own():
    agent, loop, rounds = course()
    dataset = loop.buffer.dataset(rounds[3].buffer)
    fit = jax.jit(agent.fit_policy)
    state, key = rounds[3].agent, jax.random.key(0)
    steps = dataset.steps
    other = dataset._replace(steps=steps._replace(action=steps.action + 5))
    same = jax.tree.leaves(fit(state, key, other).learner.params)
    for a, b in zip(
        jax.tree.leaves(fit(state, key, dataset).learner.params), same, strict=True
    ):
        np.testing.assert_array_equal(a, b)
    expert = steps.extras | {"expert": -steps.extras["expert"]}
    other = dataset._replace(steps=steps._replace(extras=expert))
    changed = jax.tree.leaves(fit(state, key, other).learner.params)
    assert any((a != b).any() for a, b in zip(same, changed, strict=True))


def test_the_network_is_fitted_to_steps_of_its_own_stages_only():
    agent, loop, rounds = course()
    fit = jax.jit(agent.fit_model)
    dataset = loop.buffer.dataset(rounds[3].buffer)
    steps, stage = dataset.steps, dataset.steps.extras["stage"]
    state, key = rounds[3].agent, jax.random.key(0)

    def model_after(disturbed):
        shift = jnp.where(disturbed, 3.0, 0.0)[..., None]
        timestep = steps.timestep
        seen = timestep._replace(observation=timestep.observation + shift)
        other = dataset._replace(steps=steps._replace(timestep=seen))
        return jax.tree.leaves(fit(state, key, other).model["nets"])

    plain = model_after(stage < 0)
    for who, matters in ((CONTROL, True), (DEMONSTRATE, False), (DAGGER, False)):
        # Not those whose successor is of another stage.
        whole = (stage == who) & (jnp.roll(stage, 1, 1) == who)
        pairs = zip(plain, model_after(whole), strict=True)
        assert any((a != b).any() for a, b in pairs) == matters


def test_statistics_are_those_of_the_first_fit():
    _, _, rounds = course()
    first, last = rounds[1].agent.model["stats"], rounds[-1].agent.model["stats"]
    for name in first:
        np.testing.assert_array_equal(first[name], last[name])
    assert (np.asarray(first["target_std"]) != 1).all()


def test_ppo_waits_for_a_window_of_its_own_steps():
    """Windows of two chunks: updates after the second and the fourth."""
    _, _, rounds = course()
    learned = [int(state.agent.learned) for state in rounds]
    assert learned == [0, 0, 0, 0, 0, 60, 60, 80]
    params = [jax.tree.leaves(state.agent.learner.params) for state in rounds]
    moved = [
        any((a != b).any() for a, b in zip(params[n], params[n + 1], strict=True))
        for n in range(7)
    ]
    # Before round 3 and 4 the policy is fitted; after 5 and 7 PPO learned.
    assert moved == [False, False, True, True, True, False, True]


def test_the_policy_begins_with_the_stated_deviation_and_keeps_it_until_ppo():
    _, _, rounds = course()
    std = lambda n: np.exp(rounds[n].agent.learner.params["actor"]["log_std"])
    np.testing.assert_allclose(std(0), 0.5, rtol=1e-6)
    np.testing.assert_array_equal(std(4), std(0))
    assert (std(5) != std(0)).all()
    critic = lambda n: jax.tree.leaves(rounds[n].agent.learner.params["critic"])
    for a, b in zip(critic(4), critic(0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluation_plays_the_controller_first_and_then_the_mean_of_the_policy():
    agent, _, rounds = course()
    _, timestep = wm.envs.batch(ENV).reset(jax.random.key(1), 3)
    act = jax.jit(
        lambda actor, key: agent.act(
            actor, key, agent.start(actor, 3), timestep, "eval"
        )
    )
    for number, planned in ((1, True), (2, True), (3, False), (5, False)):
        state = rounds[number].agent
        _, action, extras = act(agent.actor(state), jax.random.key(2))
        mean = agent.mean(state.learner.params, timestep.observation)
        wanted = extras["expert"] if planned else mean
        np.testing.assert_allclose(action, wanted, atol=1e-6)
        assert (np.asarray(extras["expert"]) != 0).any() == planned


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.members": 2, "model.particles": 2}, r"--agent\.model\.members"),
        ({"model.gaussian": True}, r"--agent\.model\.gaussian false"),
        ({"dagger": (-1, 2)}, r"--agent\.dagger must be iterations and rounds"),
        ({"demonstrations": -1}, r"--agent\.demonstrations must be at least 0, got -1"),
        ({"ppo.form": "tanh"}, r"--agent\.ppo\.form must be normal"),
        ({"ppo.normalize_observation": True}, r"normalize_observation false"),
        ({"ppo.gamma": 2.0}, r"^--agent\.ppo\.gamma must be in \[0, 1\], got 2.0"),
        ({"imitation.epochs": 0}, r"^--agent\.imitation\.epochs must be above 0"),
        ({"fit.fraction_new": 2.0}, r"^--agent\.fit\.fraction_new must be in"),
        ({"plan.cem.elites": 5000}, r"^--agent\.plan\.cem\.elites must be in"),
    ],
)
def test_what_cannot_work_is_one_line(settings, message):
    with pytest.raises(UserError, match=message):
        agent_of(**settings)


@pytest.mark.parametrize(
    ("settings", "schedule", "message"),
    [
        ({}, {"fit_steps": None}, r"--train\.fit_steps must say how long a round is"),
        (
            {"window": 25},
            {},
            r"--agent\.window must be a multiple of --train\.chunk 10",
        ),
        ({}, {"replay": 60}, r"--train\.replay must hold the 80 steps"),
        (
            {"ppo.minibatches": 3},
            {},
            r"--agent\.ppo\.minibatches must divide the 40 steps",
        ),
        ({}, {"updates": 2}, r"--train\.updates must be 1"),
    ],
)
def test_schedules_that_cannot_work_are_one_line(settings, schedule, message):
    schedule = dataclasses.replace(SCHEDULE, **schedule)
    agent = agent_of(**settings)
    asked = lambda: (agent.buffer(schedule), agent.batches(schedule))
    with pytest.raises(UserError, match=message):
        asked()
