"""Fake run directories and dreams: what the report reads, without training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from wm.report.dreams import Night, Reel

IMAGE = {"shape": [16, 16, 1], "dtype": "uint8"}
VECTOR = {"shape": [3], "dtype": "float32"}


def fake_run(
    path: Path,
    env: str = "pixels/catch",
    seeds: int = 4,
    steps: int = 14_000,
    low: float = -0.6,
    high: float = 0.97,
    observation: dict | None = None,
    action_repeat: int = 1,
    levels: tuple[float, float] | None = (-0.6, 1.0),
    system: str = "dreamer_v3",
    episodes: int = 20,
    first: int = 0,
) -> Path:
    """A finished run whose return rises from `low` to `high`."""
    generator = np.random.default_rng(0)
    path.mkdir(parents=True)
    spec = {
        "name": env,
        "observation": observation or IMAGE,
        "action_repeat": action_repeat,
        "random_return": levels and levels[0],
        "optimal_return": levels and levels[1],
    }
    config = {
        "agent": {"name": system, "config": {"horizon": 15, "size": [64, 64]}},
        "env": {"name": env, "options": {}, "spec": spec},
        "preset": "demo",
        "schedule": {"total": steps, "envs": 16},
        "seeds": seeds,
        "seed": first,
        "command": ["wm", "train", system, "--env", env, "--seeds", str(seeds)],
    }
    (path / "config.json").write_text(json.dumps(config))
    versions = {"python": "3.11.7", "jax": "0.10.2", "device": "CPU", "cores": 2}
    (path / "versions.json").write_text(json.dumps(versions))
    rows, scores = [], []
    for step in range(steps // 14, steps + 1, steps // 14):
        share = 1 / (1 + np.exp(-(step / steps - 0.45) * 12))
        for seed in range(first, first + seeds):
            noise = generator.normal(0, 0.05 * (high - low))
            rows.append(_row(step, seed, low + share * (high - low) + noise, share))
    for seed in range(first, first + seeds):
        for value in np.minimum(generator.normal(high, 0.05, episodes), high + 0.03):
            entry = {"step": steps, "seed": seed, "return": value, "length": 5}
            scores.append(entry)
    for name, lines in (("metrics", rows), ("scores", scores)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (path / f"{name}.jsonl").write_text(text)
    return path


def _row(step: int, seed: int, value: float, share: float) -> dict:
    losses = {
        f"loss/{name}": start * (1.2 - share) + 0.01 * seed
        for name, start in {
            "image": 140.0,
            "reward": 0.4,
            "representation": 1.4,
            "value": 1.9,
        }.items()
    }
    return {
        "step": step,
        "seed": seed,
        "episode/return": value,
        "episode/length": 5.0,
        **losses,
        "behavior/entropy": 1.0 - share,
        "model/prior_entropy": 4.0 - share,
        "time/train_s": 6.0 * step / 1000,
        "time/evaluate_s": 1.5,
        "time/wall_s": 7.6 * step / 1000,
        "rate/steps_per_s": 720.0 + seed,
        "rate/updates_per_s": 45.0,
    }


def image_night(frames: int = 6, context: int = 2, side: int = 16) -> Night:
    """A falling block, imagined ever more faintly."""
    truth = np.zeros((4, frames, side, side, 1), np.uint8)
    for row in range(4):
        for frame in range(frames):
            top, left = frame * side // frames, (row * 5) % (side - 3)
            truth[row, frame, top : top + 2, left : left + 3] = 160
            truth[
                row, frame, -2:, 3 * ((row + frame) % 4) : 3 * ((row + frame) % 4) + 3
            ] = 110
    fade = np.clip(1 - 0.06 * np.arange(frames), 0.3, 1)[None, :, None, None, None]
    imagined = (truth * fade + 255 * 0.04 * (1 - fade)).astype(np.uint8)
    error = np.abs(truth / 255 - imagined / 255).mean((2, 3, 4)).astype(np.float32)
    return _night((Reel("", truth, imagined, error),), frames, context)


def vector_night(frames: int = 30, context: int = 5) -> Night:
    """Three sines, imagined with a growing lag."""
    time = np.arange(frames)[None, :, None] + np.arange(4)[:, None, None]
    scale = np.array([1.0, 2.0, 0.5])
    truth = (np.sin(time / 4 * scale) * scale).astype(np.float32)
    lag = np.maximum(0, np.arange(frames) - context)[None, :, None] * 0.03
    imagined = (np.sin((time - lag) / 4 * scale) * scale).astype(np.float32)
    error = np.abs(truth - imagined).mean(-1)
    return _night((Reel("", truth, imagined, error),), frames, context)


def _night(reels, frames, context) -> Night:
    reward = np.zeros((4, frames), np.float32)
    imagined = np.where(np.arange(frames) < context, np.nan, 0.1)[None].repeat(4, 0)
    valid = np.ones((4, frames), bool)
    return Night(reels, reward, imagined, valid, context, 14_000, 0)
