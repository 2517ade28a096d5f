"""Fitting an ensemble: the loss, what is drawn, when it stops, what is kept."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.errors import UserError
from wm.models import ensemble_data, ensemble_fit
from wm.models.ensemble import Ensemble, EnsembleConfig
from wm.models.ensemble_data import Data
from wm.models.ensemble_fit import FitConfig, Progress
from wm.ops.losses import soft_bound
from wm.types import ArraySpec, Dataset, EnvSpec, Step, TimeStep

SPEC = EnvSpec(ArraySpec((2,)), ArraySpec((1,)), reward_fn=lambda o, a, n: n[0])
SMALL = EnsembleConfig(members=3, layers=1, units=16, particles=3)
N = 96


@functools.cache
def model_of(**changes):
    return Ensemble(SPEC, dataclasses.replace(SMALL, **changes))


def data_of(rows=80, filler=0.0, seed=0):
    """A linear system with noise; slots beyond `rows` hold `filler`."""
    key_x, key_noise = jax.random.split(jax.random.key(seed))
    x = jax.random.normal(key_x, (N, 3))
    matrix = jnp.array([[0.5, -0.2], [0.1, 0.3], [1.0, -1.0]])
    y = x @ matrix + 0.01 * jax.random.normal(key_noise, (N, 2))
    empty = (jnp.arange(N) >= rows)[:, None]
    order = jnp.arange(N, dtype=jnp.int32)
    return Data(
        x=jnp.where(empty, filler, x),
        y=jnp.where(empty, filler, y),
        order=order,
        count=jnp.int32(rows),
    )


def fitted(model, config, data, seed=1):
    params = model.init(jax.random.key(0))["model"]
    return program(model, config)(
        params, begun(config, params), jax.random.key(seed), data
    )


def begun(config, params):
    return ensemble_fit.optimizer(config).init(ensemble_fit.learned_part(params))


@functools.cache
def program(model, config):
    return jax.jit(functools.partial(ensemble_fit.fit, model, config))


CONFIG = FitConfig(batch_size=16, epochs=20, learning_rate=3e-3)
STOPPING = dataclasses.replace(CONFIG, epochs=60, holdout=0.2, patience=5)


@pytest.mark.parametrize("gaussian", [True, False])
def test_a_linear_system_is_learned(gaussian):
    """Holdout error over the variance of the targets, early stopped: 0.0085 with and
    0.0076 without variances; 1.02 before the first epoch."""
    model, data = model_of(gaussian=gaussian), data_of()
    params, _, metrics = fitted(model, STOPPING, data)
    variance = np.var(np.asarray(data.y[:80]), 0).mean()
    assert metrics["model/holdout_error"] < 0.05 * variance
    assert metrics["model/epochs"] > 5
    dealt = jnp.broadcast_to(data.x[:80], (3, 80, 3))
    mean, _ = model.predict(params, dealt)
    assert not np.allclose(mean[0], mean[1], atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_loss_by_hand(beta):
    model = model_of()
    config = FitConfig(weight_decay=(0.1, 0.2), beta=beta)
    params = model.init(jax.random.key(2))["model"]
    data = data_of()
    x = jnp.stack([data.x[:5], data.x[5:10], data.x[10:15]])
    y = jnp.stack([data.y[:5], data.y[5:10], data.y[10:15]])
    weight = jnp.array([1.0, 1.0, 1.0, 1.0, 0.0])
    loss = ensemble_fit.loss_of(model, config, params, x, y, weight)
    expected = 0.0
    nets = jax.tree.map(np.asarray, params["nets"])
    for e in range(3):
        hidden = np.asarray(x[e]) @ nets["layer0"]["kernel"][e]
        hidden = hidden / (1 + np.exp(-hidden))
        out = hidden @ nets["out"]["kernel"][e]
        mean, v = out[:, :2], np.asarray(soft_bound(jnp.array(out[:, 2:]), -10.0, 0.5))
        terms = (np.asarray(y[e]) - mean) ** 2 * np.exp(-v) + v
        terms = terms * np.exp(beta * v)
        expected += terms[:4].mean()
        expected += 0.5 * 0.1 * (nets["layer0"]["kernel"][e] ** 2).sum()
        expected += 0.5 * 0.2 * (nets["out"]["kernel"][e] ** 2).sum()
    # The bounds' term once, not once per member.
    expected += 0.01 * (2 * 0.5 + 2 * 10.0)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_at_beta_one_means_learn_as_from_squared_errors():
    """The bias of the mean's output is moved by nothing else."""
    model = model_of()
    params = model.init(jax.random.key(2))["model"]
    data, weight = data_of(), jnp.ones(4)
    x, y = (jnp.stack([z[:4], z[4:8], z[8:12]]) for z in (data.x, data.y))
    slope = jax.grad(
        lambda nets, beta: ensemble_fit.loss_of(
            model, FitConfig(beta=beta), {**params, "nets": nets}, x, y, weight
        )
    )
    error = (model.predict(params, x)[0] - y).mean(1)  # halved by two outputs
    found = slope(params["nets"], 1.0)["out"]["bias"][:, :2]
    np.testing.assert_allclose(found, error, rtol=1e-5)
    assert not np.allclose(slope(params["nets"], 0.0)["out"]["bias"][:, :2], error)


