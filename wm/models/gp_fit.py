"""Fitting Gaussian processes: kernel, evidence, posterior, with shapes that stay.

Pools have room for the whole run. An absent row has K = I on its row and column and
y = 0: it adds nothing to the mean, to log det K or to the quadratic form, so that one
compiled program serves all trials. Everything is in double precision: signal over
noise up to 1000 gives K a condition number beyond what single can solve.

Sources: Rasmussen & Williams 2006, equation 5.8; UCL-SML/pilco-matlab a0b48b7
(`train.m`, `hypCurb.m`: start, bounds as penalties). Differs: no sparse approximation
(FITC, there beyond 300 points); past a box 1.3 times as wide (in logs) as the one that
the penalty draws, the evidence is held while the penalty goes on, so that a wild step
of the line search stays finite.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.ops.lbfgs import minimize
from wm.ops.moments import Regression
from wm.types import Dataset, Params

SIGNAL_TO_NOISE = 1000.0
LENGTHS = 100.0
POWER = 30
"""Of the penalty: a wall, not a prior (`hypCurb.m`)."""


class Pool(NamedTuple):
    """Transitions, N places, the first of them filled."""

    observation: jax.Array
    """`[N, D]`."""
    action: jax.Array
    """`[N, F]`."""
    change: jax.Array
    """Of the observation, `[N, D]`."""
    mask: jax.Array
    """bool `[N]`."""


def pool_of(dataset: Dataset, points: int) -> Pool:
    """The newest `points` transitions of a buffer, oldest first; absent rows are 0."""
    steps = dataset.steps
    here = steps.timestep.observation
    there = jnp.roll(here, -1, axis=1)
    # Time first: rows of environments grow together.
    flat = lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
    filled = flat(dataset.mask)
    order, count = jnp.argsort(~filled, stable=True), filled.sum()
    place = jnp.arange(points) + jnp.maximum(count - points, 0)
    mask = place < count
    at = order[jnp.minimum(place, filled.shape[0] - 1)]
    pick = lambda x: jnp.where(mask[:, None], flat(x)[at], 0)
    return Pool(pick(here), pick(steps.action), pick(there - here), mask)


def kernel(hyper: jax.Array, square: jax.Array) -> jax.Array:
    """σ_f² exp(−½ Σ_d square_d / ℓ_d²), without noise.

    Args:
      hyper: logs of D lengths, σ_f and σ_n, `[D + 2]`.
      square: (x_d − x'_d)², `[D, N, M]`.
    """
    D = hyper.shape[0] - 2
    weights = jnp.exp(-2 * hyper[:D])
    return jnp.exp(2 * hyper[D] - 0.5 * jnp.tensordot(weights, square, 1))


def differences(x: jax.Array) -> jax.Array:
    """(x_d − x'_d)² of all pairs of rows, `[D, N, N]`."""
    columns = x.T
    return jnp.square(columns[:, :, None] - columns[:, None, :])


def covariance(hyper: jax.Array, square: jax.Array, mask: jax.Array) -> jax.Array:
    """K + σ_n² I where rows are, I where they are absent."""
    both = mask[:, None] & mask
    diagonal = jnp.where(mask, jnp.exp(2 * hyper[-1]), 1.0)
    return jnp.where(both, kernel(hyper, square), 0) + jnp.diag(diagonal)


def evidence(
    hyper: jax.Array, square: jax.Array, y: jax.Array, mask: jax.Array
) -> jax.Array:
    """−log p(y | x), for targets `[N]` that are 0 in absent rows."""
    half = jnp.linalg.cholesky(covariance(hyper, square, mask))
    white = jax.scipy.linalg.solve_triangular(half, y, lower=True)
    logdet = jnp.log(jnp.diagonal(half)).sum()
    return 0.5 * (white**2).sum() + logdet + 0.5 * mask.sum() * np.log(2 * np.pi)


def penalty(hyper: jax.Array, log_std: jax.Array) -> jax.Array:
    """Walls at lengths 100 times beside the inputs' deviations, and at a signal 1000
    times as large as the noise. Without them an irrelevant input's length runs away."""
    lengths = (hyper[:-2] - log_std) / np.log(LENGTHS)
    ratio = (hyper[-2] - hyper[-1]) / np.log(SIGNAL_TO_NOISE)
    return (lengths**POWER).sum() + ratio**POWER


def inside(hyper: jax.Array, log_std: jax.Array) -> jax.Array:
    """The nearest hyperparameters at which a kernel can be inverted."""
    reach, depth = 1.3 * np.log(LENGTHS), 1.3 * np.log(SIGNAL_TO_NOISE)
    lengths = jnp.clip(hyper[:-2], log_std - reach, log_std + reach)
    noise = jnp.clip(hyper[-1], hyper[-2] - depth, hyper[-2] + depth)
    return jnp.concatenate([lengths, hyper[-2:-1], noise[None]])


def deviations(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Standard deviation of each column over the rows that are there, with n − 1; 1
    where nothing varies."""
    count = mask.sum()
    mean = jnp.where(mask[:, None], values, 0).sum(0) / jnp.maximum(count, 1)
    squares = jnp.where(mask[:, None], jnp.square(values - mean), 0).sum(0)
    std = jnp.sqrt(squares / jnp.maximum(count - 1, 1))
    return jnp.where(std < 1e-6, 1.0, std)


def first_guess(x: jax.Array, y: jax.Array, mask: jax.Array) -> jax.Array:
    """Lengths as the inputs' deviations, σ_f as the targets', σ_n a tenth of it;
    `[E, D + 2]`."""
    inputs, outputs = jnp.log(deviations(x, mask)), jnp.log(deviations(y, mask))
    lengths = jnp.broadcast_to(inputs, (y.shape[1], x.shape[1]))
    noise = outputs - np.log(10.0)
    return jnp.concatenate([lengths, outputs[:, None], noise[:, None]], 1)


def maximise(
    hyper: jax.Array, x: jax.Array, y: jax.Array, mask: jax.Array, iterations: int
) -> tuple[jax.Array, jax.Array]:
    """Hyperparameters of the highest evidence under the penalty, each output alone.

    Args:
      hyper: where to begin, `[E, D + 2]`.
      x: inputs `[N, D]`.
      y: targets `[N, E]`.
      mask: bool `[N]`.
      iterations: line searches, at most.

    Returns:
      The same, and −log p(y | x) plus penalty, `[E]`.
    """
    square, log_std = differences(x), jnp.log(deviations(x, mask))

    def one(start, target):
        def loss(hyper):
            value = evidence(inside(hyper, log_std), square, target, mask)
            return value + penalty(hyper, log_std)

        found = minimize(loss, start, iterations)
        return inside(found.point, log_std), found.value

    return jax.vmap(one)(hyper, y.T)


def posterior(params: Params) -> Regression:
    """What prediction needs of `params["model"]`, see `GPModel`; in its precision."""
    x, y, mask = params["x"], params["y"], params["mask"]
    square, D = differences(x), x.shape[1]

    def one(hyper, target):
        half = jnp.linalg.cholesky(covariance(hyper, square, mask))
        inverse = jax.scipy.linalg.cho_solve((half, True), jnp.eye(x.shape[0]))
        return inverse @ target, jnp.where(mask[:, None] & mask, inverse, 0)

    hyper = params["hyper"]
    beta, inverse = jax.vmap(one)(hyper, y.T)
    return Regression(x, jnp.exp(hyper[:, :D]), jnp.exp(hyper[:, D]), beta, inverse)
