"""Planning by gradient: improve an action sequence by the model's own derivatives.

Adam ascends the objective from the plan of the step before; actions are put back into
the box after every step, and the best plan met is played. Where the objective is smooth
and has one top this needs far fewer rollouts than sampling; where it has many, it stays
on the nearest.

Sources: Henaff et al. 2017; Bharadhwaj et al. 2020, whose Adam it is. Nothing here was
published as settings to reproduce.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.ops.trees import where_rows
from wm.planners.sequences import (
    Objective,
    Space,
    evaluate,
    require,
    shifted,
    space_of,
)
from wm.types import Key, Params, Tree, WorldModel


@dataclasses.dataclass(frozen=True)
class GradientConfig:
    """Settings of planning by gradient; ours."""

    horizon: int = 20
    """Actions of a plan."""
    iterations: int = 10
    """Steps of Adam."""
    rate: float = 0.1
    """Step size, actions being in [-1, 1]."""
    samples: int = 1
    """Sequences improved at once: the plan of the step before, and random ones."""
    warm_start: bool = True
    """Begin with the plan of the step before, shifted, its last action repeated."""
    particles: int = 1
    """Rollouts per sequence, for models with chance."""

    def __post_init__(self):
        require(
            self,
            horizon=(self.horizon >= 1, "at least 1"),
            iterations=(self.iterations >= 1, "at least 1"),
            rate=(self.rate > 0, "positive"),
            samples=(self.samples >= 1, "at least 1"),
            particles=(self.particles >= 1, "at least 1"),
        )


class GradientPlanner(NamedTuple):
    """A policy over model states; built by `gradient`."""

    model: Any
    objective: Objective
    config: GradientConfig
    space: Space

    def start(self, params: Params, batch: int) -> jax.Array:
        """The middle of the box, `[B, H, F]`."""
        return self.space.blank(batch, self.config.horizon)

    def act(
        self, params: Params, key: Key, carry: jax.Array, x: Tree
    ) -> tuple[jax.Array, jax.Array, dict[str, Tree]]:
        """Plan from the model states `x`, and take the plan's first action."""
        config = self.config
        key_start, key_climb, key_score = jax.random.split(key, 3)
        B = carry.shape[0]
        center = carry if config.warm_start else jnp.zeros_like(carry)
        shape = (B, config.samples - 1, *carry.shape[1:])
        random = jax.random.uniform(key_start, shape, minval=-1.0)
        plans = jnp.concatenate([center[:, None], random], 1)
        optimizer = optax.adam(config.rate)
        value = jax.value_and_grad(self._total, has_aux=True)

        def climb(loop, key):
            plans, memory, best = loop
            (_, scores), slope = value(plans, params, key, x)
            best = better(best, plans, scores)
            # A rollout that diverged gives no direction.
            slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
            change, memory = optimizer.update(-slope, memory)
            moved: Any = optax.apply_updates(plans, change)
            return (jnp.clip(moved, -1.0, 1.0), memory, best), None

        best = Best(center, jnp.full(B, -jnp.inf))
        loop = (plans, optimizer.init(plans), best)
        keys = jax.random.split(key_climb, config.iterations)
        (plans, _, best), _ = jax.lax.scan(climb, loop, keys)
        _, scores = self._total(plans, params, key_score, x)
        plan = better(best, plans, scores).plan
        return shifted(plan, plan[:, -1:]), self.space.pick(plan, None), {}

    def _total(self, plans: jax.Array, params: Params, key: Key, x: Tree):
        """Sum over rows and sequences, none of which depends on another; and scores."""
        actions, particles = self.space.playable(plans), self.config.particles
        scores = evaluate(
            self.model, self.objective, params, key, x, actions, particles
        )
        return jnp.where(jnp.isfinite(scores), scores, 0.0).sum(), scores


class Best(NamedTuple):
    """The best plan met so far."""

    plan: jax.Array
    """`[B, H, F]`."""
    score: jax.Array
    """`[B]`."""


def better(best: Best, plans: jax.Array, scores: jax.Array) -> Best:
    """The best of `best` and `plans` `[B, N, H, F]`; where equal, the newer."""
    index = jnp.argmax(scores, -1)
    rows = jnp.arange(len(index))
    new = Best(plans[rows, index], scores[rows, index])
    return where_rows((new.score >= best.score) & (new.score > -jnp.inf), new, best)


def gradient(
    model: WorldModel, objective: Objective, config: GradientConfig | None = None
) -> GradientPlanner:
    """Plan by gradient; see the module.

    Raises:
      ValueError: actions are classes, or nothing in a step of the model has a
        derivative by them.
    """
    space = space_of(model.spec)
    if model.spec.action.discrete:
        raise ValueError(
            f"planner must be cem, icem, mppi or shooting, got gradient: the actions "
            f"of {model.spec.name} are classes, which have no derivative"
        )
    if not differentiable(model):
        raise ValueError(
            f"planner must be cem, icem, mppi or shooting, got gradient: no reward or "
            f"state of {type(model).__name__} on {model.spec.name} has a derivative by "
            "the action"
        )
    return GradientPlanner(model, objective, config or GradientConfig(), space)


def differentiable(model: WorldModel) -> bool:
    """Whether a derivative by the action can reach a step's reward or state.

    Reads the traced program; computes nothing. A derivative that is zero everywhere by
    its numbers, not by the program, is not noticed.
    """
    spec = model.spec.action

    def tangents(action, direction):
        key = jax.random.key(0)
        params = model.init(key)

        def step(action):
            state = model.start(params, 1)
            state, prediction = model.step(params, key, state, action)
            numbers = jax.tree.leaves((state, prediction))
            real = lambda x: jnp.issubdtype(x.dtype, jnp.floating)
            return [x for x in numbers if real(x)]

        return jax.jvp(step, (action,), (direction,))[1]

    zeros = jnp.zeros((1, *spec.shape))
    program: Any = jax.make_jaxpr(tangents)(zeros, zeros).jaxpr
    reached = {program.invars[1]}
    known = lambda x: not hasattr(x, "val") and x in reached
    for equation in program.eqns:
        if any(known(x) for x in equation.invars):
            reached |= set(equation.outvars)
    return any(known(x) for x in program.outvars)
