"""Policies of PILCO: a function of what is seen, squashed, with exact moments.

`rbf` is the mean of a Gaussian process whose points, targets and lengths are what is
learned; its signal is 1 and its noise 0.01, both fixed. It is a function, without the
uncertainty of the process. `linear` is W x + b. Either goes through
(9 sin x + sin 3x) / 8, so that actions stay in [-1, 1].

Source: UCL-SML/pilco-matlab a0b48b7 (`congp.m`, `conlin.m`, `conCat.m`, settings).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from wm.errors import UserError
from wm.models.gp import Command, GPModel
from wm.models.gp_fit import differences
from wm.ops import moments
from wm.ops.moments import Gaussian, Image, Regression
from wm.types import Key, Params, Tree

NOISE = 0.01
"""Of the process that is the policy (`congp.m`)."""
JITTER = 1e-6
"""Added to the variances of its value (`gp2.m`)."""


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """Form of the policy."""

    form: str = "rbf"
    """rbf or linear."""
    basis: int = 20
    """Points of an rbf policy (pendulum 20, cart-pole 10)."""

    def __post_init__(self):
        if self.form not in ("rbf", "linear"):
            raise UserError(
                f"--agent.policy.form must be rbf or linear, got {self.form}"
            )
        if self.basis < 1:
            raise UserError(
                f"--agent.policy.basis must be at least 1, got {self.basis}"
            )


class MomentPolicy:
    """A `Policy` over Gaussian states, and over observations; params in "policy"."""

    def __init__(self, model: GPModel, config: PolicyConfig):
        self.model, self.config = model, config
        self.actions = model.spec.action.shape[0]

    def init(self, key: Key, begin: Gaussian) -> Params:
        """Points drawn from where episodes begin, targets near 0.

        Args:
          key: consumed.
          begin: of observations.
        """
        key_point, key_target = jax.random.split(key)
        seen, F = self.model.seen, self.actions
        dtype = begin.mean.dtype
        # Double draws cannot be lowered outside of the context (jax 0.10).
        normal = lambda key, shape: jax.random.normal(key, shape, jnp.float32).astype(
            dtype
        )
        if self.config.form == "linear":
            matrix = 0.1 * normal(key_target, (F, len(seen)))
            return {"matrix": matrix, "offset": jnp.zeros(F, dtype)}
        features, shape = moments.part(self.model.widened(begin), seen), self.config
        root = jnp.linalg.cholesky(features.cov + JITTER * jnp.eye(len(seen)))
        drawn = normal(key_point, (shape.basis, len(seen)))
        # 1, and 0.7 for sines and cosines (`settings_cp.m`).
        lengths = np.where(np.array(seen) < self.model.size, 1.0, 0.7)
        return {
            "points": features.mean + drawn @ root.T,
            "targets": 0.1 * normal(key_target, (shape.basis, F)),
            "lengths": jnp.asarray(np.log(np.tile(lengths, (F, 1))), dtype),
        }

    def start(self, params: Params, batch: int) -> Tree:
        """Nothing is remembered."""
        return ()

    def act(
        self, params: Params, key: Key, carry: Tree, x: Gaussian
    ) -> tuple[Tree, Command, dict[str, Tree]]:
        """The command of each row's belief."""
        policy = self.prepared(params["policy"])
        return carry, jax.vmap(lambda state: self.command(policy, state))(x), {}

    def prepared(self, policy: Params) -> Params:
        """Params with the process solved, where there is one."""
        if self.config.form == "linear" or "process" in policy:
            return policy
        return {**policy, "process": process(policy)}

    def solved(self, policy: Params) -> Params:
        """What is learned, and `beta` of the process, which acting in single precision
        needs; solve in double."""
        known = learned(policy)
        if self.config.form == "linear":
            return known
        return {**known, "beta": process(policy).beta}

    def command(self, policy: Params, state: Gaussian) -> Command:
        """Of one row."""
        wide = self.model.widened(state)
        features = moments.part(wide, self.model.seen)
        inner = self.inner(policy, features)
        image = moments.after(inner, moments.squash(inner.gaussian))
        cross = wide.cov[:, np.array(self.model.seen)] @ image.gain
        return Command(image.mean, image.cov, cross)

    def inner(self, policy: Params, features: Gaussian) -> Image:
        """Before the squash."""
        if self.config.form == "linear":
            return moments.affine(features, policy["matrix"], policy["offset"])
        image = moments.through_gp(features, policy["process"])
        return image._replace(cov=image.cov + JITTER * jnp.eye(self.actions))

    def certain(self, policy: Params, observation: jax.Array) -> jax.Array:
        """The action in observations `[B, D]`, `[B, F]`, of a policy that is `solved`.

        In any precision: no system is solved here.
        """
        x = self.model.features(observation)
        if self.config.form == "linear":
            return moments.squashed(x @ policy["matrix"].T + policy["offset"])
        square = jnp.square(x[:, None] - policy["points"])
        weights = jnp.exp(-2 * clipped(policy["lengths"]))
        near = jnp.exp(-0.5 * jnp.einsum("bnd,fd->bnf", square, weights))
        return moments.squashed(jnp.einsum("bnf,fn->bf", near, policy["beta"]))


def learned(policy: Params) -> Params:
    """What gradients change: all but `beta`."""
    return {name: x for name, x in policy.items() if name != "beta"}


def clipped(lengths: jax.Array) -> jax.Array:
    """A wild step of the line search stays where exponentials are finite."""
    return jnp.clip(lengths, -7.0, 7.0)


def process(policy: Params) -> Regression:
    """The process whose mean an rbf policy is."""
    points = policy["points"]
    square, eye = differences(points), jnp.eye(points.shape[0])

    def one(lengths, targets):
        near = jnp.exp(-0.5 * jnp.tensordot(jnp.exp(-2 * lengths), square, 1))
        half = jax.scipy.linalg.cho_factor(near + NOISE**2 * eye)
        return jax.scipy.linalg.cho_solve(half, targets)

    lengths = clipped(policy["lengths"])
    beta = jax.vmap(one)(lengths, policy["targets"].T)
    ones = jnp.ones(lengths.shape[0], points.dtype)
    return Regression(points, jnp.exp(lengths), ones, beta, None)
