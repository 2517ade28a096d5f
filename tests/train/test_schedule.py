"""The schedule: exact ratios, and values that cannot be."""

from fractions import Fraction

import pytest

from wm.errors import UserError
from wm.train.schedule import Schedule


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # 32 replayed per step, 16 envs, batches of 1024: an update every 2 × 16 steps.
        ({"train_ratio": 32.0}, (2, 1)),
        ({"train_ratio": 512.0}, (1, 8)),
        # Atari 100k: 256 per step, one environment: an update every 4 steps.
        ({"train_ratio": 256.0, "envs": 1}, (4, 1)),
        ({"train_ratio": 48.0}, (4, 3)),
        ({"train_ratio": 0.0}, (1, 0)),
        ({"chunk": 5, "updates": 7}, (5, 7)),
    ],
)
def test_the_ratio_is_exact(settings, expected):
    assert Schedule(**settings).chunk_updates() == expected


def test_any_ratio_is_kept():
    schedule = Schedule(train_ratio=3.7, envs=3, batch_size=5, batch_length=7)
    T, updates = schedule.chunk_updates()
    assert Fraction(updates * 35, T * 3) == Fraction(37, 10)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"total": 0}, "--train.total must be at least 1, got 0"),
        ({"train_ratio": -1.0}, "--train.train_ratio must be at least 0"),
        ({"replay_tier": "disk"}, "device or host, got disk"),
        ({"chunk": 2}, "set both"),
        ({"replay": 2**31}, "--train.replay must be below"),
        ({"eval_steps": 0}, "--train.eval_steps must be at least 1"),
    ],
)
def test_impossible_values_name_the_option(settings, line):
    with pytest.raises(UserError, match=line):
        Schedule(**settings)
