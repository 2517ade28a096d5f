"""Actor and critic that learn from imagined states.

The actor is a policy over model states. Losses are per step and time first, `[H, N]`;
whoever calls them averages and weighs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.nets.net import Net
from wm.ops import distributions, returns
from wm.ops.transforms import TwoHot
from wm.types import ArraySpec, Key, Params, Tree

stop = jax.lax.stop_gradient


class Actor(NamedTuple):
    """Stochastic policy over model states; parameters `params["policy"]["actor"]`."""

    features: Callable[[Tree], jax.Array]
    """What the net reads of a model state, `[…, F]`."""
    head: Net
    """To logits, or to (mean, stddev) before their bounds."""
    spec: ArraySpec
    """Of the action."""
    min_std: float = 0.1
    """Least standard deviation of a continuous action (DreamerV3: 0.1)."""
    max_std: float = 1.0
    """Greatest (DreamerV3: 1)."""

    def start(self, params: Params, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, params: Params, key: Key, carry: tuple, x: Tree
    ) -> tuple[tuple, jax.Array, dict[str, Tree]]:
        """Sample; `key` may be noise as `draw` makes it."""
        action = self.distribution(params, x).sample(key)
        return carry, action.astype(self.spec.dtype), {}

    def draw(self, key: Key, shape: tuple[int, ...]) -> jax.Array:
        """Noise for `shape` actions: uniform `shape`, or normal with action axes."""
        if self.spec.discrete:
            return distributions.uniform(key, shape)
        return distributions.normal(key, (*shape, *self.spec.shape))

    def distribution(self, params: Params, state: Tree):
        """Of the action in each state; differentiable by the actor's parameters.

        Source: danijar/dreamerv3 e3f0224, `Head.bounded_normal`, `Head.categorical`
        (which has no uniform mix, whatever its configuration says).
        """
        outputs = self.head.apply(params["policy"]["actor"], self.features(state))
        if self.spec.discrete:
            legal = getattr(state, "legal", None)
            if legal is not None:
                outputs = jnp.where(legal, outputs, -jnp.inf)
            return distributions.Categorical(outputs)
        mean, stddev = outputs
        return distributions.BoundedNormal(mean, stddev, self.min_std, self.max_std)


class Dream(NamedTuple):
    """What the returns of imagined rollouts come from. Float32, time first."""

    reward: jax.Array
    """`[H, N]`, earned by the action at t."""
    survival: jax.Array
    """`[H + 1, N]`: chance times gamma that life goes on after arriving at t."""
    value: jax.Array
    """`[H + 1, N]`, the fast critic's."""


def dream_returns(dream: Dream, lambda_: float) -> tuple[jax.Array, jax.Array]:
    """Lambda-returns and weights, each `[H, N]`.

    r_t = reward_t + c_{t+1} ((1 - lambda) v_{t+1} + lambda r_{t+1}); the weight of t is
    the product of c_0 … c_t, so that what a dead state does counts nothing.

    Source: Hafner et al. 2025, Eq. 8; weights from the code.
    """
    targets = returns.lambda_return(
        dream.reward, dream.survival[1:], dream.value[1:], lambda_
    )
    return targets, jnp.cumprod(dream.survival, 0)[:-1]


def score_loss(
    policy, action: jax.Array, advantage: jax.Array, weight: jax.Array, entropy: float
) -> tuple[jax.Array, jax.Array]:
    """Score-function loss of the actor and its entropy, each `[H, N]`.

    -weight (log pi(action) advantage + entropy H), constants but for pi.

    Source: Hafner et al. 2025, Eq. 11.
    """
    spread = policy.entropy()
    gain = policy.log_prob(stop(action)) * stop(advantage) + entropy * spread
    return -stop(weight) * gain, spread


def critic_loss(
    code: TwoHot,
    logits: jax.Array,
    target: jax.Array,
    slow_value: jax.Array,
    weight: jax.Array,
    regularizer: float,
) -> jax.Array:
    """Cross-entropy to the target and, times `regularizer`, to the slow critic's mean.

    Args:
      code: of the logits.
      logits: `[…, bins]`.
      target: `[…]`, constant.
      slow_value: `[…]`, constant.
      weight: `[…]`, constant.
      regularizer: 1 in DreamerV3.

    Source: Hafner et al. 2025, Eq. 10 and code.
    """
    loss = code.loss(logits, stop(target))
    loss = loss + regularizer * code.loss(logits, stop(slow_value))
    return stop(weight) * loss
