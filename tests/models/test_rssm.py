"""The RSSM as a world model: alignment, resets, predictions, ablations."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.tiny import CONFIG, SPEC, L, N, batch, fresh, random_like, timesteps
from wm.errors import UserError
from wm.models.rssm import RSSM
from wm.models.rssm_config import RSSMConfig
from wm.models.rssm_state import pack, unpack
from wm.types import ArraySpec, EnvSpec

close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


@functools.cache
def built(**changes):
    spec = changes.pop("spec", SPEC)
    model = RSSM(spec, dataclasses.replace(CONFIG, **changes))
    return model, random_like(fresh(model))


def sequence(model, params, length=L):
    """Noise, actions and encoded records `[N, length, …]`."""
    keys = jax.random.split(jax.random.key(5), 3)
    noise = jax.random.uniform(keys[0], (N, length, CONFIG.groups))
    actions = jax.random.randint(keys[1], (N, length), 0, 4)
    return noise, actions, model.encode(params, timesteps(keys[2], N, length))


def test_reset_equals_fresh():
    model, params = built()
    noise, actions, evidence = sequence(model, params)
    evidence = evidence._replace(is_first=evidence.is_first.at[:, 3].set(True))
    start = model.start(params, N)
    states, logits = model.observe_sequence(params, noise, start, actions, evidence)
    later = lambda tree: jax.tree.map(lambda x: x[:, 3:], tree)
    # Whatever action came before an episode is not seen.
    other = jnp.concatenate([actions[:, 3:4] * 0 + 1, actions[:, 4:]], 1)
    alone, alone_logits = model.observe_sequence(
        params, noise[:, 3:], start, other, later(evidence)
    )
    jax.tree.map(close, later(states), alone)
    close(later(logits), alone_logits)


def test_single_steps_equal_the_sequence():
    model, params = built()
    noise, actions, evidence = sequence(model, params)
    evidence = evidence._replace(is_first=evidence.is_first.at[0, 2].set(True))
    state = model.start(params, N)
    states, _ = model.observe_sequence(params, noise, state, actions, evidence)
    for t in range(L):
        now = jax.tree.map(lambda x, t=t: x[:, t], evidence)
        state = model.observe(params, noise[:, t], state, actions[:, t], now)
        jax.tree.map(close, state, jax.tree.map(lambda x, t=t: x[:, t], states))


def test_headless_dynamics_step_like_the_model():
    model, params = built()
    state = model.start(params, N)
    noise = jax.random.uniform(jax.random.key(1), (N, CONFIG.groups))
    action = jnp.array([0, 3])
    full, prediction = model.step(params, noise, state, action)
    bare, nothing = model.dynamics.step(params, noise, state, action)
    jax.tree.map(np.testing.assert_array_equal, full, bare)
    jax.tree.map(close, prediction, model.predict(params, bare))
    close(nothing.reward, jnp.zeros(N))
    close(nothing.discount, jnp.ones(N))


def test_fresh_reward_is_zero_and_discount_at_most_one():
    model, _ = built()
    params = model.init(jax.random.key(2))
    state = model.start(params, N)
    _, prediction = model.step(params, jax.random.key(1), state, jnp.zeros(N, int))
    np.testing.assert_array_equal(prediction.reward, 0)
    sure = jax.tree.map(lambda x: x, params)
    sure["model"]["continue"]["out"]["bias"] = jnp.full(1, 50.0)
    _, prediction = model.step(sure, jax.random.key(1), state, jnp.zeros(N, int))
    np.testing.assert_array_equal(prediction.discount, 1)


def test_a_terminal_lowers_the_continue_target_and_a_truncation_does_not():
    model, params = built()
    data = batch()
    noise = jnp.full((N, L, CONFIG.groups), 0.5)
    cut = data._replace(
        timestep=data.timestep._replace(discount=jnp.ones_like(data.timestep.discount))
    )
    fit = jax.jit(model.fit)
    ended, truncated = fit(params, noise, data), fit(params, noise, cut)
    different = ended.terms["continue"] != truncated.terms["continue"]
    expected = np.zeros((N, L), bool)
    expected[0, 1] = True
    np.testing.assert_array_equal(different, expected)


def test_loss_weighs_the_means_of_all_terms():
    model, params = built(rec_scale=3.0, rep_scale=0.5)
    total, fit = model.loss(params, jax.random.key(0), batch())
    scales = {"dyn": 1, "rep": 0.5, "reward": 1, "continue": 1, "rec/vector": 3}
    assert fit.terms.keys() == scales.keys()
    close(total, sum(scales[name] * fit.terms[name].mean() for name in scales))


def test_stored_latents_come_back():
    model, params = built()
    state = model.start(params, N)
    state, _ = model.step(params, jax.random.key(1), state, jnp.zeros(N, int))
    stored = pack(state)
    assert stored["deter"].dtype == jnp.bfloat16
    assert stored["stoch"].dtype == jnp.uint8
    again = unpack(stored, CONFIG.classes, "float32")
    np.testing.assert_allclose(again.deter, state.deter, rtol=1 / 128)
    np.testing.assert_array_equal(again.stoch, state.stoch)


def test_observations_are_decoded_in_their_types():
    observation = {
        "image": ArraySpec((16, 16, 1), "uint8"),
        "inner": {"kind": ArraySpec((), "int32", 5), "place": ArraySpec((2,))},
    }
    spec = EnvSpec(observation, ArraySpec((2,)))
    config = dataclasses.replace(CONFIG, depth=2, multipliers=(1, 1), blocks=2)
    model = RSSM(spec, config)
    params = model.init(jax.random.key(0))
    decoded = model.decode(params, model.start(params, N))
    same = lambda spec, x: (x.shape, x.dtype) == ((N, *spec.shape), spec.dtype)
    assert all(jax.tree.leaves(jax.tree.map(same, observation, decoded)))
    assert model.reconstructed == ("image", "inner/kind", "inner/place")


def test_legal_actions_are_kept_until_the_model_steps():
    model, params = built(spec=dataclasses.replace(SPEC, legal=True))
    state = model.start(params, N)
    assert state.legal.all()
    mask = jnp.array([[True, False, True, False]] * N)
    given = timesteps(jax.random.key(0), N, legal=4)._replace(legal=mask)
    evidence = model.encode(params, given)
    state = model.observe(params, jax.random.key(1), state, jnp.zeros(N, int), evidence)
    np.testing.assert_array_equal(model.legal(params, state), mask)
    state, _ = model.step(params, jax.random.key(2), state, jnp.zeros(N, int))
    assert model.legal(params, state).all()


def test_hidden_actions_change_nothing():
    model, params = built(hide_actions=True)
    noise, actions, evidence = sequence(model, params)
    start = model.start(params, N)
    one, _ = model.observe_sequence(params, noise, start, actions, evidence)
    two, _ = model.observe_sequence(params, noise, start, 3 - actions, evidence)
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_reset_every_step_forgets_the_past():
    model, params = built(reset_every_step=True)
    noise, actions, evidence = sequence(model, params)
    start = model.start(params, N)
    one, _ = model.observe_sequence(params, noise, start, actions, evidence)
    moved = evidence._replace(observation=evidence.observation.at[:, 0].add(1.0))
    two, _ = model.observe_sequence(params, noise, start, 3 - actions, moved)
    after = lambda tree: jax.tree.map(lambda x: x[:, 1:], tree)
    jax.tree.map(np.testing.assert_array_equal, after(one), after(two))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("horizon", 0),
        ("classes", 0),
        ("blocks", 3),
        ("unimix", 1.0),
        ("rec_scale", -1.0),
        ("bins", 1),
    ],
)
def test_impossible_settings_name_their_option(field, value):
    with pytest.raises(UserError, match=rf"--agent\.{field} must be .*got {value}"):
        dataclasses.replace(RSSMConfig(), **{field: value})


def test_impossible_image_names_an_option():
    spec = EnvSpec(ArraySpec((50, 50, 3), "uint8"), ArraySpec((2,)))
    with pytest.raises(UserError, match=r"--agent\.multipliers"):
        RSSM(spec, RSSMConfig())


def test_several_discrete_actions_are_refused():
    with pytest.raises(UserError, match="2 discrete actions at once"):
        RSSM(EnvSpec(ArraySpec((3,)), ArraySpec((2,), "int32", 4)), CONFIG)
