"""Returns from rewards, discounts and values. Time first, `[T, …]`, float32.

`reward_tp1[t]` and `discount_tp1[t]` are what the action at t earned; `value_tp1[t]` is
the value of the state it led to. A discount here is gamma times the environment's own
(0 terminal, negative where the other player moves). No losses here.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

_UNROLL = 8


def lambda_return(
    reward_tp1: jax.Array,
    discount_tp1: jax.Array,
    value_tp1: jax.Array,
    lambda_: jax.Array | float,
) -> jax.Array:
    """G_t = r_{t+1} + γ_{t+1}·[(1 − λ_{t+1})·v_{t+1} + λ_{t+1}·G_{t+1}].

    Starts from the last value, so λ at the last step has no effect.

    Args:
      reward_tp1: `[T, …]`.
      discount_tp1: `[T, …]` or broadcastable, gamma included.
      value_tp1: `[T, …]`.
      lambda_: scalar, or `[T, …]`; 0 where the recursion must not look past the
        next state (a truncation) but bootstrap from its value.

    Returns:
      f32 `[T, …]`. Gradients flow through everything that is not stopped.

    Source: Sutton & Barto 2018, Eq. 12.20, with per-step discount and λ.
    """
    chex.assert_equal_shape((reward_tp1, value_tp1))
    reward, value = _floats(reward_tp1, value_tp1)
    discount = _like(discount_tp1, reward)
    lambda_ = _like(lambda_, reward)
    base = reward + discount * (1 - lambda_) * value
    return _recursion(base, discount * lambda_, value[-1])


def replay_lambda_return(
    reward: jax.Array,
    is_last: jax.Array,
    terminal: jax.Array,
    boot: jax.Array,
    gamma: float,
    lambda_: float,
) -> jax.Array:
    """λ-return over replayed records, which may hold ends of episodes.

    Rewards arrive with their observation. A terminal state is worth nothing; any other
    `is_last` (a truncation) cuts the recursion and bootstraps there. Values at
    `is_last` records themselves belong to no action: mask them in the loss.

    Args:
      reward: `[T + 1, …]`, arrival aligned.
      is_last: bool `[T + 1, …]`.
      terminal: bool or f32 `[T + 1, …]`: probability that the episode ended for good
        (1 − discount).
      boot: `[T + 1, …]`, values to bootstrap from.
      gamma: the agent's discount.
      lambda_: mixing.

    Returns:
      f32 `[T, …]`, for records 0 … T − 1.

    Source: Hafner et al. 2025 (DreamerV3), Eq. 5, with flags.
    """
    chex.assert_equal_shape((reward, is_last, terminal, boot))
    reward, is_last, terminal, boot = _floats(reward, is_last, terminal, boot)
    discount = gamma * (1 - terminal[1:])
    return lambda_return(reward[1:], discount, boot[1:], lambda_ * (1 - is_last[1:]))


def n_step_return(
    reward_tp1: jax.Array,
    discount_tp1: jax.Array,
    value_tp1: jax.Array,
    num_steps: int,
) -> jax.Array:
    """Σ_{k<n} (Π_{j<k} γ_{t+1+j})·r_{t+1+k} + (Π_{j<n} γ_{t+1+j})·v_{t+n}.

    Near the end fewer steps are left; there it bootstraps from the last value.

    Args:
      reward_tp1: `[T, …]`.
      discount_tp1: `[T, …]` or broadcastable, gamma included.
      value_tp1: `[T, …]`.
      num_steps: n ≥ 1; at T or more it is the Monte Carlo return with bootstrap.

    Returns:
      f32 `[T, …]`.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    chex.assert_equal_shape((reward_tp1, value_tp1))
    reward, value = _floats(reward_tp1, value_tp1)
    discount = _like(discount_tp1, reward)
    T = reward.shape[0]
    n = min(num_steps, T)
    # Steps past the end earn 0, discount by 1 and keep the last value.
    pad = lambda x, fill: jnp.concatenate([x, jnp.broadcast_to(fill, x[: n - 1].shape)])
    reward, discount = pad(reward, 0.0), pad(discount, 1.0)
    result = pad(value, value[-1:])[n - 1 :]
    for k in reversed(range(n)):
        result = reward[k : k + T] + discount[k : k + T] * result
    return result


