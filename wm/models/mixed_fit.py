"""Fitting a network to two sets of data, random and on-policy, mixed in every batch.

A pass walks through the random set once; the rest of every batch is drawn from the
on-policy set, with replacement. Means and deviations are those of the random set and
stay for the whole run, however far the data move away.

Source: Nagabandi et al. 2018 (MB-MF), section IV; nagaban2/nn_dynamics b76a62f.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.errors import UserError
from wm.models import ensemble_fit
from wm.models.ensemble import Ensemble
from wm.models.ensemble_data import Data
from wm.models.ensemble_fit import FitConfig
from wm.ops.passes import passes, passes_for, shuffled
from wm.types import Key, Metrics, Params, Tree


@dataclasses.dataclass(frozen=True)
class MixedConfig:
    """How a network is fitted. Defaults: half-cheetah."""

    learning_rate: float = 1e-3
    """Of Adam (1e-3)."""
    batch_size: int = 512
    """Rows per step (512)."""
    epochs: int = 60
    """Passes over the random set per fit (swimmer 30, half-cheetah 60, hopper 40, ant
    20)."""
    steps: int | None = None
    """Pass until so many steps are made, whatever `epochs` says: of use while a pass
    is a step or two."""
    fraction_new: float = 0.9
    """Share of every batch from the on-policy set, rounded down, and no more rows than
    it has (`fraction_use_new`: 0.9; ant 0.5)."""
    noise: float = 0.01
    """Deviation of the noise on what the network sees of a state, and on targets, as a
    share of the absolute mean of each entry; actions have none (0.01)."""

    def __post_init__(self):
        for name in ("learning_rate", "batch_size", "epochs", "steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--agent.fit.{name} must be above 0, got {value}")
        if not 0 <= self.fraction_new <= 1:
            raise UserError(
                f"--agent.fit.fraction_new must be in [0, 1], got {self.fraction_new}"
            )
        if self.noise < 0:
            raise UserError(f"--agent.fit.noise must be at least 0, got {self.noise}")


def fit(
    model: Ensemble,
    config: MixedConfig,
    params: Params,
    optimizer: Tree,
    key: Key,
    random: Data,
    new: Data,
    first: jax.Array,
) -> tuple[Params, Tree, Metrics]:
    """Train the network on both sets; Adam goes on from where it was.

    Args:
      model: one deterministic network.
      config: how.
      params: `params["model"]`.
      optimizer: state of `ensemble_fit.optimizer` over `learned_part(params)`.
      key: consumed.
      random: transitions under random actions; without any nothing is learned.
      new: transitions under the controller; none at first.
      first: bool, whether means and deviations are to be taken, from `random`.

    Returns:
      Parameters with the new network; the optimizer's state; `model/loss` and
      `model/new_share`, the share of every batch from the on-policy set.
    """
    key_random, key_new, key_fit = jax.random.split(key, 3)
    actions = model.spec.action.shape[0]
    random = noisy(config.noise, key_random, random, actions)
    new = noisy(config.noise, key_new, new, actions)
    taken = ensemble_fit.statistics(model, random)
    stats = jax.tree.map(
        lambda a, b: jnp.where(first, a, b), taken, dict(params["stats"])
    )
    params = {**params, "stats": stats}
    share = new_rows(config, new.count)
    per_pass = steps_of(config, random.count, new.count)
    count = jnp.where(
        random.count > 0, passes_for(config.steps, config.epochs, per_pass), 0
    )

    def begin(key):
        key_order, key_draw = jax.random.split(key)
        order = shuffled(key_order, random.order.shape[0], random.count)
        return lambda i: batch(
            config, jax.random.fold_in(key_draw, i), i, order, share, random, new
        )

    def loss(learned, drawn):
        x, y = drawn
        weight = jnp.ones(config.batch_size)
        everything = {**params, **learned}
        plain = FitConfig()
        return ensemble_fit.loss_of(model, plain, everything, x[None], y[None], weight)

    rule = ensemble_fit.optimizer(FitConfig(learning_rate=config.learning_rate))
    learned = ensemble_fit.learned_part(params)
    done = passes(loss, rule, learned, optimizer, key_fit, begin, per_pass, count)
    metrics = {
        "model/loss": done.loss,
        "model/new_share": share / config.batch_size,
    }
    return {**params, **done.params}, done.optimizer, metrics


def new_rows(config: MixedConfig, new: jax.Array) -> jax.Array:
    """i32: rows of a batch from the on-policy set, which has `new`."""
    return jnp.minimum(new, int(config.batch_size * config.fraction_new))


def steps_of(config: MixedConfig, random: jax.Array, new: jax.Array) -> jax.Array:
    """i32: steps of a pass; rows of a batch that is not full are left out, and a set
    that fills none is gone through again and again."""
    old = config.batch_size - new_rows(config, new)
    walked = jnp.where(old > 0, random // jnp.maximum(old, 1), new // config.batch_size)
    return jnp.maximum(walked, 1).astype(jnp.int32)


def batch(
    config: MixedConfig,
    key: Key,
    i: jax.Array,
    order: jax.Array,
    share: jax.Array,
    random: Data,
    new: Data,
) -> tuple[jax.Array, jax.Array]:
    """Step `i` of a pass: x and y, `[batch_size, …]`; the first `share` rows are new.

    Args:
      config: sizes.
      key: consumed.
      i: i32.
      order: i32 `[N]`, of the random set in this pass.
      share: i32, see `new_rows`.
      random: the random set.
      new: the on-policy set.
    """
    size = config.batch_size
    place = jnp.arange(size)
    at = (i * (size - share) + place - share) % jnp.maximum(random.count, 1)
    old_rows = random.order[order[at]]
    drawn = jax.random.randint(key, (size,), 0, jnp.maximum(new.count, 1))
    rows = new.order[drawn]
    fresh = (place < share)[:, None]
    x = jnp.where(fresh, new.x[rows], random.x[old_rows])
    return x, jnp.where(fresh, new.y[rows], random.y[old_rows])


def noisy(noise: float, key: Key, data: Data, actions: int) -> Data:
    """The set with noise on states and targets; see `MixedConfig.noise`.

    Differs: the authors' code, against what it says, adds none to entries of negative
    mean; it draws once for the whole run, here every fit draws anew.
    """
    key_x, key_y = jax.random.split(key)
    rows = (
        jnp.zeros(data.x.shape[0])
        .at[data.order]
        .set((jnp.arange(data.x.shape[0]) < data.count).astype(jnp.float32))[:, None]
    )

    def add(key, values):
        mean = jnp.where(rows > 0, values, 0).sum(0) / jnp.maximum(data.count, 1)
        return values + noise * jnp.abs(mean) * jax.random.normal(key, values.shape)

    state = add(key_x, data.x[:, :-actions])
    x = jnp.concatenate([state, data.x[:, -actions:]], -1)
    return data._replace(x=x, y=add(key_y, data.y))
