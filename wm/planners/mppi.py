"""Model predictive path integral control: a plan is a softly weighted mean of samples.

Sources: Williams et al. 2015; facebookresearch/mbrl-lib 3f93ccc,
`planning/trajectory_opt.py` (after Nagabandi et al. 2019, PDDM); Hansen et al. 2022
(TD-MPC), which weighs elites only, refits the spread and draws what it executes.
Differs:

- mbrl-lib scales its noise and then uses the unscaled one: its `sigma` has no effect.
  Here it has; normals are cut at the bounds, as there they were meant to be.
- mbrl-lib ranks NaN near the top where returns are negative; here it ranks last.
- TD-MPC adds sequences of its policy to the samples; none here.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from wm.planners import published
from wm.planners.sequences import (
    Moments,
    Objective,
    Space,
    evaluate,
    legal_now,
    normals,
    require,
    shifted,
    space_of,
)
from wm.types import Key, Params, Tree, WorldModel


@dataclasses.dataclass(frozen=True)
class MPPIConfig:
    """Settings of MPPI. Defaults: mbrl-lib (its sigma connected)."""

    horizon: int = 30
    """Actions of a plan (mbrl-lib 30; TD-MPC 5)."""
    samples: int = 350
    """Sequences per round (mbrl-lib 350; TD-MPC 512)."""
    elites: int | None = None
    """Sequences that count, the best ones (mbrl-lib all; TD-MPC 64)."""
    iterations: int = 5
    """Rounds (mbrl-lib 5; TD-MPC 6)."""
    temperature: float = 1 / 0.9
    """A return lower by this much counts e times less (mbrl-lib 1 / 0.9; TD-MPC 2)."""
    relative: bool = False
    """Measure returns in their standard deviation over the samples that count
    (ours)."""
    sigma: float = 1.0
    """Standard deviation at the start of every step (mbrl-lib 1; TD-MPC 2); of classes
    the share of uniform probabilities, at most 1."""
    bounds: Literal["truncate", "clip"] = "truncate"
    """Cut normals inside the bounds (mbrl-lib), or clip samples (TD-MPC)."""
    blend: float = 0.9
    """Weight of a step's own draw beside the action before it (mbrl-lib 0.9; TD-MPC 1);
    of classes nothing."""
    refit: bool = False
    """Refit the spread in every round (TD-MPC)."""
    least_sigma: float = 0.05
    """Least standard deviation after refitting (TD-MPC 0.05)."""
    momentum: float = 0.0
    """Weight of the old mean (mbrl-lib 0; TD-MPC 0.1)."""
    repeat_last: bool = True
    """A shifted plan ends with its last action again (mbrl-lib), or with the middle of
    the box (TD-MPC)."""
    execute: Literal["mean", "sample"] = "mean"
    """The weighted mean, or an elite drawn by its weight (TD-MPC)."""
    particles: int = 1
    """Rollouts per sequence, for models with chance."""

    def __post_init__(self):
        count = self.samples if self.elites is None else self.elites
        require(
            self,
            horizon=(self.horizon >= 1, "at least 1"),
            samples=(self.samples >= 1, "at least 1"),
            elites=(1 <= count <= self.samples, "in [1, samples]"),
            iterations=(self.iterations >= 1, "at least 1"),
            temperature=(self.temperature > 0, "positive"),
            sigma=(self.sigma > 0, "positive"),
            blend=(0 < self.blend <= 1, "in (0, 1]"),
            least_sigma=(self.least_sigma > 0, "positive"),
            momentum=(0 <= self.momentum < 1, "in [0, 1)"),
            bounds=(self.bounds in ("truncate", "clip"), "truncate or clip"),
            execute=(self.execute in ("mean", "sample"), "mean or sample"),
            particles=(self.particles >= 1, "at least 1"),
        )


MBRL_LIB = MPPIConfig()
TD_MPC = MPPIConfig(**published.TD_MPC)
"""TD-MPC after its warm-up, without the policy's samples."""


class Memory(NamedTuple):
    """What one environment step leaves to the next."""

    center: jax.Array
    """Of the plan, shifted: `[B, H, F]`, of classes `[B, H, F, A]`."""
    before: jax.Array
    """The action played last, `[B, F]`; of classes not read."""


class Round(NamedTuple):
    """Carried from round to round."""

    moments: Moments
    drawn: jax.Array
    """First action of an elite drawn by its weight, `[B, F]`."""


