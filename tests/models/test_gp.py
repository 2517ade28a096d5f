"""Gaussian processes: against plain numpy, samples, and with absent rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.errors import UserError
from wm.models import gp_fit
from wm.models.gp import Command, GPConfig, GPModel
from wm.ops import moments
from wm.ops.moments import Gaussian
from wm.types import Dataset, Step, TimeStep

SPEC = wm.env("classic/pendulum_swingup").spec
CONFIG = GPConfig(angles=(0,), target=(np.pi, 0.0), points=25, iterations=60)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def data(N=15, D=3, E=2, seed=0):
    """Smooth functions with noise of 0.1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D))
    y = np.stack([np.sin(x @ rng.normal(size=D)) for _ in range(E)], 1)
    return x, y + 0.1 * rng.normal(size=y.shape)


def padded(x, y, more):
    rows = lambda a: jnp.pad(jnp.asarray(a), ((0, more), (0, 0)))
    return rows(x), rows(y), jnp.arange(len(x) + more) < len(x)


def numpy_evidence(hyper, x, y):
    """−log N(y; 0, K), and its gradient by ½ tr((K⁻¹ − ββᵀ) dK)."""
    D = x.shape[1]
    lengths, amplitude, noise = np.exp(hyper[:D]), np.exp(hyper[D]), np.exp(hyper[-1])
    K, square = np.zeros((len(x), len(x))), np.zeros((D, len(x), len(x)))
    for i in range(len(x)):
        for j in range(len(x)):
            square[:, i, j] = ((x[i] - x[j]) / lengths) ** 2
            K[i, j] = amplitude**2 * np.exp(-0.5 * square[:, i, j].sum())
    full = K + noise**2 * np.eye(len(x))
    inverse = np.linalg.inv(full)
    beta = inverse @ y
    value = 0.5 * y @ beta + 0.5 * np.linalg.slogdet(2 * np.pi * full)[1]
    slopes = [K * square[d] for d in range(D)]
    slopes += [2 * K, 2 * noise**2 * np.eye(len(x))]
    trace = lambda slope: 0.5 * np.sum((inverse - np.outer(beta, beta)) * slope)
    return value, np.array([trace(slope) for slope in slopes]), beta, inverse


HYPER = np.log([0.8, 1.5, 2.0, 1.2, 0.2])


def test_evidence_and_its_gradient_are_those_of_plain_numpy():
    x, y = data()
    wide, targets, mask = padded(x, y, 7)
    loss = lambda hyper: gp_fit.evidence(
        hyper, gp_fit.differences(wide), targets[:, 0], mask
    )
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(HYPER))
    expected, slope, *_ = numpy_evidence(HYPER, x, y[:, 0])
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    np.testing.assert_allclose(gradient, slope, rtol=1e-8, atol=1e-10)


def test_the_posterior_is_that_of_plain_numpy():
    x, y = data()
    wide, targets, mask = padded(x, y, 7)
    hyper = jnp.asarray(np.stack([HYPER, HYPER + 0.1]))
    model = {"x": wide, "y": targets, "mask": mask, "hyper": hyper}
    found = gp_fit.posterior(model)
    for e in range(2):
        *_, beta, inverse = numpy_evidence(np.asarray(hyper[e]), x, y[:, e])
        np.testing.assert_allclose(found.beta[e, :15], beta, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(
            found.inverse[e, :15, :15], inverse, rtol=1e-8, atol=1e-8
        )
    assert (np.asarray(found.beta)[:, 15:] == 0).all()
    assert (np.asarray(found.inverse)[:, 15:] == 0).all()
    assert (np.asarray(found.inverse)[:, :, 15:] == 0).all()


def test_absent_rows_change_nothing():
    x, y = data()
    maximise = jax.jit(gp_fit.maximise, static_argnums=4)
    found = []
    for more in (0, 10):
        args = padded(x, y, more)
        hyper, value = maximise(gp_fit.first_guess(*args), *args, 40)
        found.append((hyper, value))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-6)


def test_the_first_guess_is_the_authors():
    x, y = data()
    guess = gp_fit.first_guess(*padded(x, y, 4))
    std = np.log(y.std(0, ddof=1))
    np.testing.assert_allclose(guess[1, :3], np.log(x.std(0, ddof=1)))
    np.testing.assert_allclose(guess[:, 3], std)
    np.testing.assert_allclose(guess[:, 4], std - np.log(10))


