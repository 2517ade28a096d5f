"""Actor and critic that learn from imagined states.

The actor is a policy over model states. Losses are per step; whoever calls them
averages and weighs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.nets.mlp import Features
from wm.nets.net import Net
from wm.ops import distributions
from wm.ops.normalizers import PercentileScale, PercentileState
from wm.ops.returns import lambda_return, replay_lambda_return
from wm.ops.transforms import TwoHot
from wm.ops.trees import swap_time
from wm.types import ArraySpec, Key, Params, TimeStep, Tree

stop = jax.lax.stop_gradient


class Actor(NamedTuple):
    """Stochastic policy over model states; parameters `params["policy"]["actor"]`."""

    features: Callable[[Tree], Features]
    """What the net reads of a model state."""
    head: Net
    """To logits, or to (mean, stddev) before their bounds."""
    spec: ArraySpec
    """Of the action."""
    min_std: float = 0.1
    """Least standard deviation of a continuous action (DreamerV3: 0.1)."""
    max_std: float = 1.0
    """Greatest (DreamerV3: 1)."""
    unimix: float = 0.0
    """Uniform share of a discrete action's distribution, over legal ones."""

    def start(self, params: Params, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, params: Params, key: Key, carry: tuple, x: Tree
    ) -> tuple[tuple, jax.Array, dict[str, Tree]]:
        """Sample; `key` may be noise as `draw` makes it."""
        # The gradient of an action does not flow back through the state it is for.
        action = self.distribution(params, stop(x)).sample(key)
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
                return distributions.legal_categorical(outputs, legal, self.unimix)
            return distributions.Categorical(outputs, self.unimix)
        mean, stddev = outputs
        return distributions.BoundedNormal(mean, stddev, self.min_std, self.max_std)


class Dream(NamedTuple):
    """Imagined rollouts, time first: H steps of N rows."""

    states: Tree
    """Model states before each action, `[H, N, …]`."""
    features: Features
    """Of those, `[H, N, F]`."""
    final: Features
    """Of the state after the last action, `[N, F]`."""
    action: jax.Array
    """`[H, N, …]`."""
    reward: jax.Array
    """f32 `[H, N]`, earned by the action at t."""
    survival: jax.Array
    """f32 `[H + 1, N]`: chance times gamma that life goes on after arriving at t."""


class Learned(NamedTuple):
    """By-products of `ActorCritic.imagined`."""

    terms: dict[str, jax.Array]
    """`policy` and `value`, f32 `[H, N]`."""
    returns: jax.Array
    """f32 `[H, N]`."""
    scale: PercentileState
    metrics: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class ActorCritic:
    """Actor, two-hot critic with a slow copy, and the scale of returns.

    Parameters: `{"actor": …, "critic": …}`, under `"policy"` of the whole tree.
    """

    actor: Actor
    critic: Net
    """Features to logits of `code`."""
    code: TwoHot
    normalizer: PercentileScale
    trace: float
    """Lambda of the returns."""
    entropy: float
    """Weight of the actor's entropy."""
    regularizer: float
    """Weight of the critic's loss towards its slow copy's mean."""
    pathwise: bool = False
    """Follow the gradient of the returns through the model, not that of log pi."""

    def init(self, key: Key, features: Tree) -> Tree:
        """Fresh parameters for features `[1, F]`, or their shapes."""
        key_actor, key_critic = jax.random.split(key)
        return {
            "actor": self.actor.head.init(key_actor, features),
            "critic": self.critic.init(key_critic, features),
        }

    def imagined(
        self, params: Params, slow_critic: Tree, scale: PercentileState, dream: Dream
    ) -> Learned:
        """Losses on imagined states; `scale` is updated before it is used.

        Without `pathwise` nothing flows into `dream`; with it, what `dream` depends on
        beside the actor must have been stopped before.

        Source: Hafner et al. 2025, Eq. 6-10 and code.
        """
        constant = stop(dream.features)
        logits = self.critic.apply(params["policy"]["critic"], constant)
        slow_value = self.code.mean(self.critic.apply(slow_critic, constant))
        frozen = stop(params["policy"]["critic"])
        value = self.code.mean(stop(logits))
        if self.pathwise:
            value = self.code.mean(self.critic.apply(frozen, dream.features))
        final = self.code.mean(self.critic.apply(frozen, dream.final))
        arrival = jnp.concatenate([value[1:], final[None]])
        targets = lambda_return(dream.reward, dream.survival[1:], arrival, self.trace)
        # The first weight is the survival of the start: a dead state counts nothing.
        weight = stop(jnp.cumprod(dream.survival, 0)[:-1])
        scale = self.normalizer.update(scale, targets)
        spread = self.normalizer.scale(scale)
        advantage = (targets - value) / spread
        policy = self.actor.distribution(params, stop(dream.states))
        entropy = policy.entropy()
        gain = advantage
        if not self.pathwise:
            gain = policy.log_prob(stop(dream.action)) * stop(advantage)
        terms = {
            "policy": -weight * (gain + self.entropy * entropy),
            "value": weight * self._critic_loss(logits, targets, slow_value),
        }
        metrics = {
            "behavior/return": targets.mean(),
            "behavior/return_scale": spread,
            "behavior/value": value.mean(),
            "behavior/reward": dream.reward.mean(),
            "behavior/survival": dream.survival.mean(),
            "behavior/advantage_std": advantage.std(),
            "behavior/entropy": entropy.mean(),
        }
        return Learned(terms, stop(targets), scale, stop(metrics))

    def replayed(
        self,
        params: Params,
        slow_critic: Tree,
        features: Features,
        timestep: TimeStep,
        bootstrap: jax.Array,
        gamma: float,
    ) -> jax.Array:
        """Critic loss f32 `[N, L - 1]` on replayed states; reaches `features`.

        Args:
          params: whole tree.
          slow_critic: constant.
          features: `[N, L, F]`.
          timestep: what was seen there; terminals are zero discounts.
          bootstrap: f32 `[N, L]`, values of those states, from imagination.
          gamma: discount per step.

        Source: danijar/dreamerv3 e3f0224, `repl_loss`.
        """
        logits = self.critic.apply(params["policy"]["critic"], features)
        slow_value = self.code.mean(self.critic.apply(slow_critic, stop(features)))
        terminal = timestep.discount == 0
        reward, last, terminal, bootstrap = swap_time(
            (timestep.reward, timestep.is_last, terminal, bootstrap)
        )
        targets = replay_lambda_return(
            reward, last, terminal, bootstrap, gamma, self.trace
        )
        loss = self._critic_loss(logits[:, :-1], swap_time(targets), slow_value[:, :-1])
        return (1.0 - timestep.is_last[:, :-1]) * loss

    def _critic_loss(self, logits, target, slow_value) -> jax.Array:
        """Cross-entropy to the target and to the slow critic's mean, constants both."""
        return self.code.loss(logits, target) + self.regularizer * self.code.loss(
            logits, slow_value
        )
