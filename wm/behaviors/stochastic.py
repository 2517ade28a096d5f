"""Stochastic actors over observations: one head for each kind of action.

Actions a policy gradient is taken of are stored as they were drawn, before any tanh
(`extras["raw"]`): recomputing them from the squashed action loses all digits near ±1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from wm.errors import UserError
from wm.nets.net import Net
from wm.nets.tower import TowerConfig, tower
from wm.ops.distributions import (
    Categorical,
    Normal,
    Squashed,
    TanhNormal,
    legal_categorical,
)
from wm.types import ArraySpec, Key, Mode, Tree

Form = Literal["normal", "tanh"]
Std = Callable[[jax.Array], jax.Array]
Distribution = Categorical | Normal | TanhNormal


@dataclasses.dataclass(frozen=True)
class Actor:
    """From what a net reads to a distribution over actions.

    - discrete: a categorical over logits, illegal actions excluded;
    - `normal`: mean from the net, log deviation a free parameter (cleanrl, sb3), not
      squashed: the environment clips;
    - `tanh`: mean and deviation from the net, squashed into (-1, 1) (SAC, brax).
    """

    net: Net
    spec: ArraySpec
    form: Form
    std: Std
    log_std: float = 0.0
    """Initial log deviation of `normal`."""

    def init(self, key: Key, *examples: Tree) -> dict[str, Any]:
        """`{"net": …}`, and `"log_std"` `[F]` for `normal`."""
        params = {"net": self.net.init(key, *examples)}
        if not self.spec.discrete and self.form == "normal":
            params["log_std"] = jnp.full(self.spec.shape, self.log_std)
        return params

    def distribution(
        self, params: Tree, *inputs: Any, legal: jax.Array | None = None
    ) -> Distribution:
        """Of the action for each row of what the net reads."""
        outputs = self.net.apply(params["net"], *inputs)
        if self.spec.discrete:
            if legal is None:
                return Categorical(outputs)
            return legal_categorical(outputs, legal)
        if self.form == "normal":
            std = jnp.exp(params["log_std"])
            return Normal(outputs, jnp.broadcast_to(std, outputs.shape))
        mean, raw = jnp.split(outputs, 2, -1)
        return TanhNormal(mean, self.std(raw))

    def act(
        self, distribution: Distribution, key: Key, mode: Mode
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """A sample, in `eval` the mode, and what `log_prob` will need of it."""
        greedy = mode == "eval"
        drawn: Any = distribution.mode() if greedy else distribution.sample(key)
        log_prob = distribution.log_prob(drawn)
        if isinstance(drawn, Squashed):
            return drawn.action, {"raw": drawn.u, "log_prob": log_prob}
        return drawn.astype(self.spec.dtype), {"log_prob": log_prob}


def log_prob(distribution: Distribution, action: jax.Array, raw: Any) -> jax.Array:
    """log p of stored actions; `raw` is `extras["raw"]`, where there is one."""
    if isinstance(distribution, TanhNormal):
        return distribution.log_prob(Squashed(jnp.tanh(raw), raw))
    return distribution.log_prob(action)


def entropy(distribution: Distribution, key: Key) -> jax.Array:
    """In nats, `[…]`; of a squashed normal that before the tanh plus log(1 − tanh²u) of
    one fresh sample u, through which the gradient flows (as in brax)."""
    if isinstance(distribution, TanhNormal):
        before = Normal(distribution.mean, distribution.std)
        sample = distribution.sample(key)
        change = before.log_prob(sample.u) - distribution.log_prob(sample)
        return before.entropy() + change
    return distribution.entropy()


def actor(
    config: TowerConfig,
    spec: ArraySpec,
    form: Form = "normal",
    std: Std | None = None,
    outscale: float = 0.01,
    log_std: float = 0.0,
) -> Actor:
    """An `Actor` with its tower.

    Args:
      config: sizes.
      spec: of the action.
      form: of continuous actions.
      std: from a net's output to a deviation, for `tanh`; default `softplus_std`.
      outscale: factor on the output layer's initial kernel.
      log_std: initial log deviation, for `normal`.

    Raises:
      UserError: an action that is neither one index nor one vector.
    """
    if spec.discrete and spec.shape:
        raise UserError(f"actions of shape {spec.shape} indices: one index is needed")
    if not spec.discrete and len(spec.shape) != 1:
        raise UserError(f"actions of shape {spec.shape}: one vector is needed")
    out = spec.classes or math.prod(spec.shape) * (2 if form == "tanh" else 1)
    net = tower(config, out, outscale)
    return Actor(net, spec, form, std or softplus_std, log_std)


def softplus_std(raw: jax.Array) -> jax.Array:
    """softplus(x) + 0.001 (brax)."""
    return jax.nn.softplus(raw) + 1e-3


def clipped_std(low: float, high: float) -> Std:
    """exp of the output clipped to [low, high] (Haarnoja et al. 2018, sb3: −20, 2)."""
    return lambda raw: jnp.exp(jnp.clip(raw, low, high))


def rescaled_std(low: float, high: float) -> Std:
    """exp of tanh of the output, rescaled to [low, high] (cleanrl: −5, 2)."""
    return lambda raw: jnp.exp(low + 0.5 * (high - low) * (jnp.tanh(raw) + 1))
