"""Distributions as records: pure arrays with sample, log_prob, entropy and mode.

Every one is a pytree of its arrays (options are static), so it passes through jit,
vmap and scan, and `jax.lax.stop_gradient` maps over it. All maths in float32. Events:

| distribution | parameters | event | log_prob, entropy, kl |
|---|---|---|---|
| `Categorical` | `[…, A]` | index `[…]` | `[…]` |
| `OneHot` | `[…, G, K]` | one-hot `[…, G, K]` | `[…]`, summed over groups |
| `Bernoulli` | `[…]` | `[…]` | `[…]` |
| `Normal` and its kin | `[…, D]` | `[…, D]` | `[…]`, summed over D |

Keys may be noise drawn beforehand (`wm.ops.noise`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy import special

from wm.nodes import Node, static
from wm.ops.noise import inverse_cdf, normal, uniform
from wm.ops.trees import with_gradient_of
from wm.types import Key

_LOG_2PI = math.log(2 * math.pi)
_SQRT_2PI = math.sqrt(2 * math.pi)


class Categorical(Node):
    """One of A classes. Logits of −inf (illegal actions) are never sampled."""

    logits: jax.Array
    """`[…, A]`, unnormalised."""
    unimix: float = static(default=0.0)
    """Share of the uniform distribution mixed in; not together with −inf logits."""

    @property
    def probs(self) -> jax.Array:
        """f32 `[…, A]`, uniform share included."""
        return _mix(self.logits, self.unimix)

    @property
    def log_probs(self) -> jax.Array:
        """f32 `[…, A]`, uniform share included."""
        return _log_mix(self.logits, self.unimix)

    def sample(self, key: Key) -> jax.Array:
        """Index i32 `[…]`; `key` or uniform noise `[…]`."""
        return inverse_cdf(key, self.logits, self.unimix)

    def log_prob(self, index: jax.Array) -> jax.Array:
        """log p(index), f32 `[…]`."""
        hit = jnp.arange(self.logits.shape[-1]) == index[..., None]
        # A select and not a product: 0 · −inf would be NaN.
        return jnp.sum(jnp.where(hit, self.log_probs, 0.0), -1)

    def entropy(self) -> jax.Array:
        """In nats, f32 `[…]`; finite with −inf logits."""
        return _entropy(self.probs, self.log_probs)

    def kl(self, other: Categorical) -> jax.Array:
        """KL(self ‖ other) in nats, f32 `[…]`."""
        return _kl(self.probs, self.log_probs, other.log_probs)

    def mode(self) -> jax.Array:
        """Most likely index, i32 `[…]`."""
        return jnp.argmax(self.logits, -1).astype(jnp.int32)


def legal_categorical(
    logits: jax.Array, legal: jax.Array, unimix: float = 0.0
) -> Categorical:
    """One of the legal classes.

    Args:
      logits: `[…, A]`.
      legal: bool `[…, A]`, at least one true.
      unimix: share of the uniform distribution over legal classes.
    """
    logits = jnp.where(legal, logits.astype(jnp.float32), -jnp.inf)
    if unimix:
        uniform = legal / legal.sum(-1, keepdims=True)
        probs = (1 - unimix) * jax.nn.softmax(logits) + unimix * uniform
        # A select inside the logarithm too: its gradient at 0 would be NaN.
        logits = jnp.where(legal, jnp.log(jnp.where(legal, probs, 1.0)), -jnp.inf)
    return Categorical(logits)


class OneHot(Node):
    """G independent one-hot vectors of K classes with straight-through samples.

    Source: Hafner et al. 2021 (DreamerV2), Alg. 1; uniform mix Hafner et al. 2023.
    """

    logits: jax.Array
    """`[…, G, K]`, unnormalised."""
    unimix: float = static(default=0.0)
    """Share of the uniform distribution mixed in (DreamerV3: 0.01)."""

    @property
    def probs(self) -> jax.Array:
        """f32 `[…, G, K]`, uniform share included."""
        return _mix(self.logits, self.unimix)

    @property
    def log_probs(self) -> jax.Array:
        """f32 `[…, G, K]`, uniform share included."""
        return _log_mix(self.logits, self.unimix)

    def sample_index(self, key: Key) -> jax.Array:
        """Class of each group, i32 `[…, G]`; `key` or uniform noise `[…, G]`."""
        return inverse_cdf(key, self.logits, self.unimix)

    def sample(self, key: Key) -> jax.Array:
        """One-hot f32 `[…, G, K]` with the gradient of `probs`."""
        return self.straight_through(self.sample_index(key))

    def straight_through(self, index: jax.Array) -> jax.Array:
        """One-hot of `index` `[…, G]` as f32 `[…, G, K]`, with the gradient of `probs`.

        Where nothing is differentiated, `probs` is not computed.
        """
        onehot = jax.nn.one_hot(index, self.logits.shape[-1], dtype=jnp.float32)
        return with_gradient_of(onehot, self.probs)

    def log_prob(self, onehot: jax.Array) -> jax.Array:
        """log p of one-hot `[…, G, K]`, f32 `[…]`."""
        return jnp.sum(self.log_probs * onehot.astype(jnp.float32), (-2, -1))

    def entropy(self) -> jax.Array:
        """In nats, f32 `[…]`."""
        return _entropy(self.probs, self.log_probs).sum(-1)

    def kl(self, other: OneHot) -> jax.Array:
        """KL(self ‖ other) in nats, f32 `[…]`."""
        return _kl(self.probs, self.log_probs, other.log_probs).sum(-1)

    def mode(self) -> jax.Array:
        """Most likely one-hot, f32 `[…, G, K]`, with the gradient of `probs`."""
        return self.straight_through(jnp.argmax(self.logits, -1))


class Bernoulli(Node):
    """A coin by its logit. Targets of `log_prob` may be soft."""

    logit: jax.Array
    """`[…]`."""

    @property
    def mean(self) -> jax.Array:
        """Probability of 1, f32 `[…]`."""
        return jax.nn.sigmoid(self.logit.astype(jnp.float32))

    def sample(self, key: Key) -> jax.Array:
        """bool `[…]`; `key` or uniform noise `[…]`."""
        return uniform(key, self.logit.shape) < self.mean

    def log_prob(self, target: jax.Array) -> jax.Array:
        """t·log p + (1 − t)·log(1 − p) for t in [0, 1], f32 `[…]`."""
        logit = self.logit.astype(jnp.float32)
        target = target.astype(jnp.float32)
        yes, no = jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit)
        return target * yes + (1 - target) * no

    def entropy(self) -> jax.Array:
        """In nats, f32 `[…]`."""
        return -self.log_prob(self.mean)

    def mode(self) -> jax.Array:
        """Whether 1 is more likely than 0, bool `[…]`."""
        return self.logit > 0


class Normal(Node):
    """Independent normals over the last axis."""

    mean: jax.Array
    """`[…, D]`."""
    std: jax.Array
    """`[…, D]` or broadcastable, positive."""

    def sample(self, key: Key) -> jax.Array:
        """Reparameterised, f32 `[…, D]`; `key` or normal noise `[…, D]`."""
        mean, std = _float_pair(self.mean, self.std)
        return mean + std * normal(key, mean.shape)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Log density, f32 `[…]`."""
        mean, std = _float_pair(self.mean, self.std)
        z = (x.astype(jnp.float32) - mean) / std
        return -jnp.sum(0.5 * jnp.square(z) + jnp.log(std) + 0.5 * _LOG_2PI, -1)

    def entropy(self) -> jax.Array:
        """In nats, f32 `[…]`."""
        _, std = _float_pair(self.mean, self.std)
        return jnp.sum(jnp.log(std) + 0.5 * (1 + _LOG_2PI), -1)

    def kl(self, other: Normal) -> jax.Array:
        """KL(self ‖ other) in nats, f32 `[…]`."""
        mean, std = _float_pair(self.mean, self.std)
        other_mean, other_std = _float_pair(other.mean, other.std)
        ratio = jnp.square(std / other_std)
        shift = jnp.square((mean - other_mean) / other_std)
        return 0.5 * jnp.sum(ratio + shift - 1 - jnp.log(ratio), -1)

    def mode(self) -> jax.Array:
        """The mean, f32 `[…, D]`."""
        return _float_pair(self.mean, self.std)[0]


