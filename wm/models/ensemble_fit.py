"""Fitting an ensemble to everything collected, on the device, with shapes that stay.

Pools have room for the whole run; how much of it is filled is a traced number, so one
compiled program serves all fits. Epochs are a loop that may stop early.

Sources: Chua et al. 2018 and the authors' code (bootstraps, loss, weight decay);
Janner et al. 2019 and the authors' code (holdout, early stopping, elites); Seitzer et
al. 2022 (`beta`).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.errors import UserError, require
from wm.models.ensemble import Ensemble
from wm.models.ensemble_data import Data, statistics
from wm.ops.losses import gaussian_nll
from wm.ops.passes import shuffled
from wm.ops.stopping import rolling
from wm.ops.trees import where_rows
from wm.types import Key, Metrics, Params, Tree


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How networks are fitted."""

    learning_rate: float = 1e-3
    """Of Adam (PETS, MBPO 1e-3)."""
    batch_size: int = 32
    """Rows per member and step (PETS 32, MBPO 256)."""
    epochs: int = 5
    """Passes over the data per fit, at most (PETS 5)."""
    steps: int | None = None
    """Pass over the data until so many steps are made, whatever `epochs` says: of use
    while a pass is a step or two."""
    weight_decay: tuple[float, ...] = ()
    """Half of it times the squared kernel, per layer, the output's last; the last
    value also serves the layers that are not named (PETS, MBPO: per task)."""
    beta: float = 0.0
    """Each entry's likelihood counts by the variance predicted for it to this power, of
    which nothing is learned: at 1 the mean learns as from squared errors, at 0 least
    where errors are largest (PETS, MBPO 0; Seitzer et al. 2022 advise 0.5)."""
    holdout: float = 0.0
    """Share of the rows that is not trained on (MBPO 0.2)."""
    holdout_rows: int = 5_000
    """Most rows held out (MBPO 5000)."""
    patience: int | None = None
    """Stop after more than so many epochs in which no member improved on the holdout;
    each member then returns to its best, which may be where it began (the authors take
    the first epoch whatever it did: a restart of Adam on a sharp likelihood can undo
    earlier fits). Unset: all epochs (MBPO 5)."""
    improvement: float = 0.01
    """Least relative improvement that counts (MBPO 0.01)."""
    persistency: float | None = None
    """Stop a member, as it then is, when the rolling average of its holdout error
    rises, of which this share stays per epoch (MB-MPO 0.99). Unset: none stops."""

    def __post_init__(self):
        positive = ("learning_rate", "batch_size", "epochs", "holdout_rows", "steps")
        for name in positive:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--agent.fit.{name} must be above 0, got {value}")
        if not 0 <= self.beta <= 1:
            raise UserError(f"--agent.fit.beta must be in [0, 1], got {self.beta}")
        if not 0 <= self.holdout < 1:
            raise UserError(
                f"--agent.fit.holdout must be in [0, 1), got {self.holdout}"
            )
        decay = all(value >= 0 for value in self.weight_decay)
        require(self, "fit.weight_decay", decay, "at least 0")
        waits = self.patience is None or self.patience >= 0
        require(self, "fit.patience", waits, "at least 0")
        for name in ("patience", "persistency"):
            if getattr(self, name) is not None and not self.holdout:
                raise UserError(f"--agent.fit.{name} needs --agent.fit.holdout above 0")
        if self.persistency is not None and not 0 < self.persistency < 1:
            raise UserError(
                f"--agent.fit.persistency must be in (0, 1), got {self.persistency}"
            )


class Progress(NamedTuple):
    """What the loop over epochs carries."""

    learned: Tree
    optimizer: Tree
    best: Tree
    """Per member, the parameters of its best epoch."""
    error: jax.Array
    """f32 `[E]`, holdout error of the best epoch."""
    stale: jax.Array
    """i32, epochs since some member improved."""
    epoch: jax.Array
    loss: jax.Array
    """f32, mean of the last epoch."""
    average: jax.Array
    """f32 `[E]`, rolling, of the holdout error."""
    stopped: jax.Array
    """bool `[E]`, by `persistency`."""


def optimizer(config: FitConfig) -> optax.GradientTransformation:
    """Adam; the state outlives fits (warm start)."""
    return optax.adam(config.learning_rate)


def learned_part(params: Params) -> Tree:
    """What gradients change of `params["model"]`."""
    return {name: params[name] for name in ("nets", "bounds")}


