"""`wm/ops/transforms.py`: hand values, inverses, edges of the two-hot code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.transforms import (
    TwoHot,
    hyperbolic_two_hot,
    signed_hyperbolic,
    signed_parabolic,
    symexp,
    symexp_two_hot,
    symlog,
    symlog_two_hot,
)

BOTH = [symexp_two_hot(), symlog_two_hot()]
WIDE = jnp.array([-1e6, -3.0, -1e-3, 0.0, 1e-6, 0.5, 1.0, 300.0, 1e8])


def test_symlog_and_symexp_match_hand_values():
    np.testing.assert_allclose(symlog(jnp.array([0.0, np.e - 1, 1 - np.e])), [0, 1, -1])
    np.testing.assert_allclose(
        symexp(jnp.array([0.0, 1.0, -2.0])), [0, np.e - 1, 1 - np.e**2], rtol=1e-6
    )


def test_squashings_invert_each_other():
    np.testing.assert_allclose(symexp(symlog(WIDE)), WIDE, rtol=1e-5)
    there_and_back = signed_parabolic(signed_hyperbolic(WIDE))
    np.testing.assert_allclose(there_and_back, WIDE, rtol=1e-5)


def test_signed_hyperbolic_matches_hand_values():
    # h(3) = √4 − 1 + 0.003, h(−8) = −(√9 − 1) − 0.008.
    result = signed_hyperbolic(jnp.array([0.0, 3.0, -8.0]))
    np.testing.assert_allclose(result, [0, 1.003, -2.008], rtol=1e-6)
    assert signed_hyperbolic(jnp.float32(1e-9)) == pytest.approx(0.501e-9, rel=1e-5)
    np.testing.assert_allclose(signed_parabolic(result), [0, 3, -8], rtol=1e-6)


@pytest.mark.parametrize("transform", [symlog, symexp, signed_hyperbolic])
def test_squashings_return_float32_with_unit_like_gradient_at_zero(transform):
    assert transform(jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
    near = jax.grad(lambda x: transform(x))(jnp.float32(1e-6))
    assert 0.5 <= near <= 1.001


@pytest.mark.parametrize("two_hot", BOTH)
def test_bins_are_symmetric_and_ascending(two_hot):
    bins = two_hot.bins
    assert bins.dtype == np.float32
    assert (np.diff(bins) > 0).all()
    np.testing.assert_array_equal(bins, -bins[::-1])


@pytest.mark.parametrize("two_hot", BOTH)
def test_two_hot_round_trip(two_hot):
    label = jax.jit(two_hot.label)(WIDE)
    np.testing.assert_allclose(label.sum(-1), 1, rtol=1e-6)
    assert ((label > 0).sum(-1) <= 2).all()
    decoded = jax.jit(two_hot.mean)(jnp.log(label + 1e-30))
    np.testing.assert_allclose(decoded, WIDE, rtol=2e-5, atol=1e-6)


def test_hyperbolic_bins_keep_what_muzero_codes():
    """Within 5e-4 of anything up to 1e4; 601 bins end where h(x) is 300."""
    code = hyperbolic_two_hot()
    x = jnp.array([-1e4, -37.5, -1.0, 0.0, 0.3, 1.0, 2.0, 999.0, 1e4])
    label = jax.jit(code.label)(x)
    np.testing.assert_allclose(label.sum(-1), 1, rtol=1e-6)
    decoded = jax.jit(code.mean)(jnp.log(label + 1e-30))
    assert (np.abs(decoded - x) <= 5e-4 * np.maximum(1, np.abs(x))).all()
    # h(1) = sqrt(2) - 1 + 0.001 lies between the bins 0 and 1.
    np.testing.assert_allclose(label[5, 301], 2**0.5 - 0.999, rtol=1e-5)
    np.testing.assert_allclose(label[5, 300], 2 - 2**0.5 - 0.001, rtol=1e-5)
    edge = jax.jit(code.mean)(jnp.log(code.label(jnp.array([1e6])) + 1e-30))
    np.testing.assert_allclose(edge, 58_706, rtol=1e-4)
    slope = jax.grad(lambda logits: code.loss(logits, jnp.float32(1e6)))
    assert jnp.isfinite(slope(jnp.zeros(601))).all()


@pytest.mark.parametrize("num_bins", [4, 5, 255])
@pytest.mark.parametrize("kind", [symexp_two_hot, symlog_two_hot])
def test_equal_logits_decode_to_exactly_zero(kind, num_bins):
    means = kind(num_bins).mean(jnp.array([[0.0], [3.7], [-50.0]]).repeat(num_bins, 1))
    np.testing.assert_array_equal(means, 0)


@pytest.mark.parametrize("two_hot", BOTH)
def test_targets_beyond_the_ends_go_to_the_end_bin(two_hot):
    label = jax.jit(two_hot.label)(jnp.array([-1e12, 1e12, jnp.inf]))
    np.testing.assert_array_equal(label.argmax(-1), [0, 254, 254])
    np.testing.assert_array_equal(label.max(-1), 1)


def test_label_weights_match_hand_values():
    # Bins of five at limit 2: ±(e² − 1), ±(e − 1), 0; the target is 1.
    share = 1 / (np.e - 1)
    expected = [[0, 0, 1 - share, share, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
    edge = np.float32(np.e - 1)
    raw = jax.jit(symexp_two_hot(5, 2.0).label)(jnp.array([1.0, edge, -edge]))
    np.testing.assert_allclose(raw, expected, atol=1e-6)
    even = jax.jit(symlog_two_hot(5, 2.0).label)(jnp.float32(1.0))
    np.testing.assert_allclose(even, [0, 0, 1 - np.log(2), np.log(2), 0], atol=1e-6)


def test_variants_disagree_on_a_bimodal_distribution():
    # Half on 0, half on the bin symexp(1) = e − 1.
    logits = jnp.log(jnp.array([0.0, 0.0, 0.5, 0.5, 0.0]) + 1e-30)
    raw, even = symexp_two_hot(5, 2.0), symlog_two_hot(5, 2.0)
    assert raw.mean(logits) == pytest.approx((np.e - 1) / 2, rel=1e-6)
    assert even.mean(logits) == pytest.approx(np.exp(0.5) - 1, rel=1e-6)


@pytest.mark.parametrize("two_hot", [symexp_two_hot(9), symlog_two_hot(8, 10.0)])
def test_loss_and_gradient_equal_the_dense_cross_entropy(two_hot):
    key_logits, key_target = jax.random.split(jax.random.key(0))
    logits = 3 * jax.random.normal(key_logits, (5, 7, two_hot.num_bins))
    target = symexp(10 * jax.random.normal(key_target, (5, 7)))

    @jax.jit
    def losses_and_gradients(logits):
        loss, pull = jax.vjp(lambda x: two_hot.loss(x, target), logits)
        label = two_hot.label(target)
        dense = -jnp.sum(label * jax.nn.log_softmax(logits), -1)
        (gradient,) = pull(jnp.ones_like(loss))
        return (loss, gradient), (dense, jax.nn.softmax(logits) - label)

    (loss, gradient), (dense, expected) = losses_and_gradients(logits)
    np.testing.assert_allclose(loss, dense, atol=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_loss_gives_the_target_no_gradient():
    logits = jnp.arange(5.0)
    loss = lambda target: symexp_two_hot(5).loss(logits, target)
    assert jax.jit(jax.grad(loss))(jnp.float32(1.0)) == 0


@pytest.mark.parametrize("two_hot", [symexp_two_hot(9, 3.0), symlog_two_hot(8, 3.0)])
def test_gradient_of_mean_equals_that_of_the_plain_sum(two_hot):
    logits = jax.random.normal(jax.random.key(1), (6, two_hot.num_bins))

    def plain(x):
        mean = jax.nn.softmax(x) @ two_hot.bins
        return symexp(mean) if two_hot.space == "symlog" else mean

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradient(mean, x):
        value, pull = jax.vjp(lambda x: mean(x), x)
        return value, pull(jnp.cos(value))[0]

    value, gradient = value_and_gradient(two_hot.mean, logits)
    expected_value, expected = value_and_gradient(plain, logits)
    np.testing.assert_allclose(value, expected_value, rtol=1e-4)
    np.testing.assert_allclose(gradient, expected, atol=2e-5)


def test_bfloat16_logits_give_float32_results():
    two_hot = symexp_two_hot()
    logits = jax.random.normal(jax.random.key(2), (3, 255), jnp.bfloat16)
    target = jnp.array([1.0, -2.0, 30.0], jnp.bfloat16)
    loss, mean = jax.jit(two_hot.loss)(logits, target), two_hot.mean(logits)
    assert loss.dtype == mean.dtype == jnp.float32
    wide = jax.jit(two_hot.loss)(logits.astype("float32"), target.astype("float32"))
    np.testing.assert_array_equal(loss, wide)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_bins": 1}, "num_bins must be at least 2, got 1"),
        ({"limit": 0.0}, "limit must be positive, got 0.0"),
        ({"space": "log"}, "space must be 'raw', 'symlog' or 'hyperbolic', got 'log'"),
    ],
)
def test_impossible_two_hot_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TwoHot(**options)