def bootstrapped_return(
    reward: jax.Array,
    discount: jax.Array,
    is_last: jax.Array,
    value: jax.Array,
    num_steps: int,
) -> jax.Array:
    """n-step returns of replayed records, which may hold ends of episodes.

    Rewards and discounts arrive with their observation, so that by hand, within an
    episode, z_t = Σ_{i<n} (Π_{j≤i} γ_{t+j})·r_{t+1+i} + (Π_{j≤n} γ_{t+j})·v_{t+n}, the
    product being 1 for i = 0. A terminal is worth nothing; any other last record
    (a truncation) is bootstrapped from however few steps away it is. A negative
    discount turns what follows around.

    Args:
      reward: `[T, …]`.
      discount: `[T, …]`, the environment's times gamma.
      is_last: bool `[T, …]`.
      value: `[T, …]`, of the records.
      num_steps: n; the last n records have shorter returns.

    Returns:
      f32 `[T, …]`.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    chex.assert_equal_shape((reward, discount, is_last, value))
    reward, discount, value = _floats(reward, discount, value)
    worth = jnp.where(is_last & (discount == 0), 0.0, value)

    def longer(_, result):
        later = reward[1:] + discount[1:] * result[1:]
        later = jnp.concatenate([later, worth[-1:]])
        return jnp.where(is_last, worth, later)

    return jax.lax.fori_loop(0, min(num_steps, reward.shape[0] - 1), longer, worth)


def gae(
    reward_tp1: jax.Array,
    discount_tp1: jax.Array,
    is_last_tp1: jax.Array,
    value: jax.Array,
    lambda_: float,
) -> jax.Array:
    """A_t = δ_t + γ_{t+1}·λ·A_{t+1}, δ_t = r_{t+1} + γ_{t+1}·v_{t+1} − v_t.

    The sum stops at `is_last`. A truncation keeps its discount, so δ bootstraps from
    the value of the true last observation, which is an ordinary record. Rows whose
    own record is a last one (their "action" was the reset) mean nothing: mask them.

    Args:
      reward_tp1: `[T, …]`.
      discount_tp1: `[T, …]` or broadcastable, gamma included; 0 where terminal.
      is_last_tp1: bool `[T, …]`: the next record ends the episode.
      value: `[T + 1, …]`, of all records.
      lambda_: mixing.

    Returns:
      f32 `[T, …]`; add `value[:-1]` for the value targets.

    Source: Schulman et al. 2016, Eq. 16, with truncations as in Pardo et al. 2018.
    """
    chex.assert_equal_shape((reward_tp1, is_last_tp1, value[1:]))
    reward, is_last, value = _floats(reward_tp1, is_last_tp1, value)
    discount = _like(discount_tp1, reward)
    delta = reward + discount * value[1:] - value[:-1]
    return _recursion(
        delta, discount * lambda_ * (1 - is_last), jnp.zeros_like(delta[0])
    )


def _recursion(base: jax.Array, factor: jax.Array, last: jax.Array) -> jax.Array:
    """x_t = base_t + factor_t·x_{t+1}, from x_T = last."""

    def body(later, inputs):
        base, factor = inputs
        now = base + factor * later
        return now, now

    unroll = min(_UNROLL, max(1, base.shape[0]))
    _, result = jax.lax.scan(body, last, (base, factor), reverse=True, unroll=unroll)
    return result


def _floats(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(jnp.asarray(x).astype(jnp.float32) for x in arrays)


def _like(x: jax.Array | float, shape_of: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(x, jnp.float32), shape_of.shape)


def outcomes(
    reward: jax.Array, discount: jax.Array, is_first: jax.Array, is_last: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What every record of a window led to, where its episode ended there.

    Rewards arrive with their observation, as seen by who moved; the result is as seen
    by who moves at the record: G_t = r_{t+1} + d_{t+1} · G_{t+1}, d of -1 turning it
    around. Records of episodes that were truncated, or are still going on, and last
    records, which no action follows, have none.

    Args:
      reward: `[T, …]`.
      discount: `[T, …]`, the environment's own.
      is_first: bool `[T, …]`.
      is_last: bool `[T, …]`.

    Returns:
      G f32 `[T, …]`, 0 where unknown, and whether it is known, bool `[T, …]`.
    """

    def body(later, now):
        total, known, reward_tp1, discount_tp1, first_tp1 = later
        reward, discount, first, last = now
        follows = ~last & ~first_tp1
        known = follows & (known | (discount_tp1 == 0))
        total = jnp.where(known, reward_tp1 + discount_tp1 * total, 0.0)
        return (total, known, reward, discount, first), (total, known)

    reward, discount = _floats(reward, discount)
    never = jnp.zeros_like(is_first[0])
    # Behind the window there is nothing: its last record's episode goes on.
    start = (jnp.zeros_like(reward[0]), never, *(jnp.ones_like(reward[0]),) * 2, never)
    records = (reward, discount, is_first, is_last)
    return jax.lax.scan(body, start, records, reverse=True, unroll=_UNROLL)[1]
