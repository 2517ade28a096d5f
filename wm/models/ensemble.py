"""An ensemble of networks that predict how an observation changes.

Each of E members maps (observation, action) to a Gaussian over the change, or to the
change alone. A model state is P particles per row; which member moves a particle, and
whether its noise is drawn, is the propagation.

Sources: Chua et al. 2018 (PETS), sections 4 and 5; Janner et al. 2019 (MBPO),
appendix; Nagabandi et al. 2018 (deterministic, one member).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from wm.errors import UserError, require
from wm.models.spaces import require_reward, vector_size
from wm.nets.ensemble import ensemble_mlp
from wm.nodes import Node
from wm.ops.losses import soft_bound
from wm.types import Belief, EnvSpec, Key, Params, Prediction, TimeStep, Tree

Propagation = Literal["ts_inf", "ts1", "ds", "mm", "mean"]


@dataclasses.dataclass(frozen=True)
class EnsembleConfig:
    """Sizes of the networks, and how a state is propagated."""

    members: int = 5
    """E (PETS 5, MBPO 7)."""
    layers: int = 3
    """Hidden layers (PETS cartpole 3, cheetah 4; MBPO 4)."""
    units: int = 200
    """Width of a hidden layer (PETS cartpole 500, cheetah 200; MBPO 200)."""
    act: str = "silu"
    """Activation (PETS, MBPO: swish, which is silu)."""
    gaussian: bool = True
    """Whether a member predicts a variance too."""
    particles: int = 20
    """P per row; a multiple of the members that move them (PETS 20)."""
    propagation: Propagation = "ts_inf"
    """ts_inf: a particle keeps its member; ts1: members are dealt anew in each step;
    ds: one Gaussian per particle, of the mixture's mean and variance; mm: ts_inf, then
    a Gaussian is fitted to the particles of a row and drawn from again; mean: the mean
    of all means, one particle (Chua et al. 2018, section 5)."""
    elites: int | None = None
    """How many members, those of the lowest holdout error, move particles; all if
    unset (MBPO 5 of 7)."""
    angles: tuple[int, ...] = ()
    """Entries of the observation that the networks see as sine and cosine."""
    absolute: tuple[int, ...] = ()
    """Entries of the observation that are predicted themselves instead of their change
    and that the networks do not see: measured over a step, they say nothing of the next
    (PETS' half-cheetah: 0, the forward velocity)."""
    learn_reward: bool = False
    """Whether the reward is predicted; else `EnvSpec.reward_fn` says it."""
    normalize_targets: bool = False
    """Whether changes are predicted in units of their standard deviation (MB-MF)."""

    def __post_init__(self):
        for name in ("members", "units", "particles"):
            require(self, f"model.{name}", getattr(self, name) >= 1, "at least 1")
        require(self, "model.layers", self.layers >= 0, "at least 0")
        how, known = self.propagation, get_args(Propagation)
        require(self, "model.propagation", how in known, f"one of {', '.join(known)}")
        moving, members = self.moving, self.members
        require(
            self, "model.elites", 1 <= moving <= members, f"in [1, {members}] (members)"
        )
        if how == "mean" and self.particles != 1:
            raise UserError(
                "--agent.model.propagation mean needs --agent.model.particles 1"
            )
        dealt = how in ("ts_inf", "mm") or (how == "ts1" and self.particles > 1)
        if dealt and self.particles % moving:
            raise UserError(
                "--agent.model.particles must be a multiple of the "
                f"{moving} members that move them, got {self.particles}"
            )

    @property
    def moving(self) -> int:
        """Members that move particles."""
        return self.members if self.elites is None else self.elites


BROKEN = -1e6
"""What a particle earns whose prediction is no number (PETS' cost of a candidate)."""


class Particles(Node):
    """Model state: what may be the case."""

    observation: jax.Array
    """f32 `[B, P, D]`."""
    alive: jax.Array
    """f32 `[B, P]`: product of the discounts so far, 0 after an end."""


class Ensemble:
    """The ensemble as a `WorldModel`.

    Params `{"model": {"nets", "bounds", "stats", "elites"}}`; the first two are
    learned by gradients, `stats` are means and standard deviations of the data.
    """

    def __init__(self, spec: EnvSpec, config: EnsembleConfig | None = None):
        """For observations that are one vector and continuous actions.

        Raises:
          UserError: other spaces, an entry that does not exist, or no known reward.
        """
        self.spec, self.config = spec, config or EnsembleConfig()
        self.size = vector_size(spec, "ensembles", "gymnax/Pendulum-v1 and brax/…")
        angles, absolute = self.config.angles, self.config.absolute
        for name, entries in (("angles", angles), ("absolute", absolute)):
            if any(not 0 <= i < self.size for i in entries):
                raise UserError(
                    f"--agent.model.{name} must be in [0, {self.size - 1}], "
                    f"got {entries}"
                )
        if set(angles) & set(absolute):
            raise UserError(
                "--agent.model.angles and --agent.model.absolute exclude each other, "
                f"got {angles} and {absolute}"
            )
        cfg = self.config
        if not cfg.learn_reward:
            require_reward(spec)
        self.outputs = self.size + cfg.learn_reward
        width = self.outputs * (1 + cfg.gaussian)
        self.net = ensemble_mlp(cfg.members, cfg.layers, cfg.units, width, cfg.act)

    @property
    def inputs(self) -> int:
        """Entries of what the networks see."""
        cfg = self.config
        seen = self.size + len(cfg.angles) - len(cfg.absolute)
        return seen + self.spec.action.shape[0]

    @property
    def relative(self) -> np.ndarray:
        """1 for entries predicted by their change, 0 for `absolute` ones, `[D]`."""
        mask = np.ones(self.size, np.float32)
        mask[list(self.config.absolute)] = 0.0
        return mask

    def init(self, key: Key) -> Params:
        """Untrained networks; statistics that change nothing."""
        cfg = self.config
        example = jax.ShapeDtypeStruct((cfg.members, 1, self.inputs), jnp.float32)
        model = {
            "nets": self.net.init(key, example),
            "bounds": {
                "low": jnp.full(self.outputs, -10.0),
                "high": jnp.full(self.outputs, 0.5),
            },
            "stats": {
                "input_mean": jnp.zeros(self.inputs),
                "input_std": jnp.ones(self.inputs),
                "target_mean": jnp.zeros(self.outputs),
                "target_std": jnp.ones(self.outputs),
            },
            "elites": jnp.arange(cfg.moving, dtype=jnp.int32),
        }
        return {"model": model}

    def start(self, params: Params, batch: int) -> Particles:
        """All particles at the origin."""
        shape = (batch, self.config.particles)
        return Particles(jnp.zeros((*shape, self.size)), jnp.ones(shape))

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """Unchanged."""
        return timestep

    def observe(
        self,
        params: Params,
        key: Key,
        state: Particles,
        action: Tree,
        evidence: TimeStep,
    ) -> Particles:
        """Every particle is what is seen."""
        seen = evidence.observation.astype(jnp.float32)[:, None]
        alive = (evidence.discount != 0).astype(jnp.float32)[:, None]
        return Particles(
            jnp.broadcast_to(seen, state.observation.shape),
            jnp.broadcast_to(alive, state.alive.shape),
        )

    def decode(self, params: Params, state: Particles) -> jax.Array:
        """The mean of the particles, f32 `[B, D]`."""
        return state.observation.mean(1)

    def step(
        self, params: Params, key: Key, state: Particles, action: jax.Array
    ) -> tuple[Particles, Prediction]:
        """Move every particle under the row's action, clipped to [-1, 1].

        A row's reward and discount are those that make a discounted sum over a rollout
        the mean of the particles' sums. A particle whose prediction is no number earns
        `BROKEN` and ends.
        """
        action = jnp.clip(action, -1.0, 1.0)
        observation, learned = self._move(params["model"], key, state, action)
        reward, discount = self.judge(state.observation, action, observation, learned)
        broken = jnp.isnan(reward) | ~jnp.isfinite(observation).all(-1)
        reward = jnp.where(broken, BROKEN, reward)
        discount = jnp.where(broken, 0.0, discount)
        still = (state.alive[..., None] == 0) | broken[..., None]
        alive = state.alive * discount
        before, after = state.alive.mean(1), alive.mean(1)
        share = jnp.maximum(before, 1e-30)
        earned = (state.alive * reward).mean(1) / share
        moved = jnp.where(still, state.observation, observation)
        return Particles(moved, alive), Prediction(earned, after / share)

    def predictive(self, params: Params, state: Particles, action: jax.Array) -> Belief:
        """The Gaussian of the members' mixture, from the mean of the particles.

        Without noise of their own, how far members disagree is all the variance.
        """
        model, here = self._moving(params["model"]), state.observation.mean(1)
        x = self.features(here, jnp.clip(action, -1.0, 1.0))
        mean, logvar = self._mixed(model, x)
        return Belief(self.moved(here, mean), jnp.exp(logvar[:, : self.size]))

    def predict(self, model: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the change, f32 `[E, N, outputs]` each.

        Args:
          model: `params["model"]`; of its networks those given are evaluated.
          x: `features`, `[E, N, inputs]`, already dealt out.

        Returns:
          In units of the targets; the log-variance of a deterministic network is that
          of no noise, -inf.
        """
        stats = model["stats"]
        out = self.net.apply(
            model["nets"], (x - stats["input_mean"]) / stats["input_std"]
        )
        scale, shift = stats["target_std"], stats["target_mean"]
        if not self.config.gaussian:
            return out * scale + shift, jnp.full_like(out, -jnp.inf)
        mean, logvar = jnp.split(out, 2, -1)
        bounds = model["bounds"]
        logvar = soft_bound(logvar, bounds["low"], bounds["high"])
        return mean * scale + shift, logvar + 2 * jnp.log(scale)

    def features(self, observation: jax.Array, action: jax.Array) -> jax.Array:
        """What the networks see, `[…, inputs]`: sines and cosines of angles first."""
        angles, absolute = list(self.config.angles), self.config.absolute
        if angles or absolute:
            apart = {*angles, *absolute}
            rest = [i for i in range(self.size) if i not in apart]
            angle = observation[..., angles]
            parts = [jnp.sin(angle), jnp.cos(angle), observation[..., rest]]
            observation = jnp.concatenate(parts, -1)
        return jnp.concatenate([observation, action], -1)

    def moved(self, here: jax.Array, out: jax.Array) -> jax.Array:
        """The next observation `[…, D]`, from what is predicted, `[…, outputs]`."""
        change = out[..., : self.size]
        if self.config.absolute:
            here = here * self.relative
        return here + change

    def targets(self, here: jax.Array, after: jax.Array) -> jax.Array:
        """What `moved` needs to arrive at `after`, `[…, D]`."""
        return after - (here * self.relative if self.config.absolute else here)

    def _move(self, model: Params, key: Key, state: Particles, action: jax.Array):
        """Next observations `[B, P, D]` and learned rewards `[B, P]` or None."""
        key_deal, key_noise = jax.random.split(key)
        here = state.observation
        acting = jnp.broadcast_to(action[:, None], (*here.shape[:2], action.shape[-1]))
        x = self.features(here, acting)
        change = self._change(self._moving(model), key_deal, key_noise, x)
        moved = self.moved(here, change)
        if self.config.propagation == "mm":
            moved = matched(jax.random.fold_in(key_deal, 1), moved)
        return moved, change[..., self.size] if self.config.learn_reward else None

    def _moving(self, model: Params) -> Params:
        """With the networks of those members that move particles."""
        if self.config.elites is None:
            return model
        nets = jax.tree.map(lambda w: w[model["elites"]], model["nets"])
        return {**model, "nets": nets}

    def _mixed(self, model: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the mixture, `[N, outputs]`; x `[N, inputs]`."""
        members = self.config.moving
        return mixture(*self.predict(model, jnp.broadcast_to(x, (members, *x.shape))))

    def _change(self, model: Params, key_deal: Key, key_noise: Key, x: jax.Array):
        """Change of every particle, `[B, P, outputs]`; x `[B, P, inputs]`."""
        B, P, _ = x.shape
        members, how = self.config.moving, self.config.propagation
        if how in ("ds", "mean"):
            mean, logvar = self._mixed(model, x.reshape(B * P, -1))
            change = mean if how == "mean" else sampled(key_noise, mean, logvar)
            return change.reshape(B, P, -1)
        order = None
        if how == "ts1":
            slots = P if P > 1 else B + -B % members
            order = jax.random.permutation(key_deal, slots)
        dealt = deal(x, members, order)
        mean, logvar = self.predict(model, dealt)
        change = sampled(key_noise, mean, logvar) if self.config.gaussian else mean
        return undeal(change, B, P, order)

    def judge(
        self,
        before: jax.Array,
        action: jax.Array,
        after: jax.Array,
        learned: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Reward and discount of every particle, f32 `[B, P]` each.

        Args:
          before: observations `[B, P, D]`.
          action: `[B, F]`, in [-1, 1].
          after: observations `[B, P, D]`.
          learned: predicted rewards `[B, P]`; `EnvSpec.reward_fn` says them if None.
        """
        over = lambda fn: jax.vmap(jax.vmap(fn, in_axes=(0, None, 0)))
        reward = learned
        if reward is None:
            reward_fn: Any = self.spec.reward_fn
            reward = over(reward_fn)(before, action, after)
        if self.spec.terminal_fn is None:
            return reward, jnp.ones_like(reward)
        terminal = over(self.spec.terminal_fn)(before, action, after)
        return reward, 1.0 - terminal.astype(jnp.float32)


def deal(x: jax.Array, members: int, order: jax.Array | None) -> jax.Array:
    """Particles `[B, P, D]` grouped by the member that moves them, `[E, N, D]`.

    With P = 1 rows are dealt out, filled up with zeros so that groups are equal.

    Args:
      x: particles.
      members: E.
      order: i32 `[P]`, or where P = 1 of as many rows as are dealt, B and those that
        fill up: the order in which they are dealt; as they lie if None. The same for
        all rows, which keeps the gather cheap; each particle's member is uniform.
    """
    B, P, D = x.shape
    if P == 1:
        # Filled up before they are shuffled: few rows meet every member too.
        rows = jnp.pad(x[:, 0], ((0, -B % members), (0, 0)))
        rows = rows if order is None else rows[order]
        return rows.reshape(members, -1, D)
    if order is not None:
        x = x[:, order]
    groups = x.reshape(B, members, P // members, D)
    return groups.swapaxes(0, 1).reshape(members, -1, D)


def undeal(x: jax.Array, B: int, P: int, order: jax.Array | None) -> jax.Array:
    """The inverse of `deal`: `[E, N, D]` back to `[B, P, D]`."""
    members, _, D = x.shape
    if P == 1:
        rows = x.reshape(-1, D)
        return (rows if order is None else rows[jnp.argsort(order)])[:B, None]
    x = x.reshape(members, B, P // members, D).swapaxes(0, 1).reshape(B, P, D)
    return x if order is None else x[:, jnp.argsort(order)]


def sampled(key: Key, mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """A draw of the Gaussian."""
    return mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)


def mixture(mean: jax.Array, logvar: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log-variance `[N, D]` of the equal mixture of Gaussians `[E, N, D]`."""
    center = mean.mean(0)
    variance = (jnp.exp(logvar) + jnp.square(mean - center)).mean(0)
    return center, jnp.log(variance)


def matched(key: Key, x: jax.Array) -> jax.Array:
    """Particles `[B, P, D]` drawn from the Gaussian that fits those of each row."""
    mean, std = x.mean(1, keepdims=True), x.std(1, keepdims=True)
    return mean + std * jax.random.normal(key, x.shape)