def test_evidence_finds_noise_and_lengths():
    """Noise 0.1; the second input does nothing, so its length goes to the wall."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 2))
    y = np.sin(2 * x[:, :1]) + 0.1 * rng.normal(size=(60, 1))
    args = padded(x, y, 0)
    maximise = jax.jit(gp_fit.maximise, static_argnums=4)
    hyper = np.exp(maximise(gp_fit.first_guess(*args), *args, 100)[0])[0]
    assert 0.07 < hyper[-1] < 0.13
    assert hyper[0] < 2
    assert 5 * hyper[0] < hyper[1] < 130 * x[:, 1].std(ddof=1)


def test_the_penalty_is_a_wall():
    log_std = jnp.zeros(1)
    at = lambda length, signal, noise: gp_fit.penalty(
        jnp.log(jnp.array([length, signal, noise])), log_std
    )
    assert at(50.0, 1.0, 0.002) < 0.1
    np.testing.assert_allclose(at(100.0, 1.0, 0.001), 2.0)
    assert at(300.0, 1.0, 1.0) > 100
    hyper = jnp.array([1e3, 5.0, -1e3])
    assert np.isfinite(gp_fit.inside(hyper, log_std)).all()


def dataset(rows=2, slots=6, filled=3):
    rng = np.random.default_rng(2)
    flags = jnp.zeros((rows, slots), bool)
    zeros = jnp.zeros((rows, slots))
    timestep = TimeStep(
        jnp.asarray(rng.normal(size=(rows, slots, 2))), zeros, zeros, flags, flags
    )
    action = jnp.asarray(rng.normal(size=(rows, slots, 1)))
    mask = jnp.broadcast_to(jnp.arange(slots) < filled, (rows, slots))
    return Dataset(Step(timestep, action, {}), mask, jnp.int32(rows * filled))


def test_the_newest_transitions_are_taken():
    given = dataset()
    seen = np.asarray(given.steps.timestep.observation)
    pool = gp_fit.pool_of(given, 4)
    expected = [(0, 1), (1, 1), (0, 2), (1, 2)]  # (row, slot), oldest first
    for place, at in enumerate(expected):
        np.testing.assert_allclose(pool.observation[place], seen[at])
        np.testing.assert_allclose(
            pool.change[place], seen[at[0], at[1] + 1] - seen[at]
        )
    assert np.asarray(pool.mask).all()
    roomy = gp_fit.pool_of(given, 20)
    assert np.asarray(roomy.mask).sum() == 6
    assert (np.asarray(roomy.observation)[6:] == 0).all()


def fitted(config=CONFIG):
    """A model of two made-up functions of (speed, sine, cosine, action)."""
    model = GPModel(SPEC, config)
    rng = np.random.default_rng(3)
    seen = rng.normal(size=(20, 2))
    action = rng.uniform(-1, 1, (20, 1))
    x = np.concatenate([model.features(jnp.asarray(seen)), action], 1)
    y = 0.3 * np.stack([np.sin(x[:, 0] + x[:, 3]), x[:, 1] * x[:, 2]], 1)
    x, y, mask = padded(x, y, 5)
    hyper = jnp.tile(jnp.log(jnp.array([1.5, 1.0, 1.0, 1.2, 0.5, 0.1])), (2, 1))
    return model, {"model": {"x": x, "y": y, "mask": mask, "hyper": hyper}}


def test_many_beliefs_are_stepped_as_one_alone():
    """More than are stepped at once, which their number does not divide."""
    model, params = fitted()
    rng, rows = np.random.default_rng(5), 11
    mean = jnp.asarray(rng.normal(size=(rows, 2)), jnp.float32)
    cov = jnp.tile(0.1 * jnp.eye(2), (rows, 1, 1))
    action = jnp.asarray(rng.uniform(-1, 1, size=(rows, 1)), jnp.float32)
    step = jax.jit(lambda *args: model.step(params, None, *args))
    after, prediction = step(Gaussian(mean, cov), action)
    one = lambda n: step(Gaussian(mean[n : n + 1], cov[n : n + 1]), action[n : n + 1])
    for n in (0, 10):
        alone, reward = one(n)
        np.testing.assert_allclose(after.mean[n], alone.mean[0], rtol=1e-5)
        np.testing.assert_allclose(after.cov[n], alone.cov[0], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(prediction.reward[n], reward.reward[0], rtol=1e-5)


def test_a_step_matches_samples():
    """Beliefs, the policy's linear answer to them, and the reward after it."""
    model, params = fitted()
    state = Gaussian(jnp.array([0.4, -0.3]), jnp.array([[0.06, 0.02], [0.02, 0.09]]))
    wide = model.widened(state)
    slope = jnp.array([[0.2, -0.3, 0.4, 0.1]])
    image = moments.affine(wide, slope, 0.1)
    command = Command(image.mean, image.cov, wide.cov @ image.gain)
    batch = lambda tree: jax.tree.map(lambda x: x[None], tree)
    key = jax.random.key(0)
    after, prediction = model.step(params, key, batch(state), batch(command))
    rng = np.random.default_rng(4)
    # Actions move with (sine, cosine), which the chain takes for Gaussian.
    count = 400_000
    joint = np.block([[wide.cov, command.cross], [command.cross.T, command.cov]])
    mean = np.concatenate([wide.mean, command.mean])
    drawn = rng.multivariate_normal(mean, joint, count, check_valid="ignore")
    gp = gp_fit.posterior(params["model"])
    x = drawn[:, 1:]
    moved = np.zeros((count, 2))
    for e in range(2):
        scaled = lambda a, e=e: np.asarray(a) / np.asarray(gp.lengths[e])
        square = (scaled(x) ** 2).sum(1)[:, None] + (scaled(gp.x) ** 2).sum(1)
        square = square - 2 * scaled(x) @ scaled(gp.x).T
        k = np.asarray(gp.amplitude[e]) ** 2 * np.exp(-0.5 * square)
        variance = gp.amplitude[e] ** 2 - ((k @ gp.inverse[e]) * k).sum(1)
        noise = rng.normal(size=count) * np.sqrt(variance)
        moved[:, e] = k @ gp.beta[e] + noise
    there = drawn[:, :2] + moved
    np.testing.assert_allclose(after.mean[0], there.mean(0), atol=5e-3)
    np.testing.assert_allclose(after.cov[0], np.cov(there.T), atol=5e-3)
    belief = rng.multivariate_normal(after.mean[0], after.cov[0], count)
    up = np.square(np.sin(belief[:, 0])) + np.square(np.cos(belief[:, 0]) + 1)
    cost = 1 - np.exp(-0.5 * (up + belief[:, 1] ** 2) / 0.25)
    # The distance is taken for Gaussian after the angle's sine and cosine are.
    np.testing.assert_allclose(-prediction.reward[0], cost.mean(), atol=2e-2)


