"""`wm.models.meta_fit`: windows, the step of adaptation, its gradient, and fits."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.errors import UserError
from wm.models import ensemble_data, meta_fit
from wm.models.ensemble import Ensemble, EnsembleConfig
from wm.models.meta_fit import MetaFitConfig
from wm.types import ArraySpec, Dataset, EnvSpec, Step, TimeStep

KEY = jax.random.key(0)
SPEC = EnvSpec(
    ArraySpec((1,)), ArraySpec((1,)), name="gain", reward_fn=lambda x, a, y: y[0]
)


def network(layers=0, units=8):
    config = EnsembleConfig(
        members=1,
        layers=layers,
        units=units,
        act="tanh",
        gaussian=False,
        particles=1,
        normalize_targets=True,
    )
    return Ensemble(SPEC, config)


def dataset(observation, action, ends, slots=None):
    """One row per sequence; `ends` are the indices of last records."""
    rows, length = observation.shape
    last = jnp.zeros((rows, length), bool).at[:, jnp.array(ends)].set(True)
    first = jnp.roll(last, 1, 1).at[:, 0].set(True)
    timestep = TimeStep(
        observation=observation[..., None],
        reward=jnp.zeros((rows, length)),
        discount=jnp.ones((rows, length)),
        is_first=first,
        is_last=last,
    )
    mask = ~last & (jnp.arange(length) < length - 1)
    size = jnp.asarray(rows * length)
    return Dataset(Step(timestep, action[..., None], {}), mask, size)


def gains(key, rows=8, length=120, episode=40):
    """x' = x + g a, with another g in every episode."""
    key_gain, key_action = jax.random.split(key)
    action = jax.random.uniform(key_action, (rows, length), minval=-1.0)
    gain = jax.random.uniform(key_gain, (rows, length // episode), minval=-1.0)
    change = jnp.repeat(gain, episode, 1) * action
    position = jnp.cumsum(change, 1) - change
    ends = range(episode - 1, length, episode)
    return dataset(position, action, list(ends))


def test_the_step_is_that_of_a_linear_network_by_hand():
    """Mean of (x w + b − y)²: both slopes, times 0.5."""
    model = network()
    params = model.init(KEY)["model"]
    x = jnp.array([[1.0, 2.0], [0.0, -1.0]])
    y = jnp.array([[3.0], [1.0]])
    w = np.asarray(params["nets"]["out"]["kernel"][0])
    short = np.asarray(x) @ w - np.asarray(y)
    config = MetaFitConfig(inner_rate=0.5)
    found = meta_fit.adapt(model, config, params, x, y, jnp.ones(2))["nets"]["out"]
    np.testing.assert_allclose(
        found["kernel"][0], w - 0.5 * np.asarray(x).T @ short, rtol=1e-5
    )
    np.testing.assert_allclose(found["bias"][0], -0.5 * short.sum(0), rtol=1e-5)


def test_nothing_seen_is_no_step():
    model = network()
    params = model.init(KEY)["model"]
    x, y = jnp.ones((3, 2)), jnp.ones((3, 1))
    config = MetaFitConfig(inner_rate=0.5)
    found = meta_fit.adapt(model, config, params, x, y, jnp.zeros(3))
    same = jax.tree.map(np.array_equal, found, params)
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize("first_order", [False, True])
def test_the_gradient_is_of_the_error_after_the_step(first_order):
    """Against differences along a direction; without second derivatives it is not."""
    model = network(layers=1)
    params = model.init(KEY)["model"]
    keys = jax.random.split(jax.random.key(1), 3)
    x, y = jax.random.normal(keys[0], (8, 2)), jax.random.normal(keys[1], (8, 1))
    config = MetaFitConfig(window=4, inner_rate=0.5, first_order=first_order)
    loss = lambda nets: meta_fit.meta_loss(
        model, config, {**params, "nets": nets}, x, y
    )[1]
    nets = params["nets"]
    gradient = jax.grad(loss)(nets)
    along = jax.tree.map(lambda g: g / 10, gradient)
    moved = lambda by: jax.tree.map(lambda p, d: p + by * d, nets, along)
    slope = (loss(moved(0.01)) - loss(moved(-0.01))) / 0.02
    dot = jax.tree.map(lambda g, d: (g * d).sum(), gradient, along)
    promised = sum(jax.tree.leaves(dot))
    close = np.isclose(slope, promised, rtol=0.02)
    assert close != first_order


def begins(found):
    return np.asarray(found.training[: found.trained]), np.asarray(
        found.holdout[: found.held]
    )


def test_windows_stay_within_an_episode_and_episodes_within_a_part():
    """Two rows of episodes of 10 and 20 records: 9 and 19 transitions, 4 per window."""
    zeros = jnp.zeros((2, 30))
    data = dataset(zeros, zeros, [9, 29])
    config = MetaFitConfig(window=2, holdout=0.5)
    training, held = begins(meta_fit.windows(config, KEY, data))
    everything = [*range(6), *range(10, 26)]
    both = sorted([*training, *held])
    assert both == [*everything, *(30 + i for i in everything)]
    episode = lambda slots: {(i // 30, i % 30 >= 10) for i in slots}
    assert not episode(training) & episode(held)
    assert len(episode(held)) == 2


def test_a_ring_is_a_circle():
    """The newest record in slot 2, the oldest in slot 3: a window across the end."""
    data = dataset(jnp.arange(8.0)[None], jnp.zeros((1, 8)), [4])
    turn = lambda x: jnp.roll(x, 3, 1)
    data = Dataset(jax.tree.map(turn, data.steps), turn(data.mask), data.size)
    config = MetaFitConfig(window=2, holdout=0.0)
    training, _ = begins(meta_fit.windows(config, KEY, data))
    # Slots 3 to 6 hold the transitions of the first episode; 7, 0, 1 are too few.
    assert training.tolist() == [3]
    model = network()
    x, y = meta_fit.gathered(
        config, ensemble_data.data_of(model, data), jnp.array([6]), 8
    )
    assert x[0, :, 0].tolist() == [3.0, 4.0, 5.0, 6.0]
    assert y[0, 2:, 0].tolist() == [1.0, 1.0]


def test_one_episode_is_not_held_out():
    zeros = jnp.zeros((1, 12))
    data = dataset(zeros, zeros, [11])
    _, held = begins(meta_fit.windows(MetaFitConfig(window=2), KEY, data))
    assert held.tolist() == []


def test_a_buffer_without_room_for_a_window_is_named():
    zeros = jnp.zeros((1, 12))
    with pytest.raises(UserError, match=r"--train\.replay must hold at least 33 steps"):
        meta_fit.windows(MetaFitConfig(), KEY, dataset(zeros, zeros, [11]))


SMALL = MetaFitConfig(
    window=4,
    inner_rate=0.3,
    learning_rate=1e-2,
    batch_size=16,
    epochs=80,
    persistency=None,
)


@functools.cache
def program(config):
    model = network(layers=1, units=16)
    params = model.init(KEY)["model"]
    state = meta_fit.optimizer(config).init(params["nets"])
    return jax.jit(lambda *args: meta_fit.fit(model, config, params, state, *args))


def fitted(config, data):
    return program(config)(jax.random.key(1), data)


def test_what_differs_between_episodes_is_adapted_to():
    """A gain of mean 0 cannot be known, but read off four transitions."""
    _, _, metrics = fitted(SMALL, gains(jax.random.key(2)))
    assert metrics["model/holdout_error"] < 0.5 * metrics["model/unadapted_error"]


def test_nothing_collected_is_nothing_learned():
    data = gains(jax.random.key(2))
    params, _, metrics = fitted(SMALL, data._replace(mask=jnp.zeros_like(data.mask)))
    assert metrics["model/epochs"] == 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


def test_without_adaptation_it_is_not_and_a_rising_error_stops():
    """Steps of 0.1 make the error go up and down."""
    config = dataclasses.replace(
        SMALL, inner_rate=0.0, learning_rate=0.1, persistency=0.5
    )
    _, _, metrics = fitted(config, gains(jax.random.key(2)))
    errors = metrics["model/holdout_error"], metrics["model/unadapted_error"]
    np.testing.assert_allclose(*errors, rtol=1e-5)
    assert errors[0] > 0.5
    assert 1 < metrics["model/epochs"] < 80


def test_a_rising_error_before_adaptation_stops_no_fit(monkeypatch):
    """Both are linear in a number that every step of Adam lowers."""

    def losses(model, config, params, x, y):
        number = params["nets"]["out"]["bias"].sum()
        return jnp.stack([5 - 2 * number, 5 + number])

    monkeypatch.setattr(meta_fit, "losses", losses)
    config = dataclasses.replace(SMALL, epochs=30, persistency=0.5)
    model = network()
    params = model.init(KEY)["model"]
    state = meta_fit.optimizer(config).init(params["nets"])
    data = gains(jax.random.key(2))
    fit = lambda *args: meta_fit.fit(model, config, params, state, *args)
    _, _, metrics = jax.jit(fit)(jax.random.key(1), data)
    assert metrics["model/epochs"] == 30
    assert metrics["model/unadapted_error"] > 8 > 5 > metrics["model/holdout_error"]


@pytest.mark.parametrize(
    "name", ["window", "inner_rate", "epochs", "holdout", "persistency"]
)
def test_impossible_settings_are_named(name):
    with pytest.raises(UserError, match=rf"--agent\.fit\.{name} must be"):
        wm.agent("grbal", wm.env("classic/pendulum").spec, **{f"fit.{name}": -1})
