"""Moments of Gaussians through functions: hand numbers, samples, differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops import moments
from wm.ops.moments import Gaussian, Regression

SAMPLES = 400_000


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def gaussian(D, seed=0, size=0.5):
    rng = np.random.default_rng(seed)
    root = size * rng.normal(size=(D, D))
    return Gaussian(jnp.asarray(rng.normal(size=D)), jnp.asarray(root @ root.T))


def draws(x, seed=1, count=SAMPLES):
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(x.mean, x.cov, count)


def regression(E=3, D=4, N=20, seed=2):
    """Processes that have seen N points."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(N, D)), rng.normal(size=(E, N))
    lengths, amplitude = rng.uniform(1, 2, (E, D)), rng.uniform(0.5, 1.5, E)
    K = np.stack([kernel(x, x, *pair) for pair in zip(lengths, amplitude, strict=True)])
    inverse = np.linalg.inv(K + 0.1 * np.eye(N))
    beta = np.einsum("enm,em->en", inverse, y)
    return Regression(*map(jnp.asarray, (x, lengths, amplitude, beta, inverse)))


def kernel(a, b, lengths, amplitude):
    square = (
        np.square(a / lengths).sum(1)[:, None] + np.square(b / lengths).sum(1)
    ) - (2 * (a / lengths) @ (b / lengths).T)
    return amplitude**2 * np.exp(-0.5 * square)


def check_against_samples(x, image, points, values):
    """Errors of sampling are about a five-hundredth of a standard deviation."""
    both = np.cov(np.concatenate([points, values], 1).T)
    D = points.shape[1]
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=6e-3)
    close(image.mean, values.mean(0))
    close(image.cov, both[D:, D:])
    close(x.cov @ image.gain, both[:D, D:])


def test_affine_by_hand():
    x = Gaussian(jnp.array([1.0, 2.0]), jnp.array([[1.0, 0.5], [0.5, 2.0]]))
    y = moments.affine(x, jnp.array([[2.0, -1.0]]), 3.0)
    np.testing.assert_allclose(y.mean, [3.0])
    np.testing.assert_allclose(y.cov, [[4.0]])  # 4 · 1 − 4 · 0.5 + 2
    np.testing.assert_allclose(x.cov @ y.gain, [[1.5], [-1.0]])


def test_sines_by_hand():
    """Of N(0, v): mean 0, variance (1 − e^−2v) / 2, covariance v e^(−v/2)."""
    x = Gaussian(jnp.zeros(1), jnp.full((1, 1), 0.7))
    y = moments.sines(x, jnp.array([2.0]))
    np.testing.assert_allclose(y.mean, [0.0])
    np.testing.assert_allclose(y.cov, [[2 * (1 - np.exp(-1.4))]])
    np.testing.assert_allclose(y.gain, [[2 * np.exp(-0.35)]])


def test_sines_against_samples():
    x = gaussian(3)
    points, scale = draws(x), np.array([1.0, 0.5, 1.5])
    y = moments.sines(x, jnp.asarray(scale))
    check_against_samples(x, y, points, scale * np.sin(points))


def test_squash_against_samples_and_at_a_point():
    x = gaussian(2, seed=3)
    points = draws(x)
    values = np.asarray(moments.squashed(jnp.asarray(points)))
    assert np.abs(values).max() <= 1 + 1e-12
    check_against_samples(x, moments.squash(x), points, values)
    sure = moments.squash(Gaussian(x.mean, jnp.zeros((2, 2))))
    np.testing.assert_allclose(sure.mean, moments.squashed(x.mean))
    np.testing.assert_allclose(sure.cov, 0, atol=1e-15)
    np.testing.assert_allclose(moments.squashed(jnp.pi / 2), 1.0)


def test_circle_by_hand():
    """E sin = e^(−v/2) sin m, E cos = e^(−v/2) cos m; gains are crosswise."""
    x = Gaussian(jnp.array([0.3, 1.0]), jnp.diag(jnp.array([2.0, 0.4])))
    y = moments.circle(x, (1,))
    sin, cos = np.exp(-0.2) * np.sin(1.0), np.exp(-0.2) * np.cos(1.0)
    np.testing.assert_allclose(y.mean, [sin, cos])
    np.testing.assert_allclose(y.gain, [[0, 0], [cos, -sin]], atol=1e-15)
    # sin² + cos² = 1.
    np.testing.assert_allclose(np.trace(y.cov) + sin**2 + cos**2, 1.0)


def test_circle_and_joined_against_samples():
    x = gaussian(3, seed=4)
    points = draws(x)
    y = moments.circle(x, (0, 2))
    angles = points[:, [0, 2]]
    values = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(SAMPLES, 4)
    check_against_samples(x, y, points, values)
    whole = moments.joined(x, y)
    both = np.concatenate([points, values], 1)
    np.testing.assert_allclose(whole.mean, both.mean(0), atol=6e-3)
    np.testing.assert_allclose(whole.cov, np.cov(both.T), atol=6e-3)


def test_joined_of_a_part_equals_joined_of_all():
    x = gaussian(3, seed=5)
    of_part = moments.sines(moments.part(x, (2, 0)), jnp.ones(2))
    picks = moments.affine(x, jnp.eye(3)[jnp.array([2, 0])])
    of_all = moments.after(picks, of_part)
    a = moments.joined(x, of_part, inputs=(2, 0))
    b = moments.joined(x, of_all)
    np.testing.assert_allclose(a.cov, b.cov)
    np.testing.assert_allclose(a.cov, a.cov.T)


