"""Fitting a network so that one step of gradient descent adapts it to what just was.

From the last M transitions the network takes one step, and is judged on the next M.
Windows of 2 M transitions are drawn from everything collected.

Sources: Nagabandi, Clavera et al. 2019 (GrBAL), Eq. 3 and Algorithm 1; the authors'
code (iclavera/learning_to_adapt bd7d99b).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.errors import UserError
from wm.models import ensemble_data, ensemble_fit
from wm.models.ensemble import Ensemble
from wm.models.ensemble_data import Data
from wm.models.ensemble_fit import FitConfig
from wm.ops.meta import adapted
from wm.ops.stopping import rolling
from wm.types import Dataset, Key, Metrics, Params, Tree


@dataclasses.dataclass(frozen=True)
class MetaFitConfig:
    """How the network is adapted, and fitted to be."""

    window: int = 16
    """M: transitions that it adapts to, and that it is then judged on (16)."""
    inner_rate: float = 1e-3
    """Size of the step of adaptation, in units of the normalised error (1e-3). 0: no
    adaptation."""
    first_order: bool = False
    """Leave the second derivatives out of the gradient (authors: kept)."""
    learning_rate: float = 1e-3
    """Of Adam (1e-3)."""
    batch_size: int = 10
    """Windows per step (10)."""
    epochs: int = 100
    """Passes over the data per fit, at most (100)."""
    steps: int | None = None
    """Pass over the data until so many steps are made, whatever `epochs` says."""
    holdout: float = 0.1
    """Share of the episodes that is not trained on, rounded up, while there are two
    (0.1)."""
    holdout_windows: int = 100
    """Windows of them that validate an epoch, the same in all epochs (authors: drawn
    anew, about as many as there are)."""
    persistency: float | None = 0.99
    """Stop when the rolling average of the validation loss rises, of which this share
    stays per epoch (0.99); unset: all epochs. The loss is that after adaptation, which
    is what is minimised; the authors' code watches that before it."""

    def __post_init__(self):
        positive = ("window", "learning_rate", "batch_size", "epochs", "steps")
        for name in (*positive, "holdout_windows"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--agent.fit.{name} must be above 0, got {value}")
        if not self.inner_rate >= 0:
            raise UserError(
                f"--agent.fit.inner_rate must be at least 0, got {self.inner_rate}"
            )
        if not 0 <= self.holdout < 1:
            raise UserError(
                f"--agent.fit.holdout must be in [0, 1), got {self.holdout}"
            )
        if self.persistency is not None and not 0 < self.persistency < 1:
            raise UserError(
                f"--agent.fit.persistency must be in (0, 1), got {self.persistency}"
            )


class Windows(NamedTuple):
    """Where windows begin: flat slots, those that count before the others."""

    training: jax.Array
    """i32 `[N]`."""
    trained: jax.Array
    """i32: how many of `training` count."""
    holdout: jax.Array
    """i32 `[N]`."""
    held: jax.Array
    """i32: how many of `holdout` count."""


class Progress(NamedTuple):
    """What the loop over epochs carries."""

    nets: Tree
    optimizer: Tree
    epoch: jax.Array
    loss: jax.Array
    """f32, mean over the last epoch, after adaptation."""
    error: jax.Array
    """f32 `[2]`, of the held-out windows before and after adaptation."""
    average: jax.Array
    rising: jax.Array


def optimizer(config: MetaFitConfig) -> optax.GradientTransformation:
    """Adam; the state outlives fits."""
    return optax.adam(config.learning_rate)


def adapt(
    model: Ensemble,
    config: MetaFitConfig,
    params: Params,
    x: jax.Array,
    y: jax.Array,
    weight: jax.Array,
) -> Params:
    """`params["model"]` after one step on a window.

    Args:
      model: one deterministic network.
      config: how.
      params: `params["model"]`; never an adapted one.
      x: `[M, inputs]`, see `Ensemble.features`.
      y: `[M, outputs]`.
      weight: f32 `[M]`; zeros make no step.
    """
    loss = lambda nets: error(model, {**params, "nets": nets}, x, y, weight)
    nets = adapted(loss, params["nets"], config.inner_rate, config.first_order)
    return {**params, "nets": nets}


def error(
    model: Ensemble, params: Params, x: jax.Array, y: jax.Array, weight: jax.Array
) -> jax.Array:
    """Mean squared error over a window, in units of the targets' deviation."""
    return ensemble_fit.loss_of(model, FitConfig(), params, x[None], y[None], weight)


def meta_loss(
    model: Ensemble, config: MetaFitConfig, params: Params, x: jax.Array, y: jax.Array
) -> jax.Array:
    """Error on the second half of a window before and after adapting to the first half,
    f32 `[2]`; Eq. 3 of the paper is the second.

    Args:
      model: one deterministic network.
      config: how it adapts.
      params: `params["model"]`.
      x: `[2 M, inputs]`.
      y: `[2 M, outputs]`.
    """
    M, one = config.window, jnp.ones(config.window)
    after = adapt(model, config, params, x[:M], y[:M], one)
    judged = (x[M:], y[M:], one)
    return jnp.stack([error(model, p, *judged) for p in (params, after)])


def fit(
    model: Ensemble,
    config: MetaFitConfig,
    params: Params,
    optimizer_state: Tree,
    key: Key,
    dataset: Dataset,
) -> tuple[Params, Tree, Metrics]:
    """Train the network to adapt.

    Args:
      model: one deterministic network, its targets normalised.
      config: how.
      params: `params["model"]`.
      optimizer_state: of `optimizer(config)` over `params["nets"]`.
      key: consumed.
      dataset: with no window of 2 M transitions nothing is learned.

    Returns:
      Parameters with a new network and statistics, the optimizer's state, and
      `model/loss`, `model/epochs`, `model/holdout_error` after adaptation and
      `model/unadapted_error` before it.
    """
    key_split, key_held, key_epochs = jax.random.split(key, 3)
    data = ensemble_data.data_of(model, dataset)
    params = {**params, "stats": ensemble_fit.statistics(model, data)}
    found = windows(config, key_split, dataset)
    slots = dataset.mask.shape[1]
    held = drawn(key_held, found.holdout, found.held, config.holdout_windows)
    held = gathered(config, data, held, slots)
    rows = config.batch_size * 2 * config.window
    batches = jnp.maximum(data.count // rows, 1)

    def one_epoch(now: Progress) -> Progress:
        keys = jax.random.fold_in(key_epochs, now.epoch)
        nets, state, loss = epoch(
            model, config, params, now, keys, data, found, slots, batches
        )
        both = losses(model, config, {**params, "nets": nets}, *held)
        # Zeros, which stop nothing, where nothing is held out.
        both = jnp.where(found.held > 0, both, 0.0)
        stay = 1.0 if config.persistency is None else config.persistency
        average, rising = rolling(now.average, both[1], now.epoch, stay)
        return Progress(nets, state, now.epoch + 1, loss, both, average, rising)

    nothing = jnp.zeros(())
    start = Progress(
        params["nets"],
        optimizer_state,
        epoch=jnp.zeros((), jnp.int32),
        loss=nothing,
        error=jnp.zeros(2),
        average=nothing,
        rising=jnp.zeros((), bool),
    )
    go_on = lambda now: unfinished(config, now, batches) & (found.trained > 0)
    end = jax.lax.while_loop(go_on, one_epoch, start)
    metrics = {
        "model/loss": end.loss,
        "model/epochs": end.epoch.astype(jnp.float32),
        "model/unadapted_error": end.error[0],
        "model/holdout_error": end.error[1],
    }
    return {**params, "nets": end.nets}, end.optimizer, metrics


def unfinished(config: MetaFitConfig, now: Progress, batches: jax.Array) -> jax.Array:
    """Whether to pass over the data again, `batches` steps each, bool `[]`."""
    go_on = now.epoch < config.epochs
    if config.steps is not None:
        go_on = now.epoch * batches < config.steps
    return go_on if config.persistency is None else go_on & ~now.rising


def epoch(model, config, params, now, key, data, found, slots, batches):
    """`batches` steps on windows drawn with replacement (authors)."""
    adam = optimizer(config)

    def one_batch(i, carry):
        nets, state, total = carry
        key_batch = jax.random.fold_in(key, i)
        begin = drawn(key_batch, found.training, found.trained, config.batch_size)
        x, y = gathered(config, data, begin, slots)
        loss, gradient = jax.value_and_grad(
            lambda nets: losses(model, config, {**params, "nets": nets}, x, y)[1]
        )(nets)
        change, state = adam.update(gradient, state, nets)
        return optax.apply_updates(nets, change), state, total + loss

    carry = (now.nets, now.optimizer, jnp.zeros(()))
    nets, state, total = jax.lax.fori_loop(0, batches, one_batch, carry)
    return nets, state, total / batches


def losses(model, config, params, x: jax.Array, y: jax.Array) -> jax.Array:
    """`meta_loss`, mean over windows `x` and `y` `[W, 2 M, …]`."""
    each = jax.vmap(lambda x, y: meta_loss(model, config, params, x, y))
    return each(x, y).mean(0)


def windows(config: MetaFitConfig, key: Key, dataset: Dataset) -> Windows:
    """All windows of 2 M transitions within one episode, episodes split by chance.

    Every place of an episode is in some window; the authors leave out the last
    beginning. Which episodes are held out is drawn anew in every fit.

    Raises:
      UserError: a buffer in which no window fits.
    """
    rows, slots = dataset.mask.shape
    length = 2 * config.window
    require_room(config, slots)
    wrapped = jnp.concatenate([dataset.mask, dataset.mask[:, : length - 1]], 1)
    total = jnp.cumsum(wrapped.astype(jnp.int32), 1)
    total = jnp.pad(total, ((0, 0), (1, 0)))
    whole = (total[:, length:] - total[:, :-length] == length).reshape(-1)

    begins = jnp.where(dataset.steps.timestep.is_first, jnp.arange(slots), 0)
    episode = jax.lax.cummax(begins, axis=1) + slots * jnp.arange(rows)[:, None]
    episode = episode.reshape(-1)
    there = jnp.zeros(rows * slots, bool).at[episode].max(whole)
    count = there.sum(dtype=jnp.int32)
    share = jnp.ceil(config.holdout * count).astype(jnp.int32)
    noise = jax.random.uniform(key, there.shape)
    rank = jnp.argsort(jnp.argsort(jnp.where(there, noise, 2.0)))
    kept_out = (rank < jnp.minimum(share, count - 1))[episode]
    listed = lambda chosen: jnp.argsort(~chosen, stable=True).astype(jnp.int32)
    training, holdout = whole & ~kept_out, whole & kept_out
    return Windows(
        listed(training),
        training.sum(dtype=jnp.int32),
        listed(holdout),
        holdout.sum(dtype=jnp.int32),
    )


def require_room(config: MetaFitConfig, slots: int) -> None:
    """Complain about a buffer of so many slots per environment in which no window fits.

    Raises:
      UserError: naming the option.
    """
    least = 2 * config.window + 1  # records; the last one ends the last transition
    if slots < least:
        raise UserError(
            f"--train.replay must hold at least {least} steps per environment (twice "
            f"--agent.fit.window, and one), got {slots}"
        )


def drawn(key: Key, slots: jax.Array, count: jax.Array, size: int) -> jax.Array:
    """`size` of the first `count` entries, with replacement."""
    return slots[jax.random.randint(key, (size,), 0, jnp.maximum(count, 1))]


def gathered(
    config: MetaFitConfig, data: Data, begin: jax.Array, slots: int
) -> tuple[jax.Array, jax.Array]:
    """Windows `[W, 2 M, …]` from flat slots `begin` `[W]` on; rings are circles."""
    row, slot = begin[:, None] // slots, begin[:, None] % slots
    at = row * slots + (slot + jnp.arange(2 * config.window)) % slots
    return data.x[at], data.y[at]
