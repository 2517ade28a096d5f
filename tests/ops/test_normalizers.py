"""`wm/ops/normalizers.py` against loops in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.normalizers import PercentileScale, RunningMoments


def test_percentile_scale_matches_a_numpy_loop():
    scale = PercentileScale()
    data = np.random.default_rng(0).normal(3, 20, (200, 64)).astype(np.float32)
    low = high = 0.0
    expected = []
    for x in data:
        low = 0.99 * low + 0.01 * np.percentile(x, 5)
        high = 0.99 * high + 0.01 * np.percentile(x, 95)
        expected.append(max(1.0, high - low))

    def body(state, x):
        state = scale.update(state, x)
        return state, scale.scale(state)

    state, scales = jax.lax.scan(body, scale.init(), data)
    np.testing.assert_allclose(scales, expected, rtol=1e-5)
    np.testing.assert_allclose([state.low, state.high], [low, high], rtol=1e-5)
    assert scales[0] == 1  # the floor, before the average has grown
    assert scales[-1] > 10


def test_constant_returns_keep_the_scale_at_one():
    scale = PercentileScale()
    body = lambda state, _: (scale.update(state, jnp.full(16, 5.0)),) * 2
    _, states = jax.lax.scan(body, scale.init(), length=200)
    np.testing.assert_array_equal(jax.vmap(scale.scale)(states), 1)


def test_scale_grows_with_a_time_constant_of_a_hundred_updates():
    scale = PercentileScale()
    spread = jnp.linspace(0, 100, 1001)
    body = lambda state, _: (scale.update(state, spread), None)
    state, _ = jax.lax.scan(body, scale.init(), length=100)
    assert scale.scale(state) == pytest.approx(90 * (1 - 0.99**100), rel=1e-4)
    assert scale.scale(state) == pytest.approx(57, abs=0.1)


def test_percentile_scale_passes_no_gradient():
    scale = PercentileScale(rate=1.0)
    f = lambda x: scale.scale(scale.update(scale.init(), x))
    x = jnp.linspace(0.0, 100.0, 11)
    np.testing.assert_array_equal(jax.grad(f)(x), 0)
    assert f(x) == pytest.approx(90)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate must be in"),
        ({"low": 95.0, "high": 5.0}, "percentiles in order, got 95.0, 5.0"),
    ],
)
def test_impossible_percentile_scale_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PercentileScale(**options)


def test_running_moments_equal_those_of_everything_seen():
    moments = RunningMoments(shape=(3,))
    data = np.random.default_rng(1).normal(100, [0.1, 1, 10], (4, 5, 6, 3))
    mask = np.random.default_rng(2).random((4, 5, 6)) < 0.7
    mask[1] = False
    state = moments.init()
    np.testing.assert_array_equal(moments.std(state), 1)
    for x, rows in zip(data.astype(np.float32), mask, strict=True):
        state = moments.update(state, jnp.asarray(x), jnp.asarray(rows))
    seen = data[mask]
    assert state.count == len(seen)
    np.testing.assert_allclose(state.mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.std(state), seen.std(0), rtol=1e-3)
    result = moments.normalize(state, jnp.asarray(data[0, 0]))
    expected = (data[0, 0] - seen.mean(0)) / seen.std(0)
    np.testing.assert_allclose(result, expected, rtol=1e-2, atol=1e-3)


def test_running_moments_of_scalars_and_of_a_constant():
    moments = RunningMoments(epsilon=0.5)
    state = moments.update(moments.init(), jnp.full((2, 3), 7.0))
    assert (state.count, state.mean, moments.std(state)) == (6, 7, 0.5)
    assert moments.normalize(state, jnp.float32(8.0)) == 2
