"""Means and covariances of a Gaussian sent through functions, exact.

`y = g(x)` of a Gaussian x is not Gaussian, but its first two moments, and those it has
together with x, are known in closed form for the functions here: affine maps, sines,
the squash of PILCO, the mean and the uncertainty of a Gaussian process. A chain of them
takes each result for Gaussian again. One distribution at a time: `vmap` for more.

Sources: Deisenroth & Rasmussen 2011, section 2.2 and appendix; UCL-SML/pilco-matlab
a0b48b7 (`gp0`, `gp2`, `gSin`, `gSat`, `gTrig`, `lossSat`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Gaussian(NamedTuple):
    """A distribution of vectors."""

    mean: jax.Array
    """`[D]`."""
    cov: jax.Array
    """`[D, D]`, symmetric."""


class Image(NamedTuple):
    """Moments of `y = g(x)`, and how y moves with x."""

    mean: jax.Array
    """`[E]`."""
    cov: jax.Array
    """`[E, E]`."""
    gain: jax.Array
    """`[D, E]`: the covariance of x and y is `x.cov @ gain`. Chains multiply gains, so
    that no covariance is ever inverted."""

    @property
    def gaussian(self) -> Gaussian:
        """y alone."""
        return Gaussian(self.mean, self.cov)


class Regression(NamedTuple):
    """What prediction needs of E Gaussian processes over N common inputs.

    The kernel is a² exp(−½ Σ_d (x_d − x'_d)² / ℓ_d²). Absent rows have zeros in `beta`
    and `inverse`.
    """

    x: jax.Array
    """`[N, D]`."""
    lengths: jax.Array
    """ℓ, `[E, D]`."""
    amplitude: jax.Array
    """a, `[E]`."""
    beta: jax.Array
    """(K + σ² I)⁻¹ y, `[E, N]`."""
    inverse: jax.Array | None
    """(K + σ² I)⁻¹, `[E, N, N]`; None where the function is the mean alone."""


def affine(x: Gaussian, matrix: jax.Array, offset: jax.Array | float = 0.0) -> Image:
    """`matrix @ x + offset`, for a matrix `[E, D]`."""
    return Image(matrix @ x.mean + offset, matrix @ x.cov @ matrix.T, matrix.T)


def after(first: Image, second: Image) -> Image:
    """The image of x under g₂(g₁(x)), `second` being the image of `first`."""
    return second._replace(gain=first.gain @ second.gain)


def sines(x: Gaussian, scale: jax.Array) -> Image:
    """`scale * sin(x)`, entry by entry."""
    variance = jnp.diagonal(x.cov)
    q = -0.5 * (variance[:, None] + variance)
    minus, plus = x.mean[:, None] - x.mean, x.mean[:, None] + x.mean
    same = (jnp.exp(q + x.cov) - jnp.exp(q)) * jnp.cos(minus)
    other = (jnp.exp(q - x.cov) - jnp.exp(q)) * jnp.cos(plus)
    shrink = scale * jnp.exp(-0.5 * variance)
    return Image(
        mean=shrink * jnp.sin(x.mean),
        cov=0.5 * jnp.outer(scale, scale) * (same - other),
        gain=jnp.diag(shrink * jnp.cos(x.mean)),
    )


def squash(x: Gaussian) -> Image:
    """`(9 sin x + sin 3x) / 8`: in [-1, 1], and flatter at its ends than a sine."""
    D = x.mean.shape[0]
    eye = np.eye(D)
    twice = affine(x, jnp.asarray(np.concatenate([eye, 3 * eye]), x.mean.dtype))
    scale = jnp.asarray(np.repeat([9 / 8, 1 / 8], D), x.mean.dtype)
    waves = after(twice, sines(twice.gaussian, scale))
    summed = jnp.asarray(np.concatenate([eye, eye], 1), x.mean.dtype)
    return after(waves, affine(waves.gaussian, summed))


def squashed(x: jax.Array) -> jax.Array:
    """`squash` of a value that is certain."""
    return (9 * jnp.sin(x) + jnp.sin(3 * x)) / 8


def circle(x: Gaussian, angles: tuple[int, ...]) -> Image:
    """(sin, cos) of the named entries, `[2 A]`: sin, cos, sin, cos, …"""
    rows = np.zeros((2 * len(angles), x.mean.shape[0]))
    rows[np.arange(2 * len(angles)), np.repeat(angles, 2).astype(int)] = 1.0
    quarter = np.tile([0.0, np.pi / 2], len(angles))  # cos x = sin(x + π/2)
    as_array = lambda values: jnp.asarray(values, x.mean.dtype)
    turned = affine(x, as_array(rows), as_array(quarter))
    return after(turned, sines(turned.gaussian, jnp.ones_like(turned.mean)))


def joined(
    x: Gaussian, image: Image, inputs: tuple[int, ...] | None = None
) -> Gaussian:
    """x and y as one vector `[D + E]`.

    Args:
      x: as it was.
      image: of x, or of some of its entries.
      inputs: which entries those are; all by default.
    """
    of = x.cov if inputs is None else x.cov[:, np.array(inputs, int)]
    cross = of @ image.gain
    cov = jnp.block([[x.cov, cross], [cross.T, image.cov]])
    return Gaussian(jnp.concatenate([x.mean, image.mean]), cov)


def part(x: Gaussian, entries: tuple[int, ...]) -> Gaussian:
    """The named entries, in that order."""
    at = np.array(entries, int)
    return Gaussian(x.mean[at], x.cov[at][:, at])


def saturating_cost(distance: Gaussian) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of `1 − exp(−½ |d|²)`.

    A cost with weights W = CᵀC and target z is that of d = C (x − z): `affine` first.
    """

    def power(k):
        S = jnp.eye(distance.mean.shape[0], dtype=distance.cov.dtype) + k * distance.cov
        half = jnp.linalg.cholesky(S)
        white = jax.scipy.linalg.solve_triangular(half, distance.mean, lower=True)
        logdet = jnp.log(jnp.diagonal(half)).sum()
        return jnp.exp(-0.5 * k * jnp.square(white).sum() - logdet)

    closeness = power(1)
    return 1 - closeness, jnp.maximum(power(2) - jnp.square(closeness), 0)


def through_gp(x: Gaussian, gp: Regression) -> Image:
    """Gaussian processes at an uncertain input.

    Moments of draws of the functions where `gp.inverse` is there, of the posterior mean
    as a function where it is None. Observation noise is not part of them.
    """
    nu = gp.x - x.mean
    mean, gain = jax.vmap(lambda *one: _mean(x, nu, *one))(
        gp.lengths, gp.amplitude, gp.beta
    )
    E = gp.beta.shape[0]
    # Sums of weighted elements, in which Q is never in memory.
    square = jax.vmap(lambda *two: _square(x, nu, *two))
    one = gp.lengths, gp.amplitude, gp.beta
    own = square(*one, *one, gp.inverse)
    if gp.inverse is not None:
        own = own + jnp.square(gp.amplitude)
    a, b = np.triu_indices(E, 1)
    first, second = ([leaf[at] for leaf in one] for at in (a, b))
    apart = square(*first, *second, None) - mean[a] * mean[b]
    cov = jnp.diag(own - jnp.square(mean)).at[a, b].set(apart).at[b, a].set(apart)
    return Image(mean, cov, gain.T)


def _mean(x: Gaussian, nu, lengths, amplitude, beta):
    """Mean and gain of one process; (S + Λ)⁻¹ = Λ^−½ (I + Λ^−½ S Λ^−½)⁻¹ Λ^−½."""
    half = _half(x.cov, 1 / lengths)
    solve = jax.scipy.linalg.solve_triangular
    white = solve(half, (nu / lengths).T, lower=True)
    logdet = jnp.log(jnp.diagonal(half)).sum()
    q = jnp.square(amplitude) * jnp.exp(-0.5 * jnp.square(white).sum(0) - logdet)
    weight = beta * q
    return weight.sum(), solve(half.T, white @ weight, lower=False) / lengths


def _square(
    x: Gaussian,
    nu,
    lengths_a,
    amplitude_a,
    beta_a,
    lengths_b,
    amplitude_b,
    beta_b,
    inverse,
):
    """Sum of (β_a β_bᵀ − inverse) Q with Q `[N, N]` the mean over x of
    k_a(x_i, x) k_b(x_j, x).

    R⁻¹S with R = S P² + I, P² = Λ_a⁻¹ + Λ_b⁻¹, as S − SP (I + PSP)⁻¹ PS: symmetric.
    """
    inverse_a, inverse_b = lengths_a**-2, lengths_b**-2
    root = jnp.sqrt(inverse_a + inverse_b)
    half = _half(x.cov, root)
    white = jax.scipy.linalg.solve_triangular(half, root[:, None] * x.cov, lower=True)
    middle = x.cov - white.T @ white
    z_a, z_b = nu * inverse_a, nu * inverse_b
    bent_a, bent_b = z_a @ middle, z_b @ middle
    log_a = 2 * jnp.log(amplitude_a) + 0.5 * (z_a * (bent_a - nu)).sum(1)
    log_b = 2 * jnp.log(amplitude_b) + 0.5 * (z_b * (bent_b - nu)).sum(1)
    logdet = jnp.log(jnp.diagonal(half)).sum()
    weight = beta_a[:, None] * beta_b
    if inverse is not None:
        weight = weight - inverse
    return jnp.sum(weight * jnp.exp(log_a[:, None] + log_b + bent_a @ z_b.T - logdet))


def _half(cov, scale):
    """Cholesky factor of I + diag(scale) S diag(scale)."""
    eye = jnp.eye(cov.shape[0], dtype=cov.dtype)
    return jnp.linalg.cholesky(eye + scale[:, None] * cov * scale)
