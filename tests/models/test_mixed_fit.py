"""Two sets in every batch: their shares, the noise, and statistics that stay."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.errors import UserError
from wm.models import ensemble_fit, mixed_fit
from wm.models.ensemble import Ensemble, EnsembleConfig
from wm.models.ensemble_data import Data
from wm.models.mixed_fit import MixedConfig, batch, new_rows, noisy, steps_of

SIZE = 10
MODEL = Ensemble(
    wm.env("classic/pendulum").spec,
    EnsembleConfig(
        members=1,
        layers=1,
        units=8,
        gaussian=False,
        particles=1,
        normalize_targets=True,
    ),
)


def data(values, N=40, width=4, outputs=3):
    """A set whose rows are `values`, in slots of which every second one is empty."""
    slots = 2 * jnp.arange(len(values))
    column = jnp.zeros(N).at[slots].set(jnp.asarray(values, jnp.float32))
    filled = jnp.zeros(N, bool).at[slots].set(True)
    return Data(
        x=jnp.broadcast_to(column[:, None], (N, width)),
        y=jnp.broadcast_to(column[:, None], (N, outputs)),
        order=jnp.argsort(~filled, stable=True).astype(jnp.int32),
        count=jnp.asarray(len(values), jnp.int32),
    )


def drawn(fraction, old, new, i=0, key=0):
    """Values of a batch; random rows are negative, on-policy ones positive."""
    config = MixedConfig(batch_size=SIZE, fraction_new=fraction)
    random = data([-1.0 - n for n in range(old)])
    fresh = data([1.0 + n for n in range(new)])
    share = new_rows(config, fresh.count)
    x, y = batch(config, jax.random.key(key), i, jnp.arange(40), share, random, fresh)
    np.testing.assert_array_equal(x[:, 0], y[:, 0])
    return np.asarray(x[:, 0])


def in_order(old):
    """Positions in the random set, walked in the order of `arange`."""
    return [-1.0 - n for n in old]


@pytest.mark.parametrize(
    ("fraction", "old", "new", "wanted"),
    [
        (0.9, 20, 20, 9),
        (0.5, 20, 20, 5),
        (0.99, 20, 20, 9),
        (0.9, 20, 3, 3),
        (0.0, 20, 20, 0),
        (1.0, 20, 20, 10),
        (0.9, 20, 0, 0),
    ],
)
def test_shares_are_exact_in_every_batch(fraction, old, new, wanted):
    for i in range(3):
        values = drawn(fraction, old, new, i)
        assert (values > 0).sum() == wanted
        assert (values < 0).sum() == SIZE - wanted


def test_a_pass_walks_through_the_random_set_once():
    """Half and half: five random rows a step, four steps."""
    config = MixedConfig(batch_size=SIZE, fraction_new=0.5)
    assert int(steps_of(config, jnp.asarray(20), jnp.asarray(20))) == 4
    random = data([-1.0 - n for n in range(20)])
    fresh = data([1.0])
    order = jnp.arange(40)
    seen = []
    for i in range(4):
        share = jnp.asarray(5)
        x, _ = batch(config, jax.random.key(i), i, order, share, random, fresh)
        seen += [value for value in np.asarray(x[:, 0]) if value < 0]
    assert seen == in_order(range(20))


@pytest.mark.parametrize(
    ("fraction", "old", "new", "wanted"),
    [(0.9, 4, 30, 4), (0.0, 35, 9, 3), (0.9, 3, 0, 1), (1.0, 5, 35, 3)],
)
def test_steps_of_a_pass(fraction, old, new, wanted):
    config = MixedConfig(batch_size=SIZE, fraction_new=fraction)
    assert int(steps_of(config, jnp.asarray(old), jnp.asarray(new))) == wanted


def test_a_set_smaller_than_its_part_of_a_batch_is_repeated():
    values = drawn(0.0, 4, 0)
    assert sorted(values, reverse=True)[:3] == [-1.0, -1.0, -1.0]
    assert set(values) == {-1.0, -2.0, -3.0, -4.0}


def test_the_published_batch_has_460_new_rows_and_52_old_ones():
    assert int(new_rows(MixedConfig(), jnp.asarray(9000))) == 460


def test_noise_is_a_share_of_the_absolute_mean_and_spares_actions():
    N = 20_000
    x = jnp.broadcast_to(jnp.array([5.0, -20.0, 0.0, 3.0]), (N, 4))
    y = jnp.broadcast_to(jnp.array([100.0, -1.0, 0.0]), (N, 3))
    order = jnp.arange(N, dtype=jnp.int32)
    clean = Data(x, y, order, jnp.asarray(N // 2, jnp.int32))
    # Slots beyond the count say nothing of the mean.
    clean = clean._replace(x=clean.x.at[N // 2 :].set(1e6))
    found = noisy(0.01, jax.random.key(0), clean, actions=1)
    half = slice(0, N // 2)
    np.testing.assert_allclose(
        (found.x - clean.x)[half].std(0), [0.05, 0.2, 0.0, 0.0], rtol=0.03
    )
    np.testing.assert_allclose(
        (found.y - clean.y)[half].std(0), [1.0, 0.01, 0.0], rtol=0.03
    )
    np.testing.assert_array_equal(found.x[:, 3], clean.x[:, 3])
    assert np.abs((found.x - clean.x)[half].mean(0)).max() < 0.01
    same = noisy(0.0, jax.random.key(0), clean, actions=1)
    np.testing.assert_array_equal(same.x, clean.x)


@functools.cache
def fitter():
    config = MixedConfig(batch_size=SIZE, epochs=3)
    rule = ensemble_fit.optimizer(ensemble_fit.FitConfig())

    @jax.jit
    def run(params, optimizer, random, new, first, key=0):
        return mixed_fit.fit(
            MODEL, config, params, optimizer, jax.random.key(key), random, new, first
        )

    params = MODEL.init(jax.random.key(1))["model"]
    return run, params, rule.init(ensemble_fit.learned_part(params))


def test_statistics_are_those_of_the_random_data_and_stay():
    run, params, optimizer = fitter()
    random = data([1.0, 2.0, 3.0, 4.0])
    far = data([100.0, 300.0])
    params, optimizer, metrics = run(params, optimizer, random, data([]), True)
    stats = params["stats"]
    # Noise of a hundredth of the mean: 0.025.
    np.testing.assert_allclose(stats["input_mean"], 2.5, atol=0.06)
    np.testing.assert_allclose(stats["target_std"], np.sqrt(1.25), atol=0.06)
    assert metrics["model/new_share"] == 0
    later, _, metrics = run(params, optimizer, random, far, False)
    assert metrics["model/new_share"] == pytest.approx(0.2)
    for name in stats:
        np.testing.assert_array_equal(later["stats"][name], stats[name])
    nets = lambda p: jax.tree.leaves(p["nets"])
    pairs = zip(nets(later), nets(params), strict=True)
    assert any((a != b).any() for a, b in pairs)


def test_without_random_data_nothing_is_learned():
    run, params, optimizer = fitter()
    after, _, _ = run(params, optimizer, data([]), data([]), True)
    for a, b in zip(
        jax.tree.leaves(after["nets"]), jax.tree.leaves(params["nets"]), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fraction_new": 1.5}, r"--agent.fit.fraction_new must be in \[0, 1\]"),
        ({"batch_size": 0}, "--agent.fit.batch_size must be above 0, got 0"),
        ({"noise": -1.0}, "--agent.fit.noise must be at least 0"),
    ],
)
def test_what_cannot_work_is_one_line(settings, message):
    with pytest.raises(UserError, match=message):
        MixedConfig(**settings)
