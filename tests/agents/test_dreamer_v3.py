"""DreamerV3 as an agent: what reaches what, what is stored, what is switched off."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.tiny import (
    CONFIG,
    SPEC,
    VECTOR_ACTION,
    L,
    N,
    batch,
    fresh,
    random_like,
    timesteps,
)
from wm.agents.dreamer_v3 import DreamerV3
from wm.errors import UserError
from wm.imagine import act_in
from wm.models.rssm import RSSM
from wm.models.rssm_state import pack
from wm.presets import compose
from wm.train.schedule import Schedule
from wm.types import ArraySpec, EnvSpec

MODEL = {"encoder", "core", "prior", "posterior"}
TERMS = (
    "dyn",
    "rep",
    "reward",
    "continue",
    "rec/vector",
    "policy",
    "value",
    "replay_value",
)


@functools.cache
def built(**changes):
    agent = DreamerV3(SPEC, dataclasses.replace(CONFIG, **changes))
    state = fresh(agent)
    state = state.replace(
        params=random_like(state.params), slow_critic=random_like(state.slow_critic, 8)
    )
    return agent, state


@functools.cache
def terms_of():
    """Compiled: all loss terms of a batch, with fixed noise."""
    agent, state = built()
    noise = agent.draw(jax.random.key(1), N, L)
    loss = lambda data: agent.loss(state.params, state, noise, data)[1].terms
    return jax.jit(loss)


def changed(data) -> dict[str, np.ndarray]:
    """Where each term differs from that of the untouched batch."""
    before, after = terms_of()(batch()), terms_of()(data)
    return {name: np.asarray(before[name] != after[name]) for name in TERMS}


def at(field: str, t: int, value):
    """The batch with one column of its time steps changed."""
    data = batch()
    column = getattr(data.timestep, field).at[:, t].set(value)
    return data._replace(timestep=data.timestep._replace(**{field: column}))


def test_terms_are_those_that_have_a_scale():
    assert set(terms_of()(batch())) == set(TERMS)


@pytest.mark.parametrize(
    ("field", "value"),
    [("observation", 9.0), ("reward", 9.0), ("discount", 0.0), ("is_last", True)],
)
def test_the_context_step_enters_no_loss(field, value):
    assert not any(x.any() for x in changed(at(field, 0, value)).values())


def test_only_the_latent_of_the_context_is_read():
    data = batch()
    latent = data.extras["latent"]
    deter = latent["deter"].at[:, 1:].set(0)
    later = data._replace(extras={"latent": latent | {"deter": deter}})
    assert not any(x.any() for x in changed(later).values())
    deter = latent["deter"].at[1, 0].set(0)
    first = data._replace(extras={"latent": latent | {"deter": deter}})
    different = changed(first)
    assert different["rec/vector"][1].all()
    assert not different["rec/vector"][0].any()


@pytest.mark.parametrize("t", [0, 3])
def test_an_action_is_felt_from_the_next_step_on(t):
    data = batch()
    action = data.action.at[1, t].set((data.action[1, t] + 1) % 4)
    different = changed(data._replace(action=action))["rec/vector"]
    # Terms begin with the step after the context.
    expected = np.zeros((N, L), bool)
    expected[1, t:] = True
    np.testing.assert_array_equal(different, expected)


def test_the_action_before_a_reset_is_not_felt():
    data = batch()
    action = data.action.at[0, 2].set((data.action[0, 2] + 1) % 4)
    assert not any(x.any() for x in changed(data._replace(action=action)).values())


def test_a_reward_belongs_to_the_observation_it_came_with():
    # Random critics value states in millions: a small reward would be rounded away.
    different = changed(at("reward", 4, 1e7))
    expected = np.zeros((N, L), bool)
    expected[:, 3] = True
    np.testing.assert_array_equal(different["reward"], expected)
    # Row 0 ends before: nothing behind the end counts for what is before it.
    assert different["replay_value"][1, :3].all()
    assert not different["replay_value"][0, :2].any()
    assert not different["replay_value"][:, 3:].any()
    assert not different["value"].any()


def test_a_terminal_state_has_no_replay_value_loss():
    np.testing.assert_array_equal(terms_of()(batch())["replay_value"][0, 1], 0)


def test_a_truncation_keeps_its_bootstrap():
    data = at("discount", 2, 1.0)
    different = changed(data)["replay_value"]
    expected = np.zeros((N, L - 1), bool)
    expected[0, 0] = True
    np.testing.assert_array_equal(different, expected)


def test_gradients_reach_the_modules_they_should():
    agent, state = built()
    noise, data = agent.draw(jax.random.key(1), N, L), batch()

    def means(params):
        terms = agent.loss(params, state, noise, data)[1].terms
        return jnp.stack([terms[name].mean() for name in TERMS])

    gradients = jax.jit(jax.jacrev(means))(state.params)
    modules = gradients["model"] | gradients["policy"]
    reached = {
        term: {
            name
            for name, part in modules.items()
            if any(np.abs(leaf[i]).max() > 0 for leaf in jax.tree.leaves(part))
        }
        for i, term in enumerate(TERMS)
    }
    through = MODEL - {"prior"}
    assert reached == {
        "dyn": {"encoder", "core", "prior", "posterior"},
        "rep": through,
        "reward": through | {"reward"},
        "continue": through | {"continue"},
        "rec/vector": through | {"decoder"},
        "policy": {"actor"},
        "value": {"critic"},
        "replay_value": through | {"critic"},
    }


def test_acting_is_observing():
    agent, state = built()
    actor, key = agent.actor(state), jax.random.key(4)
    carry = agent.start(actor, N)
    given = timesteps(jax.random.key(5), N)._replace(is_first=jnp.ones(N, bool))
    carry, action, extras = agent.act(actor, key, carry, given, "train")
    jax.tree.map(np.testing.assert_array_equal, extras["latent"], pack(carry[0]))
    key_model, _ = jax.random.split(key)
    model, params = agent.model, state.params
    evidence = model.encode(params, given)
    alone = model.observe(params, key_model, model.start(params, N), action, evidence)
    jax.tree.map(np.testing.assert_array_equal, carry[0], alone)
    assert action.shape == (N,)
    assert action.dtype == jnp.int32


def test_a_row_that_starts_anew_forgets():
    agent, state = built()
    actor = agent.actor(state)
    policy = act_in(agent.model, agent.behavior.actor)
    carry = agent.start(actor, N)
    act = jax.jit(lambda carry, given, key: policy.act(actor, key, carry, given))
    for t in range(2):
        given = timesteps(jax.random.key(t), N)
        carry, _, _ = act(carry, given, jax.random.key(10 + t))
    given = given._replace(is_first=jnp.array([True, False]))
    fresh = agent.start(actor, N)
    resumed, _, _ = act(carry, given, jax.random.key(20))
    anew, _, _ = act(fresh, given, jax.random.key(20))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    close(resumed[0].deter[0], anew[0].deter[0])
    assert not np.allclose(resumed[0].deter[1], anew[0].deter[1])


def test_every_mode_samples_alike():
    agent, state = built()
    actor, given = agent.actor(state), timesteps(jax.random.key(5), N)
    carry = agent.start(actor, N)
    results = [
        agent.act(actor, jax.random.key(1), carry, given, mode)
        for mode in ("prefill", "train", "eval")
    ]
    for result in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, result, results[0])


def test_update_learns_and_feeds_latents_back():
    agent, state = built()
    data = batch()
    new, feedback, metrics = jax.jit(agent.update)(
        state, jax.random.key(2), {"replay": data}
    )
    noise = agent.draw(jax.random.key(2), N, L)
    _, learned = jax.jit(agent.loss)(state.params, state, noise, data)
    written = feedback["replay"]
    expected = np.ones((N, L + 1), bool)
    expected[:, 0] = False
    np.testing.assert_array_equal(written.mask, expected)
    latent, stored = written.fields["latent"], pack(learned.states)
    np.testing.assert_array_equal(latent["stoch"][:, 1:], stored["stoch"])
    assert latent["deter"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(written.index.time, data.index.time)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), new.params, state.params)
    assert all(jax.tree.leaves(moved))
    slow = jax.tree.map(
        lambda old, fast: 0.98 * old + 0.02 * fast,
        state.slow_critic,
        new.params["policy"]["critic"],
    )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, new.slow_critic, slow)
    assert new.updates == 1
    assert np.isfinite(list(metrics.values())).all()


def test_a_model_that_does_not_learn_stays_as_it_is():
    agent, state = built(learn_model=False)
    new, _, _ = jax.jit(agent.update)(state, jax.random.key(2), {"replay": batch()})
    same = jax.tree.map(
        np.testing.assert_array_equal, new.params["model"], state.params["model"]
    )
    assert same is not None
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), new.params["policy"], state.params["policy"]
    )
    assert all(jax.tree.leaves(moved))


def test_illegal_actions_are_never_taken():
    spec = dataclasses.replace(SPEC, legal=True)
    agent = DreamerV3(spec, CONFIG)
    actor = agent.actor(fresh(agent))
    mask = jnp.array([[False, True, False, False]] * N)
    given = timesteps(jax.random.key(0), N, legal=4)._replace(legal=mask)
    carry = agent.start(actor, N)
    for seed in range(5):
        _, action, _ = agent.act(actor, jax.random.key(seed), carry, given, "train")
        np.testing.assert_array_equal(action, 1)


def test_continuous_actions_are_unclipped_samples():
    agent = DreamerV3(VECTOR_ACTION, dataclasses.replace(CONFIG, min_std=1.0))
    actor = agent.actor(fresh(agent))
    rows = 64
    given = timesteps(jax.random.key(0), rows)
    carry = agent.start(actor, rows)
    _, action, _ = agent.act(actor, jax.random.key(1), carry, given, "train")
    assert action.shape == (rows, 2)
    assert 1.5 < np.abs(action).max() < 6
    assert 0.8 < action.std() < 1.2


def test_schedule_sets_batches_and_replay():
    agent, _ = built()
    schedule = Schedule(batch_size=4, batch_length=10, replay=5_000)
    assert agent.batches(schedule) == {"replay": (4, 11)}
    assert agent.imagined_per_update(schedule) == 4 * 10 * CONFIG.imagine_length
    replay = agent.buffer(schedule)
    assert (replay.capacity, replay.length, replay.newest_first) == (5_000, 11, True)


FIRST = {
    **compose("dreamer_v3", "v1_2023").agent,
    **{
        name: getattr(CONFIG, name)
        for name in ("deter", "hidden", "units", "classes", "groups", "bins")
    },
    "depth": 2,
}


@pytest.mark.parametrize("discrete", [True, False])
def test_the_agent_of_2023_updates_all_it_has(discrete):
    """Its continuous actor follows the gradient through the model, which stays."""
    observation = {"image": ArraySpec((8, 8, 1), "uint8"), "vector": ArraySpec((3,))}
    action = ArraySpec((), "int32", 4) if discrete else ArraySpec((2,))
    agent = DreamerV3(
        EnvSpec(observation, action), dataclasses.replace(CONFIG, **FIRST)
    )
    state = fresh(agent)
    state = state.replace(params=random_like(state.params))
    data = batch()
    image = jnp.zeros((N, L + 1, 8, 8, 1), jnp.uint8)
    seen = {"image": image, "vector": data.timestep.observation}
    data = data._replace(timestep=data.timestep._replace(observation=seen))
    if not discrete:
        data = data._replace(action=jnp.full((N, L + 1, 2), 0.3))
    noise = agent.draw(jax.random.key(2), N, L)

    def policy_loss(params):
        return agent.loss(params, state, noise, data)[1].terms["policy"].mean()

    @jax.jit
    def both(state):
        new, _, metrics = agent.learn(state, noise, data)
        return new, metrics, jax.grad(policy_loss)(state.params)

    new, metrics, gradient = both(state)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), new.params, state.params)
    assert all(jax.tree.leaves(moved))
    assert np.isfinite(list(metrics.values())).all()
    biggest = lambda tree: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))
    assert biggest(gradient["policy"]["actor"]) > 0
    assert biggest(gradient["policy"]["critic"]) == 0
    assert biggest(gradient["model"]) == 0


def test_the_start_of_2023_is_learned():
    model = RSSM(SPEC, dataclasses.replace(CONFIG, learned_start=True))
    params = random_like(fresh(model))
    state = model.start(params, N)
    expected = np.tanh(params["model"]["start"]["deter"])
    np.testing.assert_allclose(state.deter, np.tile(expected, (N, 1)), rtol=1e-6)
    np.testing.assert_array_equal(state.stoch.sum(-1), 1)
    data = batch()
    moved = data.extras["latent"]["deter"].at[:, 0].set(0)
    other = data._replace(extras={"latent": data.extras["latent"] | {"deter": moved}})
    model = RSSM(SPEC, dataclasses.replace(model.config, replay_context=False))
    noise = jnp.full((N, L, CONFIG.groups), 0.5)
    fit = jax.jit(model.fit)
    jax.tree.map(
        np.testing.assert_array_equal,
        fit(params, noise, data).states,
        fit(params, noise, other).states,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("imagine_length", 0), ("trace", 1.5), ("learning_rate", 0.0), ("max_std", 0.01)],
)
def test_impossible_settings_name_their_option(field, value):
    with pytest.raises(UserError, match=rf"--agent\.{field} must be .*got {value}"):
        dataclasses.replace(DreamerV3.Config(), **{field: value})
