"""`wm.models.value_equivalent`: what is stacked, what is legal, and ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.errors import UserError
from wm.models.value_equivalent import ValueEquivalent, ValueEquivalentConfig
from wm.nets.latent import action_planes, unit_range
from wm.types import ArraySpec, EnvSpec, TimeStep

KEY = jax.random.key(0)
SMALL = {"units": 4, "latent": 3, "head_units": 4, "planes": 2, "layers": 1}
SMALL |= {"value_bins": 5, "reward_bins": 5, "value_limit": 2.0, "reward_limit": 2.0}
VECTOR = EnvSpec(ArraySpec((2,)), ArraySpec((), "int32", 3))
IMAGE = EnvSpec(ArraySpec((8, 8, 2), "uint8"), ArraySpec((), "int32", 3))


def model_of(spec, **settings):
    return ValueEquivalent(spec, ValueEquivalentConfig(**{**SMALL, **settings}))


def stream(spec, N=3, L=7):
    """Records with an episode that ends in each row, and another that begins."""
    shape = (N, L, *spec.observation.shape)
    seen = jax.random.randint(KEY, shape, 0, 256).astype(spec.observation.dtype)
    first = np.zeros((N, L), bool)
    first[:, 0] = True
    first[np.arange(N), 2 + np.arange(N)] = True
    last = np.roll(first, -1, 1)
    last[:, -1] = False
    timestep = TimeStep(seen, *jnp.zeros((2, N, L)), jnp.array(first), jnp.array(last))
    return timestep, jax.random.randint(jax.random.key(1), (N, L), 0, 3)


@pytest.mark.parametrize(("spec", "settings"), [
    (VECTOR, {"stack": 3, "stack_actions": True}),
    (IMAGE, {"form": "conv", "stack": 3, "stack_actions": True}),
    (IMAGE, {"form": "conv", "stack": 2}),
], ids=["vectors", "images", "frames"])  # fmt: skip
def test_windows_of_replay_show_what_acting_saw(spec, settings):
    """Frames are stored once and stacked when drawn, never across episodes."""
    model = model_of(spec, **settings)
    params = model.init(KEY)
    timestep, action = stream(spec)
    observe = jax.jit(lambda *args: model.observe(params, KEY, *args))
    state, led = model.start(params, 3), jnp.zeros(3, jnp.int32)
    acted = []
    for t in range(timestep.is_first.shape[1]):
        now = jax.tree.map(lambda x, t=t: x[:, t], timestep)
        state, led = observe(state, led, now), action[:, t]
        acted.append(state.history)
    stored = model.histories(timestep, action)
    begin = model.context
    assert begin == settings["stack"] - 1 + settings.get("stack_actions", False)
    for k, history in enumerate(acted[begin:]):
        drawn = jax.tree.map(lambda x, k=k: x[:, k], stored)
        np.testing.assert_array_equal(drawn.observation, history.observation)
        if model.config.stack_actions:
            np.testing.assert_array_equal(drawn.action, history.action)
    latent = model.represent(params, acted[-1])
    np.testing.assert_allclose(latent, state.latent, rtol=1e-5, atol=1e-6)


def test_latents_are_in_the_unit_range_and_start_with_no_opinion():
    model = model_of(VECTOR)
    params = model.init(KEY)
    timestep, action = stream(VECTOR)
    row = jax.tree.map(lambda x: x[:, 0], timestep)
    state = model.observe(params, KEY, model.start(params, 3), action[:, 0], row)
    for _ in range(3):
        assert float(state.latent.min()) == 0
        assert float(state.latent.max()) == 1
        logits, value, _ = model.heads(params, KEY, state)
        np.testing.assert_array_equal(logits, jnp.zeros((3, 3)))
        np.testing.assert_array_equal(value, jnp.zeros(3))
        state, prediction = model.step(params, KEY, state, action[:, 0])
        np.testing.assert_array_equal(prediction.reward, jnp.zeros(3))
        np.testing.assert_array_equal(prediction.discount, jnp.ones(3))
    np.testing.assert_allclose(unit_range(jnp.array([[1.0, 3, 2]])), [[0, 1, 0.5]])
    np.testing.assert_array_equal(unit_range(jnp.ones((2, 3))), jnp.zeros((2, 3)))


def test_with_two_players_the_other_moves_next_and_rules_are_known_at_the_root_only():
    board = EnvSpec(
        ArraySpec((3, 3, 2)), ArraySpec((), "int32", 9), players=2, legal=True
    )
    model = model_of(board, form="conv", action="location")
    params = model.init(KEY)
    timestep, _ = stream(board)
    legal = jax.random.bernoulli(KEY, 0.5, (3, 9))
    row = jax.tree.map(lambda x: x[:, 0], timestep)._replace(legal=legal)
    zero = jnp.zeros(3, jnp.int32)
    state = model.observe(params, KEY, model.start(params, 3), zero, row)
    np.testing.assert_array_equal(model.legal(params, state), legal)
    state, prediction = model.step(params, KEY, state, zero)
    assert model.legal(params, state).all()
    np.testing.assert_array_equal(prediction.discount, -jnp.ones(3))
    assert model.bare(state.replace(history=0)).history is None


def test_actions_as_planes_by_hand():
    one = lambda form, A, a: np.asarray(action_planes(form, A, jnp.array([a]), (2, 3)))[
        0
    ]
    np.testing.assert_array_equal(one("location", 6, 4)[..., 0], [[0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(one("location", 7, 6)[..., 0], np.zeros((2, 3)))
    np.testing.assert_array_equal(one("location", 3, 1)[..., 0], [[0, 1, 0]] * 2)
    np.testing.assert_allclose(one("scalar", 4, 1)[..., 0], np.full((2, 3), 0.5))
    np.testing.assert_array_equal(
        one("one_hot", 3, 2), np.eye(3)[2] * np.ones((2, 3, 1))
    )
    wide = action_planes("scalar", 0, jnp.array([[0.5, -1.0]]), (2, 3))
    np.testing.assert_array_equal(wide[0], np.array([0.5, -1.0]) * np.ones((2, 3, 1)))


def test_images_are_brought_to_a_sixteenth_of_their_side():
    big = EnvSpec(ArraySpec((96, 96, 3), "uint8"), ArraySpec((), "int32", 3))
    model = model_of(big, form="downsample", downsample=(1, 1, 1), stack=4)
    state = jax.eval_shape(lambda: model.start(model.init(KEY), 2))
    assert state.latent.shape == (2, 6, 6, 4)
    assert state.history.observation.shape == (2, 4, 96, 96, 3)


def test_actions_may_be_numbers_where_the_head_is_told_its_outputs():
    """As a policy over drawn actions needs it."""
    spec = EnvSpec(ArraySpec((2,)), ArraySpec((2,)))
    config = ValueEquivalentConfig(**SMALL)
    model = ValueEquivalent(spec, config, outputs=4)
    params = model.init(KEY)
    moved = lambda x: x + 0.3 * jax.random.normal(KEY, x.shape)
    params = jax.tree.map(moved, params)
    latent = jnp.full((3, 3), 0.5)
    actions = jnp.array([[0.0, 0.0], [0.5, -0.5], [0.0, 0.0]])
    later = model.advance(params, latent, actions)
    np.testing.assert_allclose(later[0], later[2], rtol=1e-6)
    assert np.abs(later[0] - later[1]).max() > 1e-3
    assert model.predict(params, later)["policy"].shape == (3, 4)


def test_what_does_not_fit_is_one_line():
    with pytest.raises(UserError, match=r"form conv needs observations that are one"):
        model_of(VECTOR, form="conv")
    with pytest.raises(UserError, match="actions must be one index"):
        model_of(EnvSpec(ArraySpec((2,)), ArraySpec((2,))))
    for field, value in {"form": "lstm", "stack": 0, "value_bins": 1}.items():
        with pytest.raises(ValueError, match=field):
            ValueEquivalentConfig(**{field: value})
