import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.agents.streams import OneState, newest
from wm.agents.sac import SAC
from wm.envs.probe import make_hidden_point
from wm.errors import UserError
from wm.ops.trees import transitions
from wm.types import ArraySpec, EnvSpec

TINY = {"layers": (4,)}


@functools.cache
def ready(**settings):
    agent = SAC(make_hidden_point().spec, SAC.Config(**TINY, **settings))
    return agent, *newest(agent, make_hidden_point())


def moved(agent, state, batches):
    """Which parts an update changes."""
    new = jax.jit(agent.update)(state, jax.random.key(0), batches)[0]
    same = lambda a, b: all(
        np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )
    names = ("actor", "critic", "target", "log_alpha")
    return {n for n in names if not same(getattr(new, n), getattr(state, n))}


def test_an_update_moves_everything():
    assert moved(*ready()) == {"actor", "critic", "target", "log_alpha"}


def test_a_fixed_temperature_stays():
    agent, state, batches = ready(learn_alpha=False, alpha=0.0)
    assert jnp.exp(state.log_alpha) == 0
    assert moved(agent, state, batches) == {"actor", "critic", "target"}


def test_critics_start_apart_and_their_copies_equal():
    _, state, _ = ready()
    one, two = (np.asarray(c["layer0"]["kernel"]) for c in state.critic)
    assert np.abs(one - two).max() > 0.1
    copy = np.asarray(state.target[0]["layer0"]["kernel"])
    np.testing.assert_array_equal(one, copy)


def test_a_time_limit_bootstraps_from_the_last_observation():
    """Rewards of 1 count three times: 3 + 0.9 · 10."""
    config = SAC.Config(**TINY, gamma=0.9, reward_scale=3.0)
    agent = SAC(OneState(continuous=True).spec, config)
    state, batches = newest(agent, OneState(continuous=True), envs=1, T=40)
    # Critics that say 10 wherever, and no entropy bonus.
    constant = jax.tree.map(jnp.zeros_like, state.target)
    for critic in constant:
        critic["out"]["bias"] = jnp.full(1, 10.0)
    state = state.replace(target=constant, log_alpha=-jnp.inf)
    step = jax.tree.map(lambda x: x[:, 0], transitions(batches["replay"]))
    goal = agent.learner.target(state, jax.random.key(0), step)
    cut = np.asarray(step.next_is_last)
    assert cut.any()
    np.testing.assert_allclose(np.asarray(goal)[cut], 12.0, rtol=1e-6)


def test_the_target_entropy_is_per_number_of_an_action():
    """At an entropy of -1.5, of three numbers at one half each, the temperature rests;
    its gradient is what is missing."""
    spec = EnvSpec(ArraySpec((2,)), ArraySpec((3,)), name="three")
    learner = SAC(spec, SAC.Config(**TINY, entropy_target=0.5)).learner
    slope = jax.grad(learner.alpha_loss)
    for entropy, missing in ((-1.5, 0.0), (-3.5, 2.0)):
        found = slope(jnp.zeros(()), jnp.full(4, -entropy), jnp.ones(4))
        np.testing.assert_allclose(found, -missing, atol=1e-6)


def test_resets_teach_nothing():
    agent, state, batches = ready()
    batch = batches["replay"]
    ended = batch.timestep.is_last.at[:, 0].set(True)
    batch = batch._replace(timestep=batch.timestep._replace(is_last=ended))
    update = jax.jit(agent.update)
    metrics = update(state, jax.random.key(0), {"replay": batch})[2]
    assert metrics["loss/critic"] == 0
    assert metrics["loss/actor"] == 0


def test_actions_by_mode():
    agent, state, batches = ready()
    first = jax.tree.map(lambda x: x[:, 0], batches["replay"].timestep)
    act = lambda key, mode: agent.act(
        agent.actor(state), jax.random.key(key), (), first, mode
    )[1]
    np.testing.assert_array_equal(act(0, "eval"), act(1, "eval"))
    assert not np.array_equal(act(0, "train"), act(1, "train"))
    assert np.abs(act(0, "prefill")).max() <= 1


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"gamma": 2.0}, {"std": "none"}, {"alpha_loss": "x"}]
)
def test_wrong_settings_are_one_line_that_names_them(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} must be .*got {value}"):
        SAC.Config(**wrong)


def test_discrete_actions_are_refused():
    with pytest.raises(UserError, match="actor-critic needs continuous actions"):
        SAC(EnvSpec(ArraySpec((2,)), ArraySpec((), "int32", 2), name="x"))
