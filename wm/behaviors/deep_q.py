"""Values of actions from a net: acting on them, their targets and their loss."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from wm.ops.returns import lambda_return
from wm.types import Key

Error = Literal["huber", "squared"]


def dueling(outputs: jax.Array) -> jax.Array:
    """q = v + a − mean a, of outputs (v, a) `[…, 1 + A]`.

    Source: Wang et al. 2016, Eq. 9.
    """
    value, gain = outputs[..., :1], outputs[..., 1:]
    return value + gain - gain.mean(-1, keepdims=True)


def epsilon_greedy(
    key: Key, q: jax.Array, legal: jax.Array | None, epsilon: jax.Array | float
) -> jax.Array:
    """Actions i32 `[…]`: the best legal one, or with chance `epsilon` any legal one."""
    key_coin, key_other = jax.random.split(key)
    chances = jnp.zeros_like(q) if legal is None else jnp.where(legal, 0.0, -jnp.inf)
    best = jnp.argmax(q + chances, -1)
    other = jax.random.categorical(key_other, chances)
    explore = jax.random.bernoulli(key_coin, epsilon, best.shape)
    return jnp.where(explore, other, best).astype(jnp.int32)


def bootstrap(
    q: jax.Array, chooser: jax.Array | None, legal: jax.Array | None
) -> jax.Array:
    """Value of the best legal action, `[…]`.

    Args:
      q: `[…, A]`, of the target net.
      chooser: `[…, A]`, of the net that says which action is best; None: `q` itself.
      legal: bool `[…, A]` or None.

    Source: Mnih et al. 2015; with `chooser` van Hasselt et al. 2016, Eq. 4.
    """
    by = q if chooser is None else chooser
    if legal is not None:
        by = jnp.where(legal, by, -jnp.inf)
    return jnp.take_along_axis(q, jnp.argmax(by, -1)[..., None], -1)[..., 0]


def target(
    reward: jax.Array,
    discount: jax.Array,
    last: jax.Array,
    value: jax.Array,
) -> jax.Array:
    """n-step return of the first step, `[…]`, of arrays `[n, …]`, time first.

    It ends early where the episode does, with the value of the true last observation
    unless that is terminal (discount 0).

    Source: Sutton 1988; in DQN Hessel et al. 2018, section 3.
    """
    return lambda_return(reward, discount, value, 1.0 - last)[0]


def loss(q: jax.Array, action: jax.Array, target: jax.Array, error: Error) -> jax.Array:
    """Error of the values of actions taken, `[…]`.

    Huber is half the square up to 1, then linear: the gradient is the clipped error of
    Mnih et al. 2015.
    """
    taken = jnp.take_along_axis(q, action[..., None], -1)[..., 0]
    gap = taken - jax.lax.stop_gradient(target)
    return optax.huber_loss(gap) if error == "huber" else 0.5 * jnp.square(gap)