def test_empty_slots_change_nothing():
    model = model_of()
    a = fitted(model, STOPPING, data_of(filler=0.0))
    b = fitted(model, STOPPING, data_of(filler=1e30))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_statistics_are_those_of_the_filled_slots():
    model, data = model_of(normalize_targets=True), data_of(filler=7.0)
    stats = ensemble_fit.statistics(model, data)
    x, y = np.asarray(data.x[:80]), np.asarray(data.y[:80])
    np.testing.assert_allclose(stats["input_mean"], x.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats["target_std"], y.std(0), rtol=1e-4)
    constant = data._replace(x=data.x.at[:, 1].set(4.0))
    assert ensemble_fit.statistics(model, constant)["input_std"][1] == 1
    plain = ensemble_fit.statistics(model_of(), data)
    np.testing.assert_array_equal(plain["target_std"], 1)


def test_with_too_few_rows_nothing_is_learned():
    model = model_of()
    params, _, metrics = fitted(model, CONFIG, data_of(rows=1))
    first = model.init(jax.random.key(0))["model"]
    for x, y in zip(
        jax.tree.leaves(first["nets"]), jax.tree.leaves(params["nets"]), strict=True
    ):
        np.testing.assert_array_equal(x, y)
    assert metrics["model/epochs"] == 0


def test_holdout_and_training_rows_are_apart_and_only_filled_slots_are_used():
    config = dataclasses.replace(CONFIG, holdout=0.25)
    rows, held = ensemble_fit.split(config, jax.random.key(0), data_of(rows=40))
    assert held == 10
    assert sorted(np.asarray(rows[:40])) == list(range(40))
    few = dataclasses.replace(config, holdout_rows=3)
    assert ensemble_fit.split(few, jax.random.key(0), data_of(rows=40))[1] == 3


def test_each_member_keeps_its_best_and_stopping_counts_from_the_last_improvement():
    """Errors of three members over five epochs; 1 % is needed to improve."""
    errors = [[5, 5, 5], [4, 5, 5], [4, 4.99, 6], [3.99, 4.98, 2], [9, 9, 9]]
    config = dataclasses.replace(STOPPING, patience=1)
    tag = lambda epoch: {
        "nets": {"w": jnp.full((3, 2), float(epoch))},
        "bounds": {"low": jnp.full(2, float(epoch))},
    }
    zero = jnp.int32(0)
    high, none = jnp.full(3, 1e9), jnp.zeros(())
    now = Progress(tag(-1), (), tag(-1), high, zero, zero, none, none, none)
    stale = []
    for epoch, error in enumerate(errors):
        best, least, since = ensemble_fit.kept(
            config, now._replace(epoch=jnp.int32(epoch)), tag(epoch), jnp.array(error)
        )
        now = now._replace(best=best, error=least, stale=since)
        stale.append(int(since))
    np.testing.assert_array_equal(now.best["nets"]["w"][:, 0], [1, 0, 3])
    np.testing.assert_allclose(now.error, [4, 5, 2])
    assert stale == [0, 0, 1, 0, 1]


