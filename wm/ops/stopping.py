"""When to stop fitting: a rule of the validation loss."""

from __future__ import annotations

import jax

FIRST = 1.5
"""The average begins so many times above the first loss, lest it stop at once."""


def rolling(
    average: jax.Array, loss: jax.Array, epoch: jax.Array, persistency: float
) -> tuple[jax.Array, jax.Array]:
    """The rolling average after `loss`, and whether it rose: then stop.

    It rises where the loss is above the average, so a loss that gets worse slowly is
    stopped late.

    Args:
      average: f32 `[…]`; not read at epoch 0.
      loss: f32 `[…]`, of validation, at least 0.
      epoch: i32 `[]`, epochs before this one.
      persistency: share of the old average that stays.

    Source: iclavera/learning_to_adapt bd7d99b and jonasrothfuss/
    model_ensemble_meta_learning 8b1351d, `fit` of the dynamics (0.99, 1.5).
    """
    average = jax.numpy.where(epoch == 0, FIRST * loss, average)
    return persistency * average + (1 - persistency) * loss, loss > average
