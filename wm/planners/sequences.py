"""What planners over action sequences share: scoring them, drawing them, fitting them.

A plan is the distribution of a sequence of H actions: a normal per step and number
(`Box`), or classes with probabilities (`Classes`). Both are written as (center, spread)
and drawn from the same normal noise, so a planner does not know which it has.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy import special

from wm.imagine import Draws, imagine
from wm.ops.noise import colored_normal, inverse_cdf
from wm.types import ArraySpec, EnvSpec, Key, Params, Trajectory, Tree, WorldModel

Objective = Callable[[Params, Key, Trajectory, Tree], jax.Array]
"""`(params, key, trajectory [H, B, …], last state) -> f32 [B]`, to be maximised."""


def discounted(
    gamma: float = 1.0, value: Callable[[Params, Tree], jax.Array] | None = None
) -> Objective:
    """Σ γᵗ r_t up to the end of the episode, plus γᴴ value(params, last state).

    Args:
      gamma: discount per step.
      value: f32 `[B]` of the state after the last action; None counts nothing.
    """

    def objective(params: Params, key: Key, trajectory: Trajectory, last: Tree):
        discount = gamma * jnp.abs(trajectory.discount)
        alive = jnp.cumprod(discount, 0)
        before = jnp.concatenate([jnp.ones_like(alive[:1]), alive[:-1]])
        total = (before * trajectory.reward).sum(0)
        return total if value is None else total + alive[-1] * value(params, last)

    return objective


class Given(NamedTuple):
    """A policy that plays the noise it is handed: the actions of a plan."""

    def start(self, params: Params, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(self, params: Params, key: Any, carry: tuple, x: Tree):
        """`key` is the action."""
        return carry, key, {}


def evaluate(
    model: WorldModel,
    objective: Objective,
    params: Params,
    key: Key,
    state: Tree,
    actions: jax.Array,
    particles: int,
) -> jax.Array:
    """Score of every candidate, f32 `[B, N]`: the mean over its particles.

    A candidate with a particle that is NaN or infinite, or whose first action is
    illegal, scores −inf and so ranks last; the rule comes before the mean.

    Args:
      model: steps rows independently.
      objective: see `Objective`.
      params: whole tree.
      key: consumed.
      state: where to start, leaves `[B, …]`.
      actions: `[B, N, H, …]`.
      particles: rollouts per candidate.
    """
    B, N, H = actions.shape[:3]
    rows = jax.tree.map(lambda x: jnp.repeat(x, N * particles, 0), state)
    played = jnp.repeat(actions, particles, 1)
    played = played.reshape(B * N * particles, *actions.shape[2:]).swapaxes(0, 1)
    key_model, key_objective = jax.random.split(key)
    draws = Draws(policy=played, model=jax.random.split(key_model, H))
    last, _, trajectory = imagine(model, Given(), params, draws, rows, (), H)
    scores = objective(params, key_objective, trajectory, last)
    scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
    scores = scores.reshape(B, N, particles).mean(-1)
    legal = legal_now(model, params, state)
    if legal is None:
        return scores
    first = jnp.take_along_axis(legal, actions[:, :, 0], 1)
    return jnp.where(first, scores, -jnp.inf)


def legal_now(model: WorldModel, params: Params, state: Tree) -> jax.Array | None:
    """bool `[B, A]`, or None where everything always is."""
    if not model.spec.legal:
        return None
    legal: Any = getattr(model, "legal", None)
    return None if legal is None else legal(params, state)


class Moments(NamedTuple):
    """A distribution of action sequences."""

    center: jax.Array
    """Means `[B, H, F]` of a box; probabilities `[B, H, F, A]` of classes."""
    spread: jax.Array
    """Variances `[B, H, F]` of a box; of classes as `center`, less each one squared."""


@dataclasses.dataclass(frozen=True)
class Box:
    """Sequences of F numbers in [-1, 1], each normal around its center."""

    spec: ArraySpec

    @property
    def size(self) -> int:
        """Numbers of one action."""
        return math.prod(self.spec.shape)

    def blank(self, batch: int, horizon: int) -> jax.Array:
        """The middle of the box, as `center`."""
        return jnp.zeros((batch, horizon, self.size))

    def around(self, center: jax.Array, width: float) -> Moments:
        """Wide open around a center: the standard deviation is `width`."""
        return Moments(center, jnp.full_like(center, width**2))

    def draw(self, moments: Moments, noise: jax.Array, truncate: bool) -> jax.Array:
        """Sequences `[B, N, H, F]` from normals of that shape.

        Args:
          moments: of all rows.
          noise: standard normals.
          truncate: cut the normals at two standard deviations, and those where the
            bounds are: nothing is clipped (PETS). Else clip.
        """
        center, deviation = moments.center[:, None], jnp.sqrt(moments.spread)[:, None]
        if not truncate:
            return jnp.clip(center + deviation * noise, -1.0, 1.0)
        near = 0.5 * (1 - jnp.abs(center))
        deviation = jnp.minimum(deviation, near)
        tail = special.ndtr(-2.0)
        cut = special.ndtri(tail + (1 - 2 * tail) * special.ndtr(noise))
        return center + deviation * cut

    def uniform(self, noise: jax.Array) -> jax.Array:
        """Sequences `[B, N, H, F]`, all equally likely, from uniforms."""
        return 2 * noise - 1

    def fit(self, actions: jax.Array, weights: jax.Array) -> Moments:
        """Weighted moments of `actions` `[B, K, H, F]`; `weights` `[B, K]` add to 1."""
        center = jnp.einsum("bk,bkhf->bhf", weights, actions)
        square = jnp.square(actions - center[:, None])
        return Moments(center, jnp.einsum("bk,bkhf->bhf", weights, square))

    def pick(self, center: jax.Array, legal: jax.Array | None) -> jax.Array:
        """The center's first action, `[B, …]` as environments take it."""
        return self.playable(center[:, 0])

    def playable(self, actions: jax.Array) -> jax.Array:
        """`[…, F]` in the shape of the spec."""
        return actions.reshape(*actions.shape[:-1], *self.spec.shape)