def test_saturating_cost_by_hand_and_against_samples():
    """Of N(0, s) in one dimension: 1 − (1 + s)^−½."""
    one = Gaussian(jnp.zeros(1), jnp.full((1, 1), 3.0))
    mean, variance = moments.saturating_cost(one)
    np.testing.assert_allclose(mean, 0.5)
    np.testing.assert_allclose(variance, 7**-0.5 - 0.25)
    x = gaussian(3, seed=6)
    values = 1 - np.exp(-0.5 * np.square(draws(x)).sum(1))
    mean, variance = moments.saturating_cost(x)
    np.testing.assert_allclose(mean, values.mean(), atol=3e-3)
    np.testing.assert_allclose(variance, values.var(), atol=3e-3)


def test_a_process_against_samples_of_its_posterior():
    """Three of five inputs that have seen 30 points, a million samples: to one percent
    of a standard deviation, and of products of two."""
    D, E = 5, 3
    gp, x = regression(E, D, N=30), gaussian(D, seed=7, size=0.4)
    through = jax.jit(moments.through_gp)
    points, values, known = draws(x, count=1_000_000), [], []
    # Single precision is quicker, and closer than sampling is.
    single = jax.tree.map(lambda x: np.asarray(x, np.float32), gp)
    seen, parts = single.x, np.split(points.astype(np.float32), 100)
    for e in range(E):
        length, size = single.lengths[e], single.amplitude[e]
        beta, inverse = single.beta[e], single.inverse[e]
        rows = (kernel(part, seen, length, size) for part in parts)
        each = [(k @ beta, ((k @ inverse) * k).sum(1)) for k in rows]
        value, sure = map(np.concatenate, zip(*each, strict=True))
        values.append(value)
        known.append(sure.mean())
    values = np.stack(values, 1)
    unsure = np.square(gp.amplitude) - np.array(known)
    sampled = np.cov(np.concatenate([points, values], 1).T)
    for image, noise in (
        (through(x, gp), unsure),
        (through(x, gp._replace(inverse=None)), 0 * unsure),
    ):
        both = sampled + np.diag(np.concatenate([np.zeros(D), noise]))
        std = np.sqrt(np.diagonal(both))
        assert (np.abs(image.mean - values.mean(0)) < 0.01 * std[D:]).all()
        found = np.concatenate([x.cov @ image.gain, image.cov])
        assert (np.abs(found - both[:, D:]) < 0.01 * std[:, None] * std[D:]).all()


def test_a_process_at_a_certain_input_is_its_posterior():
    gp = regression()
    at = np.array([[0.2, -0.1, 0.4, 0.0]])
    image = moments.through_gp(Gaussian(jnp.asarray(at[0]), jnp.zeros((4, 4))), gp)
    for e in range(3):
        k = kernel(at, np.asarray(gp.x), np.asarray(gp.lengths[e]), gp.amplitude[e])[0]
        np.testing.assert_allclose(image.mean[e], k @ gp.beta[e])
        variance = gp.amplitude[e] ** 2 - k @ gp.inverse[e] @ k
        np.testing.assert_allclose(image.cov[e, e], variance, atol=1e-12)
    off = np.asarray(image.cov) - np.diag(np.diagonal(image.cov))
    np.testing.assert_allclose(off, 0, atol=1e-12)


def test_far_from_all_points_the_prior_holds():
    gp = regression()
    image = moments.through_gp(Gaussian(jnp.full(4, 50.0), 0.1 * jnp.eye(4)), gp)
    np.testing.assert_allclose(image.mean, 0, atol=1e-12)
    np.testing.assert_allclose(image.cov, np.diag(gp.amplitude**2), atol=1e-12)


def test_absent_rows_do_not_count():
    gp, x = regression(), gaussian(4, seed=7, size=0.4)
    zeros = lambda a, *pads: jnp.pad(a, pads)
    more = gp._replace(
        x=zeros(gp.x, (0, 5), (0, 0)),
        beta=zeros(gp.beta, (0, 0), (0, 5)),
        inverse=zeros(gp.inverse, (0, 0), (0, 5), (0, 5)),
    )
    pairs = zip(moments.through_gp(x, gp), moments.through_gp(x, more), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_gradients_against_differences():
    """Of a chain through all of it: circle, process, squash, cost."""
    gp, x = regression(E=2, D=4), gaussian(3, seed=8, size=0.3)

    def cost(mean, root, beta):
        state = Gaussian(mean, root @ root.T)
        wide = moments.joined(state, moments.circle(state, (2,)))
        inner = moments.through_gp(
            moments.part(wide, (0, 1, 3, 4)), gp._replace(beta=beta)
        )
        return moments.saturating_cost(moments.squash(inner.gaussian).gaussian)[0]

    root = jnp.linalg.cholesky(x.cov)
    args = (x.mean, root, gp.beta)
    gradients = jax.jit(jax.grad(cost, (0, 1, 2)))(*args)
    compiled, rng = jax.jit(cost), np.random.default_rng(0)
    for which, gradient in enumerate(gradients):
        way = rng.normal(size=gradient.shape)
        at = lambda h, which=which, way=way: compiled(
            *(a + h * way if i == which else a for i, a in enumerate(args))
        )
        slope = (at(1e-5) - at(-1e-5)) / 2e-5
        np.testing.assert_allclose((gradient * way).sum(), slope, rtol=1e-6, atol=1e-9)
