"""Gaussian processes as a world model whose states are Gaussians.

One process per entry of the observation predicts its change from (observation with
each angle as sine and cosine, action). A state is what is believed of the observation,
a mean and a covariance; a step is exact moment matching (`ops.moments`), so that the
uncertainty of the model is part of what comes next. Actions are vectors, or `Command`s:
what a policy does in an uncertain state, and how that moves with the state.

Sources: Deisenroth & Rasmussen 2011; UCL-SML/pilco-matlab a0b48b7 (`propagated.m`,
`loss_cp.m`). The reward is minus the expected saturating cost of the state after the
step. Differs: no bonus on the cost's deviation (`expl`, which is 0 in the scenarios).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.errors import UserError
from wm.models import gp_fit
from wm.models.spaces import vector_size
from wm.ops import moments
from wm.ops.moments import Gaussian, Regression
from wm.types import Belief, EnvSpec, Key, Params, Prediction, TimeStep

ROWS = 8
"""Beliefs that are stepped at once."""


@dataclasses.dataclass(frozen=True)
class GPConfig:
    """Settings of the processes and of the cost. Defaults: any task, to the origin."""

    angles: tuple[int, ...] = ()
    """Entries of the observation that are angles: sine and cosine are seen instead."""
    target: tuple[float, ...] = ()
    """The observation to reach; unset: the origin."""
    distance: tuple[float, ...] = ()
    """Rows of the matrix C one after the other, each over (observation, sine and cosine
    of each angle); the cost is 1 − exp(−½ |C (x − target)|² / width²). Unset: the
    plain distance, of angles on the circle."""
    width: float = 0.5
    """Of the cost, in units of the distance (pendulum 0.5, cart-pole 0.25)."""
    points: int = 440
    """Transitions that the processes have room for; of more, the newest count. Work
    grows with its square, evidence with its cube, from the first trial on."""
    iterations: int = 300
    """Line searches per fit and process, at most (code: 300)."""
    propagation: str = "moments"
    """moments; or mean: certainty equivalence, every covariance replaced by 1e-8."""

    def __post_init__(self):
        for name in ("points", "iterations"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"--agent.model.{name} must be at least 1, "
                    f"got {getattr(self, name)}"
                )
        if not self.width > 0:
            raise UserError(f"--agent.model.width must be above 0, got {self.width}")
        if self.propagation not in ("moments", "mean"):
            raise UserError(
                "--agent.model.propagation must be moments or mean, "
                f"got {self.propagation}"
            )


class Command(NamedTuple):
    """Actions of an uncertain state."""

    mean: jax.Array
    """`[B, F]`."""
    cov: jax.Array
    """`[B, F, F]`."""
    cross: jax.Array
    """Covariance with (observation, sine and cosine of each angle), `[B, W, F]`."""


class GPModel:
    """The processes as a `WorldModel`; states `Gaussian(mean [B, D], cov [B, D, D])`.

    Params `{"model": …}` hold the data, `x` `[N, inputs]`, `y` `[N, D]`, `mask` `[N]`,
    and logs of (lengths, σ_f, σ_n), `hyper` `[D, inputs + 2]`. With a
    `"posterior"` beside them (`prepared`) steps need no decomposition.
    """

    def __init__(self, spec: EnvSpec, config: GPConfig | None = None):
        """For observations that are one vector and continuous actions.

        Raises:
          UserError: other spaces, an angle that does not exist, or a target or distance
            of another size.
        """
        self.spec, self.config = spec, config or GPConfig()
        self.size = vector_size(spec, "Gaussian processes", "classic/pendulum_swingup")
        cfg, D = self.config, self.size
        if any(not 0 <= i < D for i in cfg.angles):
            raise UserError(
                f"--agent.model.angles must be in [0, {D - 1}], got {cfg.angles}"
            )
        if len(cfg.target) not in (0, D):
            raise UserError(
                f"--agent.model.target must have {D} entries (observation) or none, "
                f"got {len(cfg.target)}"
            )
        if len(cfg.distance) % self.wide:
            raise UserError(
                f"--agent.model.distance must have rows of {self.wide} entries "
                f"(observation, sines and cosines), got {len(cfg.distance)} in all"
            )

    @property
    def wide(self) -> int:
        """Entries of an observation with sines and cosines."""
        return self.size + 2 * len(self.config.angles)

    @property
    def seen(self) -> tuple[int, ...]:
        """Of those, the ones that processes and policies see: no plain angles."""
        return tuple(i for i in range(self.wide) if i not in self.config.angles)

    @property
    def inputs(self) -> int:
        """Entries of what the processes see."""
        return len(self.seen) + self.spec.action.shape[0]

    def init(self, key: Key) -> Params:
        """No data: the prior, of unit size."""
        N, D = self.config.points, self.size
        hyper = jnp.zeros((D, self.inputs + 2)).at[:, -1].set(np.log(0.1))
        model = {
            "x": jnp.zeros((N, self.inputs)),
            "y": jnp.zeros((N, D)),
            "mask": jnp.zeros(N, bool),
            "hyper": hyper,
        }
        return {"model": model}

    def start(self, params: Params, batch: int) -> Gaussian:
        """The origin, for certain."""
        D = self.size
        return Gaussian(jnp.zeros((batch, D)), jnp.zeros((batch, D, D)))

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """Unchanged."""
        return timestep

    def observe(
        self,
        params: Params,
        key: Key,
        state: Gaussian,
        action: jax.Array,
        evidence: TimeStep,
    ) -> Gaussian:
        """What is seen, for certain: whatever was believed before."""
        mean = evidence.observation.astype(state.mean.dtype)
        return Gaussian(mean, jnp.zeros_like(state.cov))

    def decode(self, params: Params, state: Gaussian) -> jax.Array:
        """The mean."""
        return state.mean

    def step(
        self, params: Params, key: Key, state: Gaussian, action: jax.Array | Command
    ) -> tuple[Gaussian, Prediction]:
        """The belief after an action; no chance is in it, and no end.

        Computes in double precision and answers in that of `state`. Its gradient
        computes the step again: of a rollout only the states are kept.
        """
        dtype = state.mean.dtype
        with jax.enable_x64(True):
            as_double = lambda tree: jax.tree.map(_double, tree)
            gp = self.prepared(as_double(params))["model"]["posterior"]
            state, action = as_double(state), self.command(as_double(action))
            # A few rows at once: a row takes [N, N] for every pair of processes.
            follow = jax.checkpoint(lambda row: self.follow(gp, *row))
            after, cost = jax.lax.map(follow, (state, action), batch_size=ROWS)
            to_own = lambda x: x.astype(dtype)
            reward, after = to_own(-cost), jax.tree.map(to_own, after)
            return after, Prediction(reward, jnp.ones_like(reward))

    def predictive(
        self, params: Params, state: Gaussian, action: jax.Array | Command
    ) -> Belief:
        """The belief after an action, and the noise of what is then seen."""
        after, _ = self.step(params, None, state, action)
        noise = jnp.exp(2 * params["model"]["hyper"][:, -1]).astype(after.mean.dtype)
        return Belief(after.mean, jnp.diagonal(after.cov, axis1=1, axis2=2) + noise)

    def prepared(self, params: Params) -> Params:
        """Params with what prediction needs of the data."""
        model = params["model"]
        if "posterior" in model:
            return params
        return {**params, "model": {**model, "posterior": gp_fit.posterior(model)}}

    def command(self, action: jax.Array | Command) -> Command:
        """Actions in [-1, 1] that are certain, as commands; commands as they are."""
        if isinstance(action, Command):
            return action
        B, F = action.shape
        zeros = lambda *shape: jnp.zeros((B, *shape), action.dtype)
        return Command(jnp.clip(action, -1, 1), zeros(F, F), zeros(self.wide, F))

    def follow(
        self, gp: Regression, state: Gaussian, action: Command
    ) -> tuple[Gaussian, jax.Array]:
        """One row of `step`: the belief after it, and its expected cost."""
        D, F = self.size, action.mean.shape[0]
        wide = self.widened(state)
        cov = jnp.block([[wide.cov, action.cross], [action.cross.T, action.cov]])
        with_action = Gaussian(jnp.concatenate([wide.mean, action.mean]), cov)
        inputs = (*self.seen, *range(self.wide, self.wide + F))
        change = moments.through_gp(moments.part(with_action, inputs), gp)
        cross = cov[:D][:, np.array(inputs)] @ change.gain
        after = state.cov + change.cov + cross + cross.T
        after = 0.5 * (after + after.T)
        if self.config.propagation == "mean":
            after = 1e-8 * jnp.eye(D)
        belief = Gaussian(state.mean + change.mean, after)
        return belief, self.cost(belief)[0]

    def widened(self, state: Gaussian) -> Gaussian:
        """One row with sine and cosine of each angle."""
        angles = self.config.angles
        if not angles:
            return state
        return moments.joined(state, moments.circle(state, angles))

    def features(self, observation: jax.Array) -> jax.Array:
        """What processes and policies see of observations `[…, D]`, for certain."""
        turned = observation[..., np.array(self.config.angles, int)]
        pairs = jnp.stack([jnp.sin(turned), jnp.cos(turned)], -1)
        pairs = pairs.reshape(*observation.shape[:-1], -1)
        wide = jnp.concatenate([observation, pairs], -1)
        return wide[..., np.array(self.seen)]

    def cost(self, state: Gaussian) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of one row's cost."""
        cfg = self.config
        target = np.array(cfg.target or (0.0,) * self.size)
        turned = target[np.array(cfg.angles, int)]
        pairs = np.stack([np.sin(turned), np.cos(turned)], -1).reshape(-1)
        plain = np.eye(self.wide)[np.array(self.seen)]
        rows = np.array(cfg.distance).reshape(-1, self.wide) if cfg.distance else plain
        rows = rows / cfg.width
        offset = -rows @ np.concatenate([target, pairs])
        distance = moments.affine(
            self.widened(state), jnp.asarray(rows), jnp.asarray(offset)
        )
        return moments.saturating_cost(distance.gaussian)


def _double(x):
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x