@dataclasses.dataclass(frozen=True)
class Classes:
    """Sequences of F class indices, each with its own probabilities."""

    spec: ArraySpec

    @property
    def size(self) -> int:
        """Indices of one action."""
        return math.prod(self.spec.shape)

    @property
    def classes(self) -> int:
        """Values of an index."""
        return self.spec.classes or 1

    def blank(self, batch: int, horizon: int) -> jax.Array:
        """All equally likely."""
        shape = (batch, horizon, self.size, self.classes)
        return jnp.full(shape, 1 / self.classes, jnp.float32)

    def around(self, center: jax.Array, width: float) -> Moments:
        """Probabilities with a share of `width`, at most 1, for the uniform ones."""
        share = min(width, 1.0)
        return moments_of((1 - share) * center + share / self.classes)

    def draw(self, moments: Moments, noise: jax.Array, truncate: bool) -> jax.Array:
        """Indices i32 `[B, N, H, F]` from normals of that shape, by inverting the
        distribution function: normals that hang together in time repeat classes."""
        logits = jnp.log(jnp.maximum(moments.center[:, None], 1e-30))
        logits = jnp.broadcast_to(logits, (*noise.shape, self.classes))
        return inverse_cdf(jnp.minimum(special.ndtr(noise), 1 - 1e-7), logits, 0.0)

    def uniform(self, noise: jax.Array) -> jax.Array:
        """Indices, all equally likely, from uniforms."""
        return jnp.floor(noise * self.classes).astype(jnp.int32)

    def fit(self, actions: jax.Array, weights: jax.Array) -> Moments:
        """Weighted frequencies of `actions` `[B, K, H, F]`."""
        hot = jax.nn.one_hot(actions, self.classes)
        return moments_of(jnp.einsum("bk,bkhfa->bhfa", weights, hot))

    def pick(self, center: jax.Array, legal: jax.Array | None) -> jax.Array:
        """The likeliest legal first action, i32 `[B, …]`."""
        first = center[:, 0]
        if legal is not None:
            first = jnp.where(legal[:, None], first, -1.0)
        return self.playable(jnp.argmax(first, -1).astype(jnp.int32))

    def playable(self, actions: jax.Array) -> jax.Array:
        """`[…, F]` in the shape of the spec."""
        return actions.reshape(*actions.shape[:-1], *self.spec.shape)


Space = Box | Classes


def moments_of(probabilities: jax.Array) -> Moments:
    """Moments of one-hot vectors."""
    return Moments(probabilities, probabilities * (1 - probabilities))


def space_of(spec: EnvSpec) -> Space:
    """The form of plan that fits an environment's actions.

    Raises:
      ValueError: two players, for whom a sequence of one's own actions is no plan; or
        masks of legal actions for more than one index.
    """
    if spec.players != 1:
        raise ValueError(
            f"players must be 1 to plan by action sequences, got {spec.players} "
            f"({spec.name}); search a tree instead"
        )
    if not spec.action.discrete:
        return Box(spec.action)
    if spec.legal and spec.action.shape:
        raise ValueError(
            f"action must be a single index where legal ones are masked, got shape "
            f"{spec.action.shape} ({spec.name})"
        )
    return Classes(spec.action)


def normals(key: Key, shape: tuple[int, ...], beta: float) -> jax.Array:
    """Normals `[B, N, H, F]`, over time with power frequency^−beta."""
    B, N, H, F = shape
    if beta == 0:
        return jax.random.normal(key, shape)
    return jnp.swapaxes(colored_normal(key, (B, N, F, H), beta), 2, 3)


def shifted(plan: jax.Array, last: jax.Array, axis: int = 1) -> jax.Array:
    """A plan one step later: the first action is gone, `last` follows the others."""
    rest = jax.lax.slice_in_dim(plan, 1, None, axis=axis)
    return jnp.concatenate([rest, last], axis)


def require(config: Any, **conditions: tuple[bool, str]) -> None:
    """Complain about the first field whose condition does not hold.

    Raises:
      ValueError: naming the field, what is allowed, and what was given.
    """
    for field, (holds, allowed) in conditions.items():
        if not holds:
            got = getattr(config, field)
            raise ValueError(f"{field} must be {allowed}, got {got}")
