"""When things happen in a run, as static integers."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from wm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Budget, batch and cadence of a run. All `…steps` are environment transitions."""

    total: int = 100_000
    """Environment steps of the whole run, prefill included."""
    envs: int = 16
    """Environments stepped at once."""
    batch_size: int = 16
    """Sequences per update."""
    batch_length: int = 64
    """Steps per sequence that enter the loss."""
    train_ratio: float = 32.0
    """Replayed steps per environment step; updates per step times batch size times
    batch length."""
    chunk: int | None = None
    """Steps of every environment between updates (default: smallest exact one)."""
    updates: int | None = None
    """Updates after each chunk (default: what train_ratio says)."""
    prefill: int = 1_024
    """Environment steps collected before the first update."""
    replay: int = 1_000_000
    """Capacity of the replay buffer, in steps over all environments."""
    replay_tier: str = "device"
    """Where replay lives: device or host."""
    fit_steps: int | None = None
    """Steps between calls of the agent's `fit`; unset: never."""
    reanalyse_steps: int | None = None
    """Steps between calls of the agent's `reanalyse`; unset: never."""
    log_steps: int = 1_000
    """Steps between rows of metrics.jsonl, and between host round trips."""
    eval_steps: int | None = None
    """Steps between evaluations; unset: only at the end."""
    eval_episodes: int = 100
    """Episodes per evaluation and seed."""
    save_steps: int | None = None
    """Steps between checkpoints; unset: by the clock, see save_minutes."""
    save_minutes: float | None = 5.0
    """Wall minutes between checkpoints where save_steps is unset, and never less than a
    hundred times what the last one took; unset: only at the end."""
    keep_checkpoints: int | None = 2
    """Newest checkpoints that stay, at least 2; unset: all. Those beyond the two newest
    stay without replay: to be looked at (`wm diagnose`), not continued from."""
    nonfinite: str = "skip"
    """What to do about an update that is not finite: skip it (ten in a row roll back to
    the last checkpoint, with new keys), rollback at once, or halt."""

    def __post_init__(self):
        optional = ("chunk", "updates", "fit_steps", "reanalyse_steps")
        optional = (*optional, "eval_steps", "save_steps", "keep_checkpoints")
        words: dict[str, tuple[str, ...]] = {"replay_tier": ("device", "host")}
        words["nonfinite"] = ("skip", "rollback", "halt")
        others = {"prefill": 0, "keep_checkpoints": 2}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in words:
                *most, last = words[field.name]
                if value not in words[field.name]:
                    raise UserError(
                        f"--train.{field.name} must be {', '.join(most)} or {last}, "
                        f"got {value}"
                    )
            elif field.name == "save_minutes":
                if value is not None and not 0 < value < float("inf"):
                    raise UserError(
                        f"--train.save_minutes must be above 0 or none, got {value}"
                    )
            elif field.name == "train_ratio":
                if not 0 <= value < float("inf"):
                    raise UserError(
                        f"--train.train_ratio must be at least 0, got {value}"
                    )
            elif value is None and field.name in optional:
                continue
            else:
                least = others.get(field.name, 1)
                if value is None or value < least:
                    raise UserError(
                        f"--train.{field.name} must be at least {least}, got {value}"
                    )
        for name in ("total", "replay", "prefill"):
            if getattr(self, name) >= 2**31:
                raise UserError(
                    f"--train.{name} must be below {2**31:,} (steps are counted in "
                    f"32 bits), got {getattr(self, name):,}"
                )
        if (self.chunk is None) != (self.updates is None):
            raise UserError("--train.chunk and --train.updates go together; set both")

    def chunk_updates(self) -> tuple[int, int]:
        """Steps T of every environment per chunk and updates n after it, exact.

        The smallest T for which n is a whole number: `n / (T * envs)` equals
        `train_ratio / (batch_size * batch_length)`.
        """
        if self.chunk is not None and self.updates is not None:
            return self.chunk, self.updates
        ratio = Fraction(self.train_ratio).limit_denominator(1_000_000)
        per_vector_step = ratio * self.envs / (self.batch_size * self.batch_length)
        if per_vector_step == 0:
            return 1, 0
        return per_vector_step.denominator, per_vector_step.numerator
