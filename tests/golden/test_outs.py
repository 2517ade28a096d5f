"""Output distributions against the authors' DreamerV3 code (`outs.npz`).

Arrays made by `danijar/dreamerv3` at e3f0224, float32 on CPU. Tolerances are relative
to the largest magnitude of the array unless a test says otherwise.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.distributions import Bernoulli, BoundedNormal, Categorical
from wm.ops.transforms import symexp, symexp_two_hot, symlog

DATA = pathlib.Path(__file__).parent / "data" / "outs.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA) as file:
        return dict(file)


def assert_close(actual, expected, tolerance):
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


@pytest.mark.parametrize(("num_bins", "name"), [(255, "bins"), (9, "bins9")])
def test_symexp_bins_match(golden, num_bins, name):
    expected = golden[f"twohot/{name}"]
    np.testing.assert_allclose(symexp_two_hot(num_bins).bins, expected, rtol=5e-6)


def test_even_number_of_symexp_bins_has_two_zeros(golden):
    expected = golden["twohot/bins_even8"]
    np.testing.assert_allclose(symexp_two_hot(8).bins, expected, rtol=5e-6)


def test_two_hot_mean_matches_and_is_zero_at_zero_logits(golden):
    two_hot = symexp_two_hot()
    logits = jnp.asarray(golden["twohot/in/logits"])
    mean = two_hot.mean(logits)
    assert mean[0] == 0
    # Means of broad distributions cancel: the scale is Σ p·|bin|.
    scale = jax.nn.softmax(logits) @ np.abs(two_hot.bins)
    error = np.abs(mean - golden["twohot/out/pred"]) / scale
    assert error.max() < 5e-6


def test_two_hot_loss_matches(golden):
    logits, target = golden["twohot/in/logits"], golden["twohot/in/target"]
    loss = jax.jit(symexp_two_hot().loss)(logits, target)
    assert_close(loss, golden["twohot/out/loss"], 5e-6)


def test_two_hot_label_matches(golden):
    label = jax.jit(symexp_two_hot().label)(golden["twohot/in/target"])
    assert_close(label, golden["twohot/out/label"], 3e-5)


def test_two_hot_loss_gradient_is_softmax_minus_label(golden):
    logits = jnp.asarray(golden["twohot/in/logits"])
    target = jnp.asarray(golden["twohot/in/target"])
    loss = lambda x: symexp_two_hot().loss(x, target).sum()
    gradient = jax.jit(jax.grad(loss))(logits)
    expected = jax.nn.softmax(logits) - golden["twohot/out/label"]
    assert_close(gradient, np.asarray(expected), 3e-5)


def test_symlog_and_symexp_match(golden):
    case = lambda name: golden[f"symlogmse/{name}"]
    target = symlog(jnp.asarray(case("in/target")))
    assert_close(target, case("out/symlog_target"), 5e-6)
    loss = jnp.square(case("in/pred") - target).sum(-1)
    assert_close(loss, case("out/loss"), 1e-5)
    prediction = symexp(jnp.asarray(case("in/pred")))
    np.testing.assert_allclose(prediction, case("out/symexp_pred"), rtol=5e-6)


def test_bernoulli_matches_with_soft_targets(golden):
    case = lambda name: golden[f"binary/{name}"]
    dist = Bernoulli(jnp.asarray(case("in/logit")))
    assert_close(-dist.log_prob(jnp.asarray(case("in/target"))), case("out/loss"), 1e-5)
    assert_close(dist.mean, case("out/prob1"), 1e-5)
    np.testing.assert_array_equal(dist.mode(), case("out/mode"))


def test_categorical_matches(golden):
    case = lambda name: golden[f"categorical/{name}"]
    dist = Categorical(jnp.asarray(case("in/logits")))
    log_prob = dist.log_prob(jnp.asarray(case("in/action")))
    assert_close(log_prob, case("out/logp"), 1e-5)
    assert_close(dist.entropy(), case("out/entropy"), 1e-5)
    np.testing.assert_array_equal(dist.mode(), case("out/mode"))


def test_bounded_normal_matches(golden):
    case = lambda name: golden[f"boundednormal/{name}"]
    raw = jnp.asarray(case("in/raw_mean")), jnp.asarray(case("in/raw_std"))
    dist = BoundedNormal(*raw)
    assert_close(dist.mode(), case("out/mean"), 1e-5)
    assert_close(dist.normal.std, case("out/stddev"), 1e-5)
    assert_close(dist.log_prob(jnp.asarray(case("in/action"))), case("out/logp"), 1e-5)
    assert_close(dist.entropy(), case("out/entropy"), 1e-5)
