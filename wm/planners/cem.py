"""The cross-entropy method over action sequences, and iCEM as options of it.

Draw sequences, score them in the model, refit the distribution to the best, repeat.
PETS' form cuts normals so that no bound is crossed and executes the mean; iCEM adds
noise that hangs together in time, fewer samples per round, a memory of good sequences
within and between environment steps, and executes the best sequence found.

Sources: Chua et al. 2018 (PETS), kchua/handful-of-trials 77fd880,
`misc/optimizers/cem.py`; Pinneri et al. 2020 (iCEM), martius-lab/iCEM 98c1c1f,
`controllers/icem.py`; Hafner et al. 2019 (PlaNet). Differs:

- iCEM smooths standard deviations; here variances are, in every form.
- Sequences kept from the round before are scored again, not remembered with their
  score: where the model draws chance, a lucky score does not stay.
- Rounds with fewer samples score as many and give the surplus −inf, so that all rounds
  are one loop (1.24 times the rollouts of iCEM's 40, 32, 25).
- Rows that PETS would stop early are frozen; the others go on.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from wm.ops.trees import where_rows
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
class CEMConfig:
    """Settings of CEM. Defaults: PETS (cart-pole)."""

    horizon: int = 25
    """Actions of a plan (PETS 25; iCEM 30; PlaNet 12)."""
    samples: int = 400
    """Sequences drawn in the first round (PETS 400; iCEM 40; PlaNet 1000)."""
    elites: int = 40
    """Best sequences, to which the next round is fitted (PETS 40; iCEM 10; PlaNet
    100)."""
    iterations: int = 5
    """Rounds (PETS 5; iCEM 3; PlaNet 10)."""
    smoothing: float = 0.1
    """Weight of the old moments when refitting (PETS, iCEM 0.1; PlaNet 0)."""
    spread: float = 0.5
    """Standard deviation at the start of every step, in [-1, 1] (PETS, iCEM 0.5; PlaNet
    1); of classes the share of uniform probabilities."""
    bounds: Literal["truncate", "clip"] = "truncate"
    """Cut normals inside the bounds (PETS), or clip samples (iCEM, PlaNet)."""
    least_variance: float = 0.001
    """A row stops where its greatest variance is no more (PETS 0.001; others 0)."""
    beta: float = 0.0
    """Power of noise over frequency f is f^−beta; 0 is white (PETS, PlaNet 0; iCEM 0.25
    to 3.5 by task)."""
    decay: float = 1.0
    """Each round has samples / decay of the one before, at least 2 elites (iCEM
    1.25)."""
    reuse: float = 0.0
    """Share of the elites kept for the next round, and, shifted, for the next step
    (iCEM 0.3)."""
    try_mean: bool = False
    """The mean is a sample of the last round (iCEM)."""
    execute: Literal["mean", "best"] = "mean"
    """The mean's first action (PETS, PlaNet), or the best sequence's (iCEM)."""
    warm_start: bool = True
    """Begin with the plan of the step before, shifted by one (PlaNet: no)."""
    repeat_last: bool = False
    """A shifted plan ends with its last action again (iCEM), not with the middle of the
    box (PETS)."""
    particles: int = 1
    """Rollouts per sequence, for models with chance (PETS: 20)."""
    select: Literal["best", "random"] = "best"
    """For ablation: elites drawn at random."""

    def __post_init__(self):
        require(
            self,
            horizon=(self.horizon >= 1, "at least 1"),
            samples=(self.samples >= 1, "at least 1"),
            elites=(1 <= self.elites <= self.samples, "in [1, samples]"),
            iterations=(self.iterations >= 1, "at least 1"),
            smoothing=(0 <= self.smoothing < 1, "in [0, 1)"),
            spread=(self.spread > 0, "positive"),
            least_variance=(self.least_variance >= 0, "at least 0"),
            beta=(self.beta >= 0, "at least 0"),
            bounds=(self.bounds in ("truncate", "clip"), "truncate or clip"),
            execute=(self.execute in ("mean", "best"), "mean or best"),
            select=(self.select in ("best", "random"), "best or random"),
            decay=(self.decay >= 1, "at least 1"),
            reuse=(0 <= self.reuse <= 1, "in [0, 1]"),
            particles=(self.particles >= 1, "at least 1"),
        )

    @property
    def kept(self) -> int:
        """Sequences that outlive a round."""
        return int(self.elites * self.reuse)

    def sizes(self) -> list[int]:
        """Samples of every round."""
        least, found = min(2 * self.elites, self.samples), [self.samples]
        while len(found) < self.iterations:
            found.append(max(least, int(found[-1] / self.decay)))
        return found


PETS = CEMConfig()
ICEM = CEMConfig(**published.ICEM)
"""iCEM with its smallest budget ("blitz"); `beta` is 0.25, 2, 2.5, 3, 3.5 by task."""
PLANET = CEMConfig(**published.PLANET)
"""PlaNet: no memory between steps."""


class Memory(NamedTuple):
    """What one environment step leaves to the next."""

    center: jax.Array
    """Of the plan, shifted: `[B, H, F]`, of classes `[B, H, F, A]`."""
    kept: jax.Array
    """Good sequences, not shifted yet, `[B, R, H, F]`."""
    known: jax.Array
    """bool `[B]`: `kept` holds something."""


class Round(NamedTuple):
    """Carried from round to round."""

    moments: Moments
    kept: jax.Array
    known: jax.Array
    best: jax.Array
    """Best sequence of this round, `[B, H, F]`."""


class CEM(NamedTuple):
    """A policy over model states; built by `cem`."""

    model: Any
    objective: Objective
    config: CEMConfig
    space: Space

    def start(self, params: Params, batch: int) -> Memory:
        """Nothing planned yet."""
        config, size = self.config, self.space.size
        kept = jnp.zeros((batch, config.kept, config.horizon, size))
        return Memory(
            center=self.space.blank(batch, config.horizon),
            kept=kept.astype(self.space.spec.dtype),
            known=jnp.zeros(batch, bool),
        )

    def act(
        self, params: Params, key: Key, carry: Memory, x: Tree
    ) -> tuple[Memory, jax.Array, dict[str, Tree]]:
        """Plan from the model states `x`, and take the plan's first action."""
        config = self.config
        key_fresh, key_rounds = jax.random.split(key)
        B = carry.known.shape[0]
        center = carry.center
        if not config.warm_start:
            center = self.space.blank(B, config.horizon)
        moments = self.space.around(center, config.spread)
        loop = Round(
            moments=moments,
            kept=self._aged(key_fresh, moments, carry.kept),
            known=carry.known & config.warm_start,
            best=jnp.zeros((B, *self._shape(B, 1)[2:]), self.space.spec.dtype),
        )
        keys = jax.random.split(key_rounds, config.iterations)
        sizes = jnp.array(config.sizes())
        final = jnp.arange(config.iterations) == config.iterations - 1
        body = lambda loop, now: (self._round(params, x, loop, *now), None)
        loop, _ = jax.lax.scan(body, loop, (keys, sizes, final))
        center = loop.moments.center
        if config.execute == "best":
            action = self.space.playable(loop.best[:, 0])
        else:
            action = self.space.pick(center, legal_now(self.model, params, x))
        last = center[:, -1:]
        if not config.repeat_last:
            last = self.space.blank(center.shape[0], 1)
        return Memory(shifted(center, last), loop.kept, loop.known), action, {}

    def _shape(self, batch: int, count: int) -> tuple[int, int, int, int]:
        return batch, count, self.config.horizon, self.space.size

    def _aged(self, key: Key, moments: Moments, kept: jax.Array) -> jax.Array:
        """Sequences kept from the step before, shifted, with a fresh last action."""
        B, R = kept.shape[:2]
        if R == 0:
            return kept
        noise = normals(key, self._shape(B, R), self.config.beta)
        fresh = self.space.draw(moments, noise, self.config.bounds == "truncate")
        return shifted(kept, fresh[:, :, -1:], 2)

    def _round(
        self, params: Params, state: Tree, loop: Round, key: Key, size, final
    ) -> Round:
        """Draw, score, refit."""
        config, N = self.config, self.config.samples
        key_draw, key_score, key_pick = jax.random.split(key, 3)
        B, R = loop.kept.shape[:2]
        noise = normals(key_draw, self._shape(B, N), config.beta)
        drawn = self.space.draw(loop.moments, noise, config.bounds == "truncate")
        if config.try_mean:
            drawn = jnp.where(final, self._with_mean(drawn, loop.moments), drawn)
        candidates = jnp.concatenate([drawn, loop.kept], 1)
        scores = evaluate(
            self.model,
            self.objective,
            params,
            key_score,
            state,
            self.space.playable(candidates),
            config.particles,
        )
        usable = jnp.broadcast_to(jnp.arange(N) < size, (B, N))
        usable = jnp.concatenate(
            [usable, jnp.broadcast_to(loop.known[:, None], (B, R))], 1
        )
        scores = jnp.where(usable, scores, -jnp.inf)
        rank = scores
        if config.select == "random":
            rank = jnp.where(usable, jax.random.uniform(key_pick, scores.shape), -1.0)
        _, index = jax.lax.top_k(rank, config.elites)
        elites = jnp.take_along_axis(candidates, index[:, :, None, None], 1)
        weights = jnp.full(index.shape, 1 / config.elites)
        blend = lambda old, new: config.smoothing * old + (1 - config.smoothing) * new
        fitted = self.space.fit(elites, weights)
        new = Round(
            moments=Moments(*map(blend, loop.moments, fitted)),
            kept=elites[:, :R],
            known=jnp.ones(B, bool),
            best=elites[:, 0],
        )
        spread = loop.moments.spread.reshape(B, -1)
        return where_rows(spread.max(-1) > config.least_variance, new, loop)

    def _with_mean(self, drawn: jax.Array, moments: Moments) -> jax.Array:
        """The first sample replaced by the likeliest sequence."""
        center = moments.center
        if center.ndim == 4:
            center = jnp.argmax(center, -1).astype(drawn.dtype)
        return drawn.at[:, 0].set(center)


def cem(
    model: WorldModel, objective: Objective, config: CEMConfig | None = None
) -> CEM:
    """Plan by the cross-entropy method.

    Args:
      model: any.
      objective: to be maximised, see `sequences.Objective`.
      config: `PETS` by default; `ICEM`, `PLANET`.

    Raises:
      ValueError: actions that no form of it fits.
    """
    return CEM(model, objective, config or PETS, space_of(model.spec))


def icem(
    model: WorldModel, objective: Objective, config: CEMConfig | None = None
) -> CEM:
    """`cem` with the settings of iCEM."""
    return cem(model, objective, config or ICEM)
