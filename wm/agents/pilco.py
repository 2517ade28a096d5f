"""PILCO: a policy learned in Gaussian processes whose uncertainty is propagated.

Deisenroth & Rasmussen 2011; Deisenroth, Fox & Rasmussen 2015; values and details from
the authors' code (UCL-SML/pilco-matlab a0b48b7). An episode with random actions, then:
fit one Gaussian process per entry of the observation to all transitions, optimise the
policy's parameters by L-BFGS on the expected cost of `horizon` steps under exact moment
matching, play an episode by the policy, repeat.

Differs: episodes are as noisy as the environment is (the authors' plant adds sensor
noise of 0.01 to 0.1 to what is seen); no sparse approximation beyond 300 points; L-BFGS
where the default of the code is BFGS; `restarts` beside the policy so far are ours, and
by default there are none. With several environments a fit sees all of their episodes.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.agents.pilco_policy import MomentPolicy, PolicyConfig, learned
from wm.errors import UserError
from wm.imagine import imagine
from wm.models import gp_fit
from wm.models.gp import GPConfig, GPModel
from wm.nodes import Node
from wm.ops.lbfgs import Minimum, minimize
from wm.ops.moments import Gaussian
from wm.types import Dataset, EnvSpec, Key, Metrics, Mode, Params, TimeStep, Tree


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of PILCO. Defaults: `settings_pendulum.m`, for any task."""

    model: GPConfig = dataclasses.field(default_factory=GPConfig)
    """The processes and the cost."""
    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    """The policy."""
    horizon: int = 40
    """Imagined steps over which the cost is summed (code: 40, an episode)."""
    begin: tuple[float, ...] = ()
    """Mean of the first observation; unset: zeros."""
    begin_std: float = 0.1
    """Standard deviation of each of its entries (code: 0.1)."""
    iterations: int = 75
    """Line searches per optimisation of the policy, at most; 0: the policy stays as
    drawn (pendulum 75, cart-pole 150)."""
    evaluations: int = 30
    """Of the expected cost per line search, at most (code: 30)."""
    restarts: int = 1
    """Policies optimised at once, of which the best stays: the one so far, the others
    drawn anew (code: 1)."""

    def __post_init__(self):
        least = {"horizon": 1, "iterations": 0, "evaluations": 1, "restarts": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value < low:
                raise UserError(f"--agent.{name} must be at least {low}, got {value}")
        if not self.begin_std > 0:
            raise UserError(f"--agent.begin_std must be above 0, got {self.begin_std}")


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": …, "policy": …}`, see `GPModel` and `MomentPolicy`."""
    fits: jax.Array
    """i32."""


class PILCO:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """For one vector of observations and continuous actions.

        Raises:
          UserError: other spaces, or a setting of another size.
        """
        self.spec, self.config = spec, config or Config()
        self.model = GPModel(spec, self.config.model)
        self.policy = MomentPolicy(self.model, self.config.policy)
        if len(self.config.begin) not in (0, self.model.size):
            raise UserError(
                f"--agent.begin must have {self.model.size} entries (observation) or "
                f"none, got {len(self.config.begin)}"
            )

    def init(self, key: Key) -> State:
        """No data, and a policy near 0."""
        with jax.enable_x64(True):
            drawn = self.policy.init(key, self.begin())
            policy = single(self.policy.solved(drawn))
        params = {**self.model.init(key), "policy": policy}
        return State(params, jnp.zeros((), jnp.int32))

    def begin(self) -> Gaussian:
        """The first observation, in the precision of the context."""
        D = self.model.size
        mean = jnp.asarray(np.array(self.config.begin or (0.0,) * D))
        return Gaussian(mean, jnp.square(self.config.begin_std) * jnp.eye(D))

    def actor(self, state: State) -> Params:
        """The policy."""
        return state.params["policy"]

    def start(self, actor: Params, batch: int) -> Tree:
        """Nothing is remembered."""
        return ()

    def act(
        self, actor: Params, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, Tree]]:
        """The policy's action; in `prefill` uniform ones."""
        if mode == "prefill":
            shape = (timestep.reward.shape[0], *self.spec.action.shape)
            return carry, jax.random.uniform(key, shape, minval=-1.0, maxval=1.0), {}
        # In single precision: within a `scan` under `vmap` no scope of another holds.
        return carry, self.policy.certain(actor, timestep.observation), {}

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """None: everything is learned in `fit`."""
        return {}

    def fit(self, state: State, key: Key, dataset: Dataset) -> tuple[State, Metrics]:
        """Fit the processes to everything collected so far, then the policy in them.

        In double precision throughout; what persists is rounded.
        """
        with jax.enable_x64(True):
            wide = double(state.params)
            model, loss = self.learn(wide["model"], state.fits, double(dataset))
            # What is imagined is what will be kept.
            model = double(single(model))
            found = self.improve(
                {"model": model}, learned(wide["policy"]), state.fits, key
            )
            metrics = {
                "model/loss": loss.mean(),
                "model/noise": jnp.exp(model["hyper"][:, -1]).mean(),
                "model/points": model["mask"].sum(),
                "plan/cost": found.value,
                "plan/iterations": found.iterations,
            }
            policy = self.policy.solved(found.point)
            params = single({"model": model, "policy": policy})
            metrics = {k: x.astype(jnp.float32) for k, x in metrics.items()}
            return State(params, state.fits + jnp.int32(1)), metrics

    def learn(
        self, model: Params, fits: jax.Array, dataset: Dataset
    ) -> tuple[Params, jax.Array]:
        """Processes of the highest evidence, and its negative for each."""
        cfg = self.config.model
        pool = gp_fit.pool_of(dataset, cfg.points)
        seen = self.model.features(pool.observation)
        x = jnp.concatenate([seen, pool.action], -1)
        x = jnp.where(pool.mask[:, None], x, 0)
        guess = gp_fit.first_guess(x, pool.change, pool.mask)
        hyper = jnp.where(fits == 0, guess, model["hyper"])
        hyper, loss = gp_fit.maximise(hyper, x, pool.change, pool.mask, cfg.iterations)
        return {"x": x, "y": pool.change, "mask": pool.mask, "hyper": hyper}, loss

    def improve(
        self, params: Params, policy: Params, fits: jax.Array, key: Key
    ) -> Minimum:
        """The policy of the lowest expected cost found; `iterations` is of its row.

        Drawn anew at the first fit, which knows nothing better.
        """
        cfg = self.config
        key_plan, *keys = jax.random.split(key, cfg.restarts + 1)
        begin = self.begin()
        fresh = [self.policy.init(each, begin) for each in keys]
        kept = lambda old, new: jnp.where(fits == 0, new, old)
        fresh[0] = jax.tree.map(kept, policy, fresh[0])
        params = self.model.prepared(params)
        cost = lambda policy: self.expected_cost(params, policy, key_plan)
        search = lambda start: minimize(
            cost, start, cfg.iterations, cfg.evaluations, tolerance=1e-8
        )
        if cfg.restarts == 1:
            return search(fresh[0])
        found = jax.vmap(search)(jax.tree.map(lambda *x: jnp.stack(x), *fresh))
        # Pairwise: an argmin of doubles cannot be lowered outside of the context.
        rows = [jax.tree.map(lambda x, i=i: x[i], found) for i in range(cfg.restarts)]
        return functools.reduce(lower, rows)

    def expected_cost(self, params: Params, policy: Params, key: Key) -> jax.Array:
        """Sum over t = 1 … H of E[c(x_t)]; equation 2 of the paper.

        Args:
          params: with the model prepared.
          policy: `params["policy"]`.
          key: read by nobody: moments are exact.
        """
        params = {**params, "policy": self.policy.prepared(policy)}
        state = jax.tree.map(lambda x: x[None], self.begin())
        _, _, trajectory = imagine(
            self.model, self.policy, params, key, state, (), self.config.horizon
        )
        return -trajectory.reward.sum()


def lower(a: Minimum, b: Minimum) -> Minimum:
    """The lower one."""
    return jax.tree.map(lambda x, y: jnp.where(b.value < a.value, y, x), a, b)


def double(tree: Tree) -> Tree:
    """Floats in double precision."""
    return _as(tree, jnp.float64)


def single(tree: Tree) -> Tree:
    """Floats in single precision."""
    return _as(tree, jnp.float32)


def _as(tree: Tree, dtype: Any) -> Tree:
    convert = lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
    return jax.tree.map(convert, tree)
