"""A policy over actions that are too many to be searched: a few are drawn, and weighed.

In every node K actions are drawn from the policy itself. To have drawn them counts its
density once, so that among the K all are alike (β = π); a prior of π among them would
count it twice, and a search that finds no difference would still sharpen the policy. At
a root some are drawn uniformly instead; then the prior is π / β. The policy learns the
shares I(a_i) that the search gives to the actions it drew:

    L = -Σ_i I(a_i) log π(a_i | s) - c H(π)

Numbers have a squashed normal; an index of many classes, or of few, a categorical.

Source: Hubert et al. 2021. Differs: exploration by uniform draws at the root (theirs
and Stoix: noise on the policy), and an index drawn twice is searched once, with the
prior of both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.behaviors.stochastic import entropy
from wm.errors import UserError
from wm.ops.distributions import (
    Categorical,
    Squashed,
    TanhNormal,
    legal_categorical,
)
from wm.types import ArraySpec, Key, Params, Tree

EDGE = 1 - 1e-6
"""Greatest number of an action: atanh of it is 7.25, of 1 infinite."""


@dataclasses.dataclass(frozen=True)
class SampledConfig:
    """Settings of a policy over drawn actions."""

    draws: int | None = None
    """Actions K drawn in every node (20). Unset: 20 where actions are numbers, and all
    are searched where they are one index."""
    noise: float = 0.25
    """Share of those at the root that are drawn uniformly while collecting."""
    entropy_scale: float = 5e-3
    """Weight of the policy's entropy in the loss (Stoix, LightZero 5e-3)."""
    std: tuple[float, float] = (0.1, 2.0)
    """Least and greatest deviation before the tanh; the net begins half way."""
    mean: float = 5.0
    """Greatest mean before the tanh: beyond, all that is drawn is ±1 and search has
    nothing to choose from (Dreamer 5)."""

    def __post_init__(self):
        if self.mean <= 0:
            raise UserError(f"--agent.sampled.mean must be above 0, got {self.mean}")
        if self.draws is not None and self.draws < 2:
            raise UserError(
                f"--agent.sampled.draws must be at least 2, got {self.draws}"
            )
        if not 0 <= self.noise < 1:
            raise UserError(
                f"--agent.sampled.noise must be in [0, 1), got {self.noise}"
            )
        if self.entropy_scale < 0:
            raise UserError(
                "--agent.sampled.entropy_scale must be at least 0, "
                f"got {self.entropy_scale}"
            )
        if not 0 < self.std[0] < self.std[1]:
            raise UserError(
                f"--agent.sampled.std must be above 0 and rising, got {self.std}"
            )


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Draws, searches' heads and the loss; see the module."""

    spec: ArraySpec
    """Of the action: one index, or numbers in [-1, 1]."""
    config: SampledConfig

    @property
    def draws(self) -> int:
        """K."""
        return self.config.draws or 20

    @property
    def outputs(self) -> int:
        """Numbers that a net says of the policy."""
        return self.spec.classes or 2 * math.prod(self.spec.shape)

    def distribution(
        self, output: jax.Array, legal: jax.Array | None = None
    ) -> Categorical | TanhNormal:
        """Of actions with F numbers `[…, F]`, or of an index `[…]`.

        Args:
          output: of a net, `[…, outputs]`.
          legal: bool `[…, A]`.
        """
        if self.spec.discrete:
            if legal is not None:
                return legal_categorical(output, legal)
            return Categorical(output.astype(jnp.float32))
        mean, raw = jnp.split(output.astype(jnp.float32), 2, -1)
        low, high = self.config.std
        std = low + (high - low) * jax.nn.sigmoid(raw)
        return TanhNormal(self.config.mean * jnp.tanh(mean / self.config.mean), std)

    def draw(
        self,
        key: Key,
        output: jax.Array,
        legal: jax.Array | None = None,
        noise: float = 0.0,
    ) -> tuple[jax.Array | None, jax.Array]:
        """K actions of every row, and the logits of a prior among them.

        Args:
          key: consumed.
          output: of a net, `[B, outputs]`.
          legal: bool `[B, A]`.
          noise: share that is drawn uniformly.

        Returns:
          Logits `[B, K]`, -inf for what was drawn before, None for all alike; actions
          f32 `[B, K, F]`.
        """
        key_policy, key_uniform, key_which = jax.random.split(key, 3)
        wide = lambda x: jnp.repeat(x[:, None], self.draws, 1)
        legal = None if legal is None else wide(legal)
        policy = self.distribution(wide(output), legal)
        actions = _numbers(policy.sample(key_policy))
        if noise:
            free = uniform(key_uniform, self.spec, actions.shape[:2], legal)
            which = jax.random.bernoulli(key_which, noise, (*actions.shape[:2], 1))
            actions = jnp.where(which, free, actions)
        ratio = None
        if noise:
            log_prob = self.log_prob(output, actions, legal)
            even = math.log(noise) + self._log_uniform(legal)
            ratio = log_prob - jnp.logaddexp(math.log1p(-noise) + log_prob, even)
        if self.spec.discrete:
            ratio = _merged(actions, ratio)
        return ratio, actions

    def log_prob(
        self, output: jax.Array, actions: jax.Array, legal: jax.Array | None = None
    ) -> jax.Array:
        """log π of drawn actions `[…, K, F]`, f32 `[…, K]`.

        Args:
          output: of a net, `[…, outputs]`.
          actions: as `draw` returns them.
          legal: bool `[…, K, A]`.
        """
        policy = self.distribution(output[..., None, :], legal)
        if isinstance(policy, Categorical):
            return policy.log_prob(actions[..., 0].astype(jnp.int32))
        inside = jnp.clip(actions, -EDGE, EDGE)
        return policy.log_prob(Squashed(inside, jnp.arctanh(inside)))

    def loss(
        self, output: jax.Array, policy: jax.Array, actions: jax.Array
    ) -> jax.Array:
        """-Σ_i I(a_i) log π(a_i) - c H, f32 `[…]`.

        Args:
          output: of a net, `[…, outputs]`.
          policy: I, what a search says of what was drawn, f32 `[…, K]`.
          actions: what was drawn, `[…, K, F]`.
        """
        fit = -jnp.sum(policy * self.log_prob(output, actions), -1)
        if not self.config.entropy_scale:
            return fit
        return fit - self.config.entropy_scale * self.entropy(output)

    def entropy(self, output: jax.Array) -> jax.Array:
        """In nats, f32 `[…]`; of a squashed normal by quadrature, without a key."""
        policy = self.distribution(output)
        if isinstance(policy, Categorical):
            return policy.entropy()
        z, weight = np.polynomial.hermite_e.hermegauss(8)
        at = lambda z: entropy(policy, jnp.full(policy.mean.shape, z))
        found = jax.vmap(at)(jnp.asarray(z, jnp.float32))
        return jnp.tensordot(jnp.asarray(weight / weight.sum(), jnp.float32), found, 1)

    def mode(self, output: jax.Array, legal: jax.Array | None = None) -> jax.Array:
        """The action of the policy's middle, `[B, …]` as environments take it."""
        found: Any = self.distribution(output, legal).mode()
        if isinstance(found, Squashed):
            found = found.action.reshape(-1, *self.spec.shape)
        return found.astype(self.spec.dtype)

    def _log_uniform(self, legal: jax.Array | None) -> jax.Array | float:
        """Log density of a uniform action."""
        if legal is not None:
            return -jnp.log(legal.sum(-1).astype(jnp.float32))
        return -math.log(self.spec.classes or 2 ** math.prod(self.spec.shape))