def test_early_stopping_stops_and_elites_have_the_lowest_error():
    """The first member begins too far off to arrive, the last a little off."""
    model, data = model_of(elites=2, particles=2, gaussian=False), data_of()
    config = dataclasses.replace(STOPPING, epochs=500, patience=2)
    params = model.init(jax.random.key(0))["model"]
    bias = params["nets"]["out"]["bias"]
    params["nets"]["out"]["bias"] = bias + jnp.array([300.0, 0.0, 9.0])[:, None]
    fit, state = program(model, config), begun(config, params)
    params, _, metrics = fit(params, state, jax.random.key(1), data)
    assert 1 < metrics["model/epochs"] < 500
    mean, _ = model.predict(params, jnp.broadcast_to(data.x[:80], (3, 80, 3)))
    errors = np.square(mean - data.y[:80]).mean((1, 2))
    np.testing.assert_array_equal(params["elites"], np.argsort(errors)[:2])
    assert 0 not in params["elites"]


def test_equal_members_learn_apart_from_bootstraps_of_their_own():
    """All begin as the first; one order of one bootstrap would keep them equal."""
    model = model_of(gaussian=False)
    params = model.init(jax.random.key(0))["model"]
    first = jax.tree.map(lambda w: jnp.broadcast_to(w[:1], w.shape), params["nets"])
    params = {**params, "nets": first}
    fit, state = program(model, CONFIG), begun(CONFIG, params)
    params, _, _ = fit(params, state, jax.random.key(1), data_of())
    kernel = np.asarray(params["nets"]["out"]["kernel"])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(kernel[a] - kernel[b]).max() > 1e-3


def test_a_fit_goes_on_with_the_optimizer_it_is_given():
    """20 passes of 5 batches each; what Adam remembers moves the networks."""
    model = model_of(gaussian=False)
    params = model.init(jax.random.key(0))["model"]
    fit, fresh = program(model, CONFIG), begun(CONFIG, params)
    params, state, _ = fit(params, fresh, jax.random.key(1), data_of())
    assert state[0].count == 100
    warm, state, _ = fit(params, state, jax.random.key(2), data_of())
    assert state[0].count == 200
    cold, _, _ = fit(params, fresh, jax.random.key(2), data_of())
    apart = warm["nets"]["out"]["kernel"] - cold["nets"]["out"]["kernel"]
    assert np.abs(apart).max() > 1e-5


def test_transitions_of_a_buffer():
    """Two rows of four slots; the third record of row 0 ends an episode."""
    observation = jnp.arange(16, dtype=jnp.float32).reshape(2, 4, 2)
    zeros = jnp.zeros((2, 4))
    timestep = TimeStep(
        observation=observation,
        reward=jnp.arange(8.0).reshape(2, 4),
        discount=zeros + 1,
        is_first=zeros.astype(bool),
        is_last=zeros.astype(bool),
    )
    mask = jnp.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
    steps = Step(timestep, zeros[..., None] + 0.5, {})
    model = model_of(learn_reward=True)
    data = ensemble_data.data_of(model, Dataset(steps, mask, jnp.int32(8)))
    assert data.count == 4
    np.testing.assert_array_equal(data.order[:4], [0, 1, 5, 6])
    np.testing.assert_array_equal(data.x[0], [0, 1, 0.5])
    np.testing.assert_array_equal(data.y[0], [2, 2, 1])
    np.testing.assert_array_equal(data.y[5], [2, 2, 6])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "--agent.fit.batch_size must be above 0"),
        ({"holdout": 1.0}, r"--agent.fit.holdout must be in \[0, 1\)"),
        ({"beta": 1.5}, r"--agent.fit.beta must be in \[0, 1\], got 1.5"),
        ({"patience": 5}, "--agent.fit.patience needs --agent.fit.holdout"),
        ({"patience": -1}, "--agent.fit.patience must be at least 0, got -1"),
        ({"weight_decay": (0.1, -1.0)}, "--agent.fit.weight_decay must be at least 0"),
    ],
)
def test_what_cannot_work_is_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        FitConfig(**changes)


