"""Optimizers and slow copies as optax transformations. Nothing here knows a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.ops import schedules
from wm.types import Tree


class RmsState(NamedTuple):
    """State of `scale_by_rms_bias_corrected`."""

    count: jax.Array
    """i32 `[]`, updates so far."""
    nu: Tree
    """f32, averaged squared gradients, not corrected."""


class MomentumState(NamedTuple):
    """State of `scale_by_momentum_bias_corrected`."""

    count: jax.Array
    """i32 `[]`, updates so far."""
    mu: Tree
    """f32, averaged updates, not corrected."""


def laprop(
    learning_rate: float | optax.Schedule,
    warmup_steps: int = 0,
    clip: float = 0.3,
    clip_floor: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-20,
) -> optax.GradientTransformationExtraArgs:
    """LaProp: adaptive gradient clipping, then RMS scaling, then momentum.

    Unlike Adam the momentum is of the *normalised* gradient. The chain is element-wise
    but for one norm per tensor, so jit makes one pass per leaf.

    One trap is the authors' too: ν underflows below |g| ≈ 3e-18, and there the step is
    g / epsilon, up to 300 times the learning rate.

    Args:
      learning_rate: per update (DreamerV3: 4e-5), or a schedule of the update count,
        which the warm-up multiplies.
      warmup_steps: linear warm-up from 0: the first update changes no parameter, but
        its statistics count (DreamerV3: 1000).
      clip: largest gradient norm over parameter norm, per tensor (DreamerV3: 0.3);
        0 switches clipping off.
      clip_floor: smallest parameter norm used for it.
      beta1: decay of the momentum.
      beta2: decay of the squared gradients.
      epsilon: added to the root (DreamerV3: 1e-20).

    Source: Ziyin et al. 2020, Alg. 1; Brock et al. 2021, Eq. 3; constants of Hafner
    et al. 2025 (DreamerV3).
    """
    rate = (
        learning_rate
        if callable(learning_rate)
        else optax.constant_schedule(learning_rate)
    )
    if warmup_steps:
        rate = schedules.product(rate, schedules.linear(0.0, 1.0, warmup_steps))
    return optax.chain(
        agc(clip, clip_floor) if clip else optax.identity(),
        scale_by_rms_bias_corrected(beta2, epsilon),
        scale_by_momentum_bias_corrected(beta1),
        optax.scale_by_learning_rate(rate),
    )


def decaying(
    name: Literal["adam", "sgd"],
    learning_rate: float,
    decay_updates: Sequence[int] = (),
    max_norm: float = 0.0,
    warmup_updates: int = 0,
) -> optax.GradientTransformation:
    """Adam, or SGD with momentum 0.9, whose step size is divided by ten now and then.

    Args:
      name: which.
      learning_rate: at first.
      decay_updates: updates after which it is divided.
      max_norm: greatest norm of the gradient; 0: any.
      warmup_updates: updates over which the step size first rises from 0.

    Source: Silver et al. 2018; Schrittwieser et al. 2020.
    """
    rate = optax.piecewise_constant_schedule(
        learning_rate, dict.fromkeys(decay_updates, 0.1)
    )
    if warmup_updates:
        rate = schedules.product(schedules.linear(0.0, 1.0, warmup_updates), rate)
    base = optax.adam(rate) if name == "adam" else optax.sgd(rate, momentum=0.9)
    return optax.chain(optax.clip_by_global_norm(max_norm), base) if max_norm else base


def agc(clip: float = 0.3, floor: float = 1e-3) -> optax.GradientTransformation:
    """Scale each gradient tensor to norm ≤ clip·max(floor, norm of its parameter).

    Source: Brock et al. 2021, Eq. 3. Differs: one norm per tensor, not per unit, as
    in DreamerV3.
    """

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("agc needs params: call update(grads, state, params)")

        def clipped(grad, param):
            limit = clip * jnp.maximum(floor, _norm(param))
            return grad * (1 / jnp.maximum(1.0, _norm(grad) / limit))

        return jax.tree.map(clipped, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_rms_bias_corrected(
    beta: float = 0.999, epsilon: float = 1e-20
) -> optax.GradientTransformation:
    """Divide by √ν̂ + ε, ν ← βν + (1 − β)g², ν̂ = ν / (1 − βⁿ), n = 1, 2, …"""

    def init(params):
        return RmsState(count=jnp.zeros((), jnp.int32), nu=_zeros(params))

    def update(updates, state, params=None):
        del params
        count = jnp.asarray(optax.safe_increment(state.count))
        nu = jax.tree.map(
            lambda v, g: beta * v + (1 - beta) * jnp.square(g), state.nu, updates
        )
        scale = 1 / _correction(beta, count)
        updates = jax.tree.map(
            lambda g, v: g / (jnp.sqrt(v * scale) + epsilon), updates, nu
        )
        return updates, RmsState(count=count, nu=nu)

    return optax.GradientTransformation(init, update)


def scale_by_momentum_bias_corrected(
    beta: float = 0.9,
) -> optax.GradientTransformation:
    """Replace u by μ / (1 − βⁿ), μ ← βμ + (1 − β)u, n = 1, 2, …"""

    def init(params):
        return MomentumState(count=jnp.zeros((), jnp.int32), mu=_zeros(params))

    def update(updates, state, params=None):
        del params
        count = jnp.asarray(optax.safe_increment(state.count))
        mu = jax.tree.map(lambda m, u: beta * m + (1 - beta) * u, state.mu, updates)
        scale = 1 / _correction(beta, count)
        updates = jax.tree.map(lambda m: m * scale, mu)
        return updates, MomentumState(count=count, mu=mu)

    return optax.GradientTransformation(init, update)


def ema(slow: Tree, fast: Tree, rate: float | jax.Array) -> Tree:
    """rate·fast + (1 − rate)·slow, leaf by leaf (DreamerV3's slow critic: 0.02)."""
    return jax.tree.map(lambda s, f: rate * f + (1 - rate) * s, slow, fast)


def hard_copy(slow: Tree, fast: Tree, step: jax.Array, interval: int) -> Tree:
    """`fast` where `step` is a multiple of `interval`, else `slow` (DreamerV2: 100)."""
    now = step % interval == 0
    return jax.tree.map(lambda s, f: jnp.where(now, f, s), slow, fast)


def _norm(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(x.astype(jnp.float32))))


def _zeros(params: Tree) -> Tree:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)


def _correction(beta: float, count: jax.Array) -> jax.Array:
    """1 − βⁿ without the rounding of βⁿ near 1, which costs 2e-5 at β = 0.999."""
    return -jnp.expm1(count * math.log(beta))