class SampledHeads(NamedTuple):
    """A `planners.mcts.Heads` of a model whose actions are drawn."""

    model: Any
    """Has `predict(params, latent) -> {"policy", "value"}` and `value_code`."""
    sampled: Sampled
    noise: float = 0.0
    """Share of draws that are uniform."""
    guided: bool = True
    """Off: all draws are, and values 0."""

    def __call__(self, params: Params, key: Key, state: Tree):
        """(Logits `[B, K]` or None, value `[B]`, actions `[B, K, F]`)."""
        sampled, legal = self.sampled, state.legal
        if not self.guided:
            rows = state.latent.shape[0]
            if legal is not None:
                legal = jnp.repeat(legal[:, None], sampled.draws, 1)
            actions = uniform(key, sampled.spec, (rows, sampled.draws), legal)
            alike = _merged(actions, None) if sampled.spec.discrete else None
            return alike, jnp.zeros(rows), actions
        said = self.model.predict(params, state.latent)
        logits, actions = sampled.draw(key, said["policy"], legal, self.noise)
        return logits, self.model.value_code.mean(said["value"]), actions


def middle(model: Any, sampled: Sampled) -> Callable:
    """A choice without a search: the likeliest index, or tanh of the mean."""

    def choose(params: Params, key: Key, x: Tree) -> jax.Array:
        return sampled.mode(model.predict(params, x.latent)["policy"], x.legal)

    return choose


def uniform(
    key: Key, spec: ArraySpec, shape: tuple[int, ...], legal: jax.Array | None = None
) -> jax.Array:
    """Any action as numbers, f32 `[*shape, F]`; of the legal, bool `[*shape, A]`."""
    if not spec.discrete:
        size = (*shape, math.prod(spec.shape))
        return jax.random.uniform(key, size, minval=-1.0, maxval=1.0)
    logits = jnp.zeros((*shape, spec.classes or 1))
    if legal is not None:
        logits = jnp.where(legal, logits, -jnp.inf)
    return _numbers(jax.random.categorical(key, logits))


def _numbers(drawn: Any) -> jax.Array:
    """Samples as f32 `[…, F]`."""
    if isinstance(drawn, Squashed):
        return jnp.clip(drawn.action, -EDGE, EDGE)
    return drawn[..., None].astype(jnp.float32)


def _merged(actions: jax.Array, logits: jax.Array | None) -> jax.Array:
    """Logits f32 `[B, K]` of indices `[B, K, 1]`: the first of equals has the mass of
    all, the others -inf."""
    equal = actions == jnp.swapaxes(actions, 1, 2)
    earlier = jnp.tril(jnp.ones(equal.shape[1:], bool), -1)
    first = ~(equal & earlier).any(-1)
    count = jnp.log(equal.sum(-1).astype(jnp.float32))
    return jnp.where(first, count if logits is None else logits + count, -jnp.inf)