def fit(
    model: Ensemble,
    config: FitConfig,
    params: Params,
    optimizer_state: Tree,
    key: Key,
    data: Data,
) -> tuple[Params, Tree, Metrics]:
    """Train the members, each on a bootstrap of its own, drawn anew.

    Args:
      model: of which networks.
      config: how.
      params: `params["model"]`.
      optimizer_state: of `optimizer(config)` over `learned_part(params)`.
      key: consumed.
      data: at least two transitions; with fewer nothing is learned.

    Returns:
      Parameters with new networks, statistics and elites; the optimizer's state; and
      `model/loss`, `model/epochs` and, with a holdout, `model/holdout_error`: the mean
      over members of the squared error, in the units in which changes are predicted.
    """
    key_rows, key_boot, key_epochs = jax.random.split(key, 3)
    params = {**params, "stats": statistics(model, data)}
    rows, held = split(config, key_rows, data)
    training = data.count - held
    batches = -(-training // config.batch_size)
    N, E = data.order.shape[0], model.config.members
    boot = jax.random.randint(key_boot, (E, N), 0, jnp.maximum(training, 1))
    members = rows[jnp.minimum(held + boot, N - 1)]

    def one_epoch(now: Progress) -> Progress:
        key_epoch = jax.random.fold_in(key_epochs, now.epoch)
        learned, state, loss = epoch(
            model, config, params, now, key_epoch, data, members, training
        )
        learned, state = running(config, now, learned, state)
        error = holdout_error(model, config, {**params, **learned}, data, rows, held)
        best, least, stale = kept(config, now, learned, error)
        rest = rolling(now.average, error, now.epoch, config.persistency or 1.0)
        average, stopped = rest[0], now.stopped | rest[1]
        following = (best, least, stale, now.epoch + 1, loss, average, stopped)
        return Progress(learned, state, *following)

    learned, zero = learned_part(params), jnp.zeros((), jnp.int32)
    start = Progress(
        *(learned, optimizer_state, learned),
        error=holdout_error(model, config, params, data, rows, held),
        stale=zero,
        epoch=zero,
        loss=jnp.zeros(()),
        average=jnp.zeros(E),
        stopped=jnp.zeros(E, bool),
    )
    go_on = lambda now: unfinished(config, now, batches) & (data.count > 1)
    end = jax.lax.while_loop(go_on, one_epoch, start)
    final = end.learned if config.patience is None else end.best
    elites = jnp.argsort(end.error)[: params["elites"].shape[0]].astype(jnp.int32)
    metrics = {"model/loss": end.loss, "model/epochs": end.epoch.astype(jnp.float32)}
    if config.holdout:
        metrics["model/holdout_error"] = end.error.mean()
        params = {**params, "elites": elites}
    return {**params, **final}, end.optimizer, metrics


def unfinished(config: FitConfig, now: Progress, batches: jax.Array) -> jax.Array:
    """Whether to pass over the data again, `batches` steps each, bool `[]`."""
    go_on = now.epoch < config.epochs
    if config.steps is not None:
        go_on = now.epoch * batches < config.steps
    if config.persistency is not None:
        go_on &= ~now.stopped.all()
    patience = config.patience
    return go_on if patience is None else go_on & (now.stale <= patience)


def running(
    config: FitConfig, now: Progress, learned: Tree, state: Tree
) -> tuple[Tree, Tree]:
    """What an epoch brought, of members that have not stopped."""
    if config.persistency is None:
        return learned, state
    still = lambda new, old: {
        **new,
        "nets": where_rows(now.stopped, old["nets"], new["nets"]),
    }
    (adam, *rest), (before, *_) = state, now.optimizer
    adam = adam._replace(mu=still(adam.mu, before.mu), nu=still(adam.nu, before.nu))
    return still(learned, now.learned), (adam, *rest)


def split(config: FitConfig, key: Key, data: Data) -> tuple[jax.Array, jax.Array]:
    """Filled slots in random order, i32 `[N]`; how many of the first are held out."""
    rows = data.order[shuffled(key, data.order.shape[0], data.count)]
    share = jnp.floor(config.holdout * data.count).astype(jnp.int32)
    return rows, jnp.minimum(share, config.holdout_rows)


def epoch(
    model: Ensemble,
    config: FitConfig,
    params: Params,
    now: Progress,
    key: Key,
    data: Data,
    members: jax.Array,
    training: jax.Array,
) -> tuple[Tree, Tree, jax.Array]:
    """One pass over the bootstraps `members` `[E, N]`, of which `training` count.

    One order serves all members: their bootstraps are independent already.
    """
    N, size = members.shape[1], config.batch_size
    order = jnp.pad(shuffled(key, N, training), (0, size))
    batches = -(-training // size)
    adam = optimizer(config)

    def one_batch(i, carry):
        learned, state, total = carry
        at = jax.lax.dynamic_slice_in_dim(order, i * size, size)
        weight = (i * size + jnp.arange(size) < training).astype(jnp.float32)
        drawn = members[:, at]
        if data.weight is not None:
            weight = weight * data.weight[drawn]
        loss, gradient = jax.value_and_grad(
            lambda part: loss_of(
                model, config, {**params, **part}, data.x[drawn], data.y[drawn], weight
            )
        )(learned)
        change, state = adam.update(gradient, state, learned)
        return optax.apply_updates(learned, change), state, total + loss

    carry = (now.learned, now.optimizer, jnp.zeros(()))
    learned, state, total = jax.lax.fori_loop(0, batches, one_batch, carry)
    return learned, state, total / jnp.maximum(batches, 1)


def loss_of(
    model: Ensemble,
    config: FitConfig,
    params: Params,
    x: jax.Array,
    y: jax.Array,
    weight: jax.Array,
) -> jax.Array:
    """Sum over members of the mean loss, plus weight decay and the bounds' term, once.

    Args:
      model: of which networks.
      config: weight decay.
      params: `params["model"]`.
      x: `[E, B, inputs]`.
      y: `[E, B, outputs]`.
      weight: f32 `[B]` or `[E, B]`, 0 for rows that fill up the last batch. Members'
        losses are divided by the rows that are not 0, not by what they weigh: a batch
        of light rows moves little.
    """
    stats = params["stats"]
    target = (y - stats["target_mean"]) / stats["target_std"]
    unit = {**params, "stats": {**stats, "target_mean": 0.0, "target_std": 1.0}}
    mean, logvar = model.predict(unit, x)
    if model.config.gaussian:
        terms = gaussian_nll(mean, logvar, target)
        if config.beta:
            terms *= jnp.exp(config.beta * jax.lax.stop_gradient(logvar))
    else:
        terms = jnp.square(target - mean)
    rows = (weight > 0).sum(-1).max()  # alike for all members
    loss = (terms.mean(-1) * weight).sum() / jnp.maximum(rows, 1)
    kernels = [layer["kernel"] for layer in params["nets"].values()]
    for index, kernel in enumerate(kernels if config.weight_decay else ()):
        decay = config.weight_decay[min(index, len(config.weight_decay) - 1)]
        loss += 0.5 * decay * jnp.square(kernel).sum()
    if model.config.gaussian:
        bounds = params["bounds"]
        loss += 0.01 * (bounds["high"].sum() - bounds["low"].sum())
    return loss


def holdout_error(
    model: Ensemble,
    config: FitConfig,
    params: Params,
    data: Data,
    rows: jax.Array,
    held: jax.Array,
) -> jax.Array:
    """Mean squared error of each member on the held-out rows, f32 `[E]`.

    Not the likelihood: a member that is sure of itself is not thereby better (MBPO's
    code). Zeros without a holdout.
    """
    E = model.config.members
    if not config.holdout:
        return jnp.zeros(E)
    room = min(config.holdout_rows, rows.shape[0])
    at = rows[:room]
    counts = jnp.arange(room) < held
    x = jnp.broadcast_to(data.x[at], (E, room, data.x.shape[-1]))
    mean, _ = model.predict(params, x)
    error = jnp.square((data.y[at] - mean) / params["stats"]["target_std"]).mean(-1)
    return jnp.where(counts, error, 0).sum(-1) / jnp.maximum(held, 1)


def kept(
    config: FitConfig, now: Progress, learned: Tree, error: jax.Array
) -> tuple[Tree, jax.Array, jax.Array]:
    """Best parameters and errors per member, and epochs since one improved."""
    if config.patience is None:
        return learned, error, now.stale
    better = (now.error - error) / jnp.maximum(now.error, 1e-30) > config.improvement

    any_better = better.any()
    best = {
        "nets": where_rows(better, learned["nets"], now.best["nets"]),
        # Shared by all members.
        "bounds": where_rows(any_better, learned["bounds"], now.best["bounds"]),
    }
    least = jnp.where(better, error, now.error)
    return best, least, jnp.where(any_better, 0, now.stale + 1)