class MPPI(NamedTuple):
    """A policy over model states; built by `mppi`."""

    model: Any
    objective: Objective
    config: MPPIConfig
    space: Space

    def start(self, params: Params, batch: int) -> Memory:
        """Nothing planned, nothing played."""
        before = jnp.zeros((batch, self.space.size), self.space.spec.dtype)
        return Memory(self.space.blank(batch, self.config.horizon), before)

    def act(
        self, params: Params, key: Key, carry: Memory, x: Tree
    ) -> tuple[Memory, jax.Array, dict[str, Tree]]:
        """Plan from the model states `x`, and take the plan's first action."""
        config, space = self.config, self.space
        loop = Round(space.around(carry.center, config.sigma), carry.before)
        keys = jax.random.split(key, config.iterations)
        body = lambda loop, key: (self._round(params, x, carry.before, loop, key), None)
        loop, _ = jax.lax.scan(body, loop, keys)
        center = loop.moments.center
        if config.execute == "mean":
            action = space.pick(center, legal_now(self.model, params, x))
        else:
            action = space.playable(loop.drawn)
        last = center[:, -1:]
        if not config.repeat_last:
            last = space.blank(center.shape[0], 1)
        before = action.reshape(carry.before.shape)
        return Memory(shifted(center, last), before), action, {}

    def _round(
        self, params: Params, state: Tree, before: jax.Array, loop: Round, key: Key
    ) -> Round:
        """Draw, score, weigh."""
        config, space = self.config, self.space
        key_draw, key_score, key_pick = jax.random.split(key, 3)
        B = before.shape[0]
        shape = (B, config.samples, config.horizon, space.size)
        noise = normals(key_draw, shape, 0.0)
        drawn = space.draw(loop.moments, noise, config.bounds == "truncate")
        if not space.spec.discrete and config.blend < 1:
            drawn = smooth(drawn, before, config.blend)
        actions = space.playable(drawn)
        scores = evaluate(
            self.model, self.objective, params, key_score, state, actions,
            config.particles,
        )  # fmt: skip
        if config.elites is not None:
            scores, index = jax.lax.top_k(scores, config.elites)
            drawn = jnp.take_along_axis(drawn, index[:, :, None, None], 1)
        weights = softmax(scores, config.temperature, config.relative)
        fitted = space.fit(drawn, weights)
        keep = lambda old, new: config.momentum * old + (1 - config.momentum) * new
        center = keep(loop.moments.center, fitted.center)
        moments = Moments(center, loop.moments.spread)
        if config.refit and not space.spec.discrete:
            limits = config.least_sigma**2, config.sigma**2
            moments = Moments(center, jnp.clip(fitted.spread, *limits))
        chosen = jax.random.categorical(key_pick, jnp.log(weights + 1e-30))
        return Round(moments, drawn[jnp.arange(B), chosen, 0])


def softmax(scores: jax.Array, temperature: float, relative: bool) -> jax.Array:
    """Weights `[B, N]` that add to 1, e times less per `temperature`; −inf has none.

    Where every score is −inf all weigh the same.

    Args:
      scores: `[B, N]`, finite or −inf.
      temperature: in units of the scores, or of their standard deviation.
      relative: the latter.
    """
    finite = jnp.isfinite(scores)
    scores = jnp.where(finite.any(-1, keepdims=True), scores, 0.0)
    finite = jnp.isfinite(scores)
    best = scores.max(-1, keepdims=True)
    # −inf is taken out of sums by selection: a product with 0 would be NaN.
    gap = jnp.where(finite, scores - best, 0.0)
    if relative:
        count = finite.sum(-1, keepdims=True)
        mean = gap.sum(-1, keepdims=True) / count
        square = jnp.where(finite, jnp.square(gap - mean), 0.0)
        deviation = jnp.sqrt(square.sum(-1, keepdims=True) / count)
        gap = gap / jnp.maximum(deviation, 1e-8)
    weights = jnp.where(finite, jnp.exp(gap / temperature), 0.0)
    return weights / weights.sum(-1, keepdims=True)


def smooth(drawn: jax.Array, before: jax.Array, blend: float) -> jax.Array:
    """u_t = blend · drawn_t + (1 − blend) · u_{t−1}, beginning with `before`.

    Args:
      drawn: `[B, N, H, F]`.
      before: `[B, F]`.
      blend: in (0, 1].
    """

    def body(last, now):
        action = blend * now + (1 - blend) * last
        return action, action

    begin = jnp.broadcast_to(before[:, None], drawn[:, :, 0].shape)
    _, actions = jax.lax.scan(body, begin, jnp.moveaxis(drawn, 2, 0))
    return jnp.moveaxis(actions, 0, 2)


def mppi(
    model: WorldModel, objective: Objective, config: MPPIConfig | None = None
) -> MPPI:
    """Plan by path integrals; see the module.

    Raises:
      ValueError: actions that no form of it fits.
    """
    return MPPI(model, objective, config or MBRL_LIB, space_of(model.spec))