def test_rows_count_as_they_weigh():
    model, config = model_of(gaussian=False), FitConfig()
    params = model.init(jax.random.key(2))["model"]
    data = data_of()
    x, y = (jnp.stack([z[:4], z[4:8], z[8:12]]) for z in (data.x, data.y))
    weight = jnp.array([[1.0, 2.0, 0.5, 0.0], [0.1, 0.1, 0.1, 0.0], [3.0, 1, 1, 0.0]])
    loss = ensemble_fit.loss_of(model, config, params, x, y, weight)
    mean, _ = model.predict(params, x)
    terms = np.square(np.asarray(y - mean)).mean(-1)
    # Divided by the three rows that count, not by their weights.
    np.testing.assert_allclose(loss, (terms * np.asarray(weight)).sum() / 3, rtol=1e-5)


def test_weights_have_a_mean_of_one_over_transitions():
    data = ensemble_data.reweighted(data_of(rows=80), jnp.arange(N) + 0.0)
    assert data.weight[80:].sum() == 0
    np.testing.assert_allclose(data.weight[:80], np.arange(80) / 39.5, atol=1e-6)


def test_nearness_falls_with_the_distance_from_the_nearest_expert():
    data = data_of()._replace(x=jnp.array([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]]))
    expert = jnp.array([[0.0, 0.0, 0.0], [3.0, 4.0, 2.0]])
    near = ensemble_data.nearness(data, expert, 0.5)
    np.testing.assert_allclose(near, [1.0, np.exp(-1.0)], rtol=1e-6)


def test_a_fit_follows_the_rows_that_weigh():
    """Two opposite systems in one pool. Error over the variance of the first: 0.12
    where the second weighs nothing; neither is learned where both weigh alike."""
    data, model = data_of(), model_of(gaussian=False)
    second = jnp.arange(N) % 2 == 1
    both = data._replace(y=jnp.where(second[:, None], -data.y, data.y))

    def error(weight):
        pool = ensemble_data.reweighted(both, jnp.where(second, weight, 1.0))
        params, _, _ = fitted(model, CONFIG, pool)
        mean, _ = model.predict(params, jnp.broadcast_to(data.x, (3, N, 3)))
        return np.square(np.asarray(mean - data.y))[:, :80].mean() / data.y[:80].var()

    assert error(1e-4) < 0.3
    assert error(1.0) > 0.6


def test_members_stop_where_their_average_rises_and_keep_what_they_have():
    """Two of three have stopped: an epoch moves the other one alone, and its Adam."""
    model, config = (
        model_of(gaussian=False),
        dataclasses.replace(CONFIG, holdout=0.2, persistency=0.9),
    )
    learned = ensemble_fit.learned_part(model.init(jax.random.key(0))["model"])
    state = ensemble_fit.optimizer(config).init(learned)
    moved = jax.tree.map(lambda x: x + 1, (learned, state))
    none = jnp.zeros(())
    now = Progress(learned, state, *(none,) * 7)
    now = now._replace(stopped=jnp.array([True, False, True]))
    found = ensemble_fit.running(config, now, *moved)
    kernels = lambda tree: (
        tree[0]["nets"]["out"]["kernel"],
        tree[1][0].mu["nets"]["out"]["kernel"],
    )
    for new, old in zip(kernels(found), kernels((learned, state)), strict=True):
        change = np.asarray(new - old)
        np.testing.assert_allclose(change[1], 1.0, rtol=1e-5)
        np.testing.assert_array_equal(change[[0, 2]], 0.0)


def test_a_fit_ends_when_all_members_have_stopped():
    """Steps of 0.3 make errors go up and down; they are those of where it stopped."""
    model = model_of(gaussian=False)
    config = dataclasses.replace(
        CONFIG, learning_rate=0.3, holdout=0.2, persistency=0.5, epochs=100
    )
    _, _, metrics = fitted(model, config, data_of())
    assert 1 < metrics["model/epochs"] < 100