def test_the_cost_of_a_certain_state_is_its_formula():
    """Tip of a pole of 0.5 on a cart, width 0.25."""
    cart = wm.env("classic/cartpole_swingup").spec
    rows = (1, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0.5)
    config = GPConfig(
        angles=(2,), target=(0, 0, np.pi, 0), distance=rows, width=0.25, points=3
    )
    model = GPModel(cart, config)
    x = np.array([0.1, 2.0, 2.9, -1.0])
    mean, variance = model.cost(Gaussian(jnp.asarray(x), jnp.zeros((4, 4))))
    across, up = 0.1 + 0.5 * np.sin(2.9), 0.5 * (np.cos(2.9) + 1)
    np.testing.assert_allclose(mean, 1 - np.exp(-8 * (across**2 + up**2)))
    np.testing.assert_allclose(variance, 0, atol=1e-12)


def test_single_precision_outside_is_double_inside():
    model, params = fitted()
    narrow = lambda tree: jax.tree.map(
        lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, tree
    )
    wide = model.start(params, 2)._replace(mean=jnp.array([[0.5, 0.0], [1.0, 2.0]]))
    action, key = jnp.array([[0.5], [-1.0]]), jax.random.key(0)
    exact = jax.jit(model.step)(params, key, wide, action)
    rounded = jax.jit(model.step)(*map(narrow, (params,)), key, *narrow((wide, action)))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(rounded))
    pairs = zip(jax.tree.leaves(exact), jax.tree.leaves(rounded), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_belief_has_the_noise_of_what_is_seen():
    model, params = fitted()
    state = Gaussian(jnp.ones((1, 2)), jnp.zeros((1, 2, 2)))
    action = jnp.ones((1, 1))
    step = jax.jit(lambda *inputs: model.step(params, None, *inputs)[0])
    believe = jax.jit(lambda *inputs: model.predictive(params, *inputs))
    after, belief = step(state, action), believe(state, action)
    np.testing.assert_allclose(belief.mean, after.mean, rtol=1e-6)
    noise = np.asarray(belief.variance) - np.diagonal(after.cov, axis1=1, axis2=2)
    np.testing.assert_allclose(noise, 0.1**2, rtol=1e-3)


def test_certainty_equivalence_forgets_the_covariance():
    model, params = fitted(GPConfig(angles=(0,), points=25, propagation="mean"))
    state = Gaussian(jnp.zeros((1, 2)), 0.1 * jnp.eye(2)[None])
    after, _ = model.step(params, jax.random.key(0), state, jnp.ones((1, 1)))
    np.testing.assert_allclose(after.cov[0], 1e-8 * np.eye(2))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"angles": (2,)}, r"angles must be in \[0, 1\]"),
        ({"target": (1.0,)}, "target must have 2 entries"),
        ({"distance": (1.0,)}, "rows of 2 entries"),
        ({"width": 0.0}, "width must be above 0, got 0"),
        ({"points": 0}, "points must be at least 1, got 0"),
        ({"propagation": "ts1"}, "must be moments or mean, got ts1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_one_line(wrong, match):
    with pytest.raises(UserError, match=match):
        GPModel(SPEC, GPConfig(**wrong))


def test_other_spaces_are_one_line():
    with pytest.raises(UserError, match="one vector of numbers"):
        GPModel(wm.env("pixels/catch").spec)
