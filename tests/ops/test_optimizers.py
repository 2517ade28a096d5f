"""`wm/ops/optimizers.py` and `wm/ops/schedules.py` against loops in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops import schedules
from wm.ops.optimizers import (
    agc,
    decaying,
    ema,
    hard_copy,
    laprop,
    scale_by_momentum_bias_corrected,
    scale_by_rms_bias_corrected,
)

STEPS = 200


def numpy_laprop(params, grads, rate, warmup, clip=0.3, floor=1e-3):
    """Params after every step, in float64."""
    p, nu, mu = params.astype(np.float64), 0.0, 0.0
    history = []
    for n, g in enumerate(grads.astype(np.float64), 1):
        limit = clip * max(floor, np.linalg.norm(p))
        g = g * min(1, limit / np.linalg.norm(g))
        nu = 0.999 * nu + 0.001 * g**2
        mu = 0.9 * mu + 0.1 * g / (np.sqrt(nu / (1 - 0.999**n)) + 1e-20)
        p = p - rate * min(1, (n - 1) / warmup) * mu / (1 - 0.9**n)
        history.append(p)
    return np.array(history)


def test_laprop_with_clipping_matches_a_numpy_loop():
    rng = np.random.default_rng(0)
    params = rng.normal(size=(3, 2)).astype(np.float32)
    # Norms on both sides of the clip.
    sizes = np.exp(rng.normal(size=(STEPS, 1, 1)) * 2 - 1)
    grads = (rng.normal(size=(STEPS, 3, 2)) * sizes).astype(np.float32)
    optimizer = laprop(1e-2, warmup_steps=10)

    def body(carry, grad):
        params, state = carry
        updates, state = optimizer.update(grad, state, params)
        params = params + updates
        return (params, state), params

    carry = jnp.asarray(params), optimizer.init(jnp.asarray(params))
    _, result = jax.lax.scan(body, carry, grads)
    expected = numpy_laprop(params, grads, 1e-2, 10)
    np.testing.assert_array_equal(result[0], params)  # the first rate is 0
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5)
    assert np.abs(expected[-1] - params).max() > 0.1


def test_first_laprop_step_moves_by_the_learning_rate():
    # After bias correction the first normalised gradient is its sign.
    params = jnp.array([1.0, -2.0, 3.0])
    optimizer = laprop(0.1, clip=0)
    grads = jnp.array([0.01, -5.0, 0.0])
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates, [-0.1, 0.1, 0.0], rtol=1e-5)


def test_laprop_multiplies_warmup_and_schedule():
    optimizer = laprop(schedules.linear(1.0, 0.5, 4), warmup_steps=2, clip=0)
    params, sizes = jnp.ones(1), []
    state = optimizer.init(params)
    for _ in range(5):
        updates, state = optimizer.update(jnp.ones(1), state, params)
        sizes.append(-updates[0])
    np.testing.assert_allclose(sizes, [0, 0.5 * 0.875, 0.75, 0.625, 0.5], rtol=1e-5)


def test_agc_clips_by_the_norm_of_each_tensor():
    params = {"a": jnp.array([3.0, 4.0]), "zero": jnp.zeros(2), "small": jnp.ones(1)}
    grads = {
        "a": jnp.array([30.0, 40.0]),
        "zero": jnp.array([0.0, 2.0]),
        "small": jnp.array([0.05]),
    }
    transform = agc(0.1, floor=1e-2)
    clipped, _ = transform.update(grads, transform.init(params), params)
    np.testing.assert_allclose(clipped["a"], [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(clipped["zero"], [0.0, 1e-3], rtol=1e-6)
    np.testing.assert_allclose(clipped["small"], [0.05], rtol=1e-6)


def test_agc_without_params_says_so():
    with pytest.raises(ValueError, match="agc needs params"):
        agc().update(jnp.ones(1), agc().init(None))


def test_rms_and_momentum_match_hand_values():
    rms = scale_by_rms_bias_corrected(0.5, 0.0)
    first, state = rms.update(jnp.array([4.0]), rms.init(jnp.zeros(1)))
    # ν = 8, ν̂ = 16; then ν = 4 + 0.5·36, ν̂ = 22 / 0.75.
    np.testing.assert_allclose(first, [1.0], rtol=1e-6)
    second, _ = rms.update(jnp.array([6.0]), state)
    np.testing.assert_allclose(second, [6 / np.sqrt(22 / 0.75)], rtol=1e-6)
    momentum = scale_by_momentum_bias_corrected(0.5)
    first, state = momentum.update(jnp.array([4.0]), momentum.init(jnp.zeros(1)))
    second, _ = momentum.update(jnp.array([1.0]), state)
    # μ = 2, μ̂ = 4; then μ = 1.5, μ̂ = 2.
    np.testing.assert_allclose([first, second], [[4.0], [2.0]], rtol=1e-6)


def test_statistics_stay_float32_for_bfloat16_parameters():
    params = jnp.ones(2, jnp.bfloat16)
    state = laprop(1e-3).init(params)
    assert {x.dtype for x in jax.tree.leaves(state)} == {
        jnp.dtype("float32"),
        jnp.dtype("int32"),
    }


def test_ema_matches_a_numpy_loop():
    fast = np.random.default_rng(0).normal(size=(STEPS, 3)).astype(np.float32)
    expected = np.ones(3)
    for x in fast:
        expected = 0.02 * x + 0.98 * expected
    body = lambda slow, x: (ema(slow, {"w": x}, 0.02), None)
    slow, _ = jax.lax.scan(body, {"w": jnp.ones(3)}, fast)
    np.testing.assert_allclose(slow["w"], expected, rtol=1e-5, atol=1e-6)


def test_hard_copy_happens_every_interval():
    copied = [
        hard_copy(jnp.zeros(1), jnp.ones(1), jnp.array(step), 3)[0] for step in range(5)
    ]
    assert copied == [1, 0, 0, 1, 0]


def test_schedules_match_hand_values():
    counts = jnp.array([0, 2, 3, 4, 9])
    linear = schedules.linear(1.0, 3.0, 2, begin=2)
    np.testing.assert_allclose(linear(counts), [1, 1, 2, 3, 3])
    cosine = schedules.cosine(1.0, 3.0, 2, begin=2)
    np.testing.assert_allclose(cosine(counts), [1, 1, 2, 3, 3], rtol=1e-6)
    quarter = 2 - np.sqrt(0.5)
    assert schedules.cosine(1.0, 3.0, 4)(1) == pytest.approx(quarter, rel=1e-5)
    exponential = schedules.exponential(1.0, 0.01, 2, begin=2)
    np.testing.assert_allclose(exponential(counts), [1, 1, 0.1, 0.01, 0.01], rtol=1e-5)
    both = schedules.product(linear, exponential)
    np.testing.assert_allclose(both(counts), [1, 1, 0.2, 0.03, 0.03], rtol=1e-5)


def test_impossible_schedules_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        schedules.linear(0.0, 1.0, 0)
    with pytest.raises(ValueError, match="start and end must be positive"):
        schedules.exponential(0.0, 1.0, 5)


def test_decaying_rates_momentum_and_clipping_by_hand():
    optimizer = decaying("sgd", 0.2, (2, 3), max_norm=1.0)
    params = jnp.zeros(())
    state, steps = optimizer.init(params), []
    for _ in range(4):
        update, state = optimizer.update(jnp.float32(5.0), state, params)
        steps.append(float(update))
    momentum = np.array([1, 1.9, 2.71, 3.439])
    np.testing.assert_allclose(steps, -momentum * [0.2, 0.2, 0.02, 0.002], rtol=1e-5)
    slow = decaying("sgd", 0.2, (2, 3), 1.0, warmup_updates=2)
    state, warm = slow.init(params), []
    for _ in range(4):
        update, state = slow.update(jnp.float32(5.0), state, params)
        warm.append(float(update))
    np.testing.assert_allclose(warm, np.array(steps) * [0, 0.5, 1, 1], rtol=1e-5)
    adam = decaying("adam", 0.2)
    update, _ = adam.update(jnp.float32(5.0), adam.init(params), params)
    np.testing.assert_allclose(update, -0.2, rtol=1e-4)