class BoundedNormal(Node):
    """A normal whose mean lies in (−1, 1) and whose std in (low, high).

    mean = tanh(raw_mean), std = (high − low)·σ(raw_std + 2) + low. Samples are not
    squashed or clipped (log_prob has no tanh Jacobian); the environment clips them.

    Source: Hafner et al. 2025 (DreamerV3), continuous actor of the published code.
    """

    raw_mean: jax.Array
    """`[…, D]`, a net's output."""
    raw_std: jax.Array
    """`[…, D]`, a net's output."""
    low: float = static(default=0.1)
    """Smallest std (DreamerV3: 0.1)."""
    high: float = static(default=1.0)
    """Largest std (DreamerV3: 1.0)."""

    @property
    def normal(self) -> Normal:
        """The `Normal` it is."""
        raw_mean, raw_std = _float_pair(self.raw_mean, self.raw_std)
        spread = jax.nn.sigmoid(raw_std + 2.0)
        return Normal(jnp.tanh(raw_mean), (self.high - self.low) * spread + self.low)

    def sample(self, key: Key) -> jax.Array:
        """Reparameterised, f32 `[…, D]`, may leave ±1; `key` or normal noise."""
        return self.normal.sample(key)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Log density of the unclipped sample, f32 `[…]`."""
        return self.normal.log_prob(x)

    def entropy(self) -> jax.Array:
        """In nats, f32 `[…]`."""
        return self.normal.entropy()

    def kl(self, other: BoundedNormal) -> jax.Array:
        """KL(self ‖ other) in nats, f32 `[…]`."""
        return self.normal.kl(other.normal)

    def mode(self) -> jax.Array:
        """The mean, f32 `[…, D]`."""
        return self.normal.mode()


class Squashed(NamedTuple):
    """A sample of `TanhNormal`: keep both, atanh(action) is lost at ±1."""

    action: jax.Array
    """tanh(u), f32 `[…, D]`."""
    u: jax.Array
    """Before the tanh, f32 `[…, D]`."""


class TanhNormal(Node):
    """tanh of a normal; densities are computed from the value before the tanh.

    Source: Haarnoja et al. 2018, App. C. Differs: log(1 − tanh²u) is written as
    2·(log 2 − u − softplus(−2u)), because it is −inf in float32 from u = 8.4 on.
    """

    mean: jax.Array
    """`[…, D]`, before the tanh."""
    std: jax.Array
    """`[…, D]` or broadcastable, before the tanh."""

    def sample(self, key: Key) -> Squashed:
        """Reparameterised; `key` or normal noise `[…, D]`."""
        u = Normal(self.mean, self.std).sample(key)
        return Squashed(jnp.tanh(u), u)

    def log_prob(self, sample: Squashed) -> jax.Array:
        """Log density of `sample.action`, f32 `[…]`; reads only `sample.u`."""
        u = sample.u.astype(jnp.float32)
        jacobian = 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))
        return Normal(self.mean, self.std).log_prob(u) - jnp.sum(jacobian, -1)

    def mode(self) -> Squashed:
        """tanh of the mean (the median, not the densest point)."""
        u = Normal(self.mean, self.std).mode()
        return Squashed(jnp.tanh(u), u)


class TruncatedNormal(Node):
    """A normal cut to [low, high] and renormalised, means inside the interval.

    Source: Burkardt 2014, "The truncated normal distribution", §2; the continuous
    actor of DreamerV2 (samples inside ±(1 − 1e-6), mean tanh, std 2σ(x/2) + 0.1).
    """

    mean: jax.Array
    """`[…, D]`, in [low, high]: far outside, the mass kept underflows."""
    std: jax.Array
    """`[…, D]` or broadcastable, positive, of the uncut normal."""
    low: float = static(default=-1.0)
    """Lower end."""
    high: float = static(default=1.0)
    """Upper end."""
    margin: float = static(default=1e-6)
    """Samples keep this distance from the ends; the clip passes gradients."""

    def sample(self, key: Key) -> jax.Array:
        """Reparameterised (inverse CDF), f32 `[…, D]`; `key` or uniform noise."""
        mean, std = _float_pair(self.mean, self.std)
        lowest, mass = self._mass()
        # ndtri is infinite at 0 and 1, which rounding reaches.
        tiny = jnp.finfo(jnp.float32).eps / 2
        quantile = lowest + mass * uniform(key, mean.shape)
        x = mean + std * special.ndtri(jnp.clip(quantile, tiny, 1 - tiny))
        inside = jnp.clip(x, self.low + self.margin, self.high - self.margin)
        return x + jax.lax.stop_gradient(inside - x)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Log density for x inside the interval, f32 `[…]`."""
        _, mass = self._mass()
        base = Normal(self.mean, self.std).log_prob(x)
        return base - jnp.sum(jnp.log(mass), -1)

    def entropy(self) -> jax.Array:
        """In nats, f32 `[…]`."""
        _, std = _float_pair(self.mean, self.std)
        _, mass = self._mass()
        a, b = self._ends()
        density = lambda z: jnp.exp(-0.5 * z * z) / _SQRT_2PI
        edge = (a * density(a) - b * density(b)) / (2 * mass)
        return jnp.sum(jnp.log(std * mass) + 0.5 * (1 + _LOG_2PI) + edge, -1)

    def mode(self) -> jax.Array:
        """The mean of the uncut normal, which lies inside, f32 `[…, D]`."""
        return _float_pair(self.mean, self.std)[0]

    def _ends(self) -> tuple[jax.Array, jax.Array]:
        mean, std = _float_pair(self.mean, self.std)
        return (self.low - mean) / std, (self.high - mean) / std

    def _mass(self) -> tuple[jax.Array, jax.Array]:
        """The CDF at the lower end, and the mass between the ends."""
        a, b = self._ends()
        return special.ndtr(a), special.ndtr(b) - special.ndtr(a)


def _mix(logits: jax.Array, unimix: float) -> jax.Array:
    probs = jax.nn.softmax(logits.astype(jnp.float32))
    if unimix == 0:
        return probs
    return (1 - unimix) * probs + unimix / logits.shape[-1]


def _log_mix(logits: jax.Array, unimix: float) -> jax.Array:
    if unimix == 0:
        return jax.nn.log_softmax(logits.astype(jnp.float32))
    return jnp.log(_mix(logits, unimix))


def _entropy(probs: jax.Array, log_probs: jax.Array) -> jax.Array:
    return -jnp.sum(probs * jnp.where(probs > 0, log_probs, 0.0), -1)


def _kl(probs: jax.Array, log_probs: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.sum(probs * jnp.where(probs > 0, log_probs - other, 0.0), -1)


def _float_pair(mean: jax.Array, std: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    return mean, jnp.broadcast_to(std, mean.shape)
