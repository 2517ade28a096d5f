"""The dream of a run: computed once, kept in `report/dream.npz`, drawn as pictures."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wm.errors import RunError, UserError

CONTEXT = 5
"""Observed frames (Hafner et al. 2019, Figure 8)."""
EPISODES = 4
"""Shown side by side."""
FRAMES = 50
"""Longest dream, context included; the usual length in papers of this family."""
STRIP = 15
"""Frames in a strip: as many as are still seen without zooming."""
FORMAT = 1
"""Of the file; another one is computed afresh."""


class Reel(NamedTuple):
    """One observation array of a dream."""

    name: str
    """Its key in the observation; empty where that is one array."""
    truth: np.ndarray
    """`[N, L, …]`; images uint8."""
    imagined: np.ndarray
    """`[N, L, …]`; images uint8."""
    error: np.ndarray
    """f32 `[N, L]`."""

    @property
    def image(self) -> bool:
        """Whether frames are pictures `[H, W, C]`."""
        return self.truth.dtype == np.uint8 and self.truth.ndim == 5


class Night(NamedTuple):
    """A dream with everything the page says about it."""

    reels: tuple[Reel, ...]
    reward: np.ndarray
    imagined_reward: np.ndarray
    valid: np.ndarray
    """bool `[N, L]`."""
    context: int
    step: int
    """Environment steps of the parameters."""
    seed: int


def dream(path: Path, folder: Path, seed: int) -> Night | str:
    """The dream of a run at its newest checkpoint, from `folder/dream.npz` where it
    is of that step and of this seed.

    Returns:
      The dream, or one sentence that says why there is none.
    """
    file = folder / "dream.npz"
    saved = (x.name for x in (path / "checkpoints").glob("*") if x.name.isdigit())
    step = max(map(int, saved), default=0)
    kept = load(file)
    if kept is not None and (kept.step, kept.seed) == (step, seed):
        return kept
    try:
        night = _compute(path, step, seed)
    except (RunError, UserError, OSError) as error:
        return f"No dream: {error}."
    if isinstance(night, Night):
        save(file, night)
    return night


def _compute(path: Path, step: int, seed: int) -> Night | str:
    import jax

    from wm.train.dream import open_loop_dream, play, window
    from wm.train.run import load as load_run

    run = load_run(path)
    model = getattr(run.agent, "model", None)
    if model is None:
        return "No dream: this system learns no world model."
    if not hasattr(model, "decode"):
        return "No dream: this world model does not predict observations."
    if all(array.discrete for array in jax.tree.leaves(run.env.spec.observation)):
        return "No dream: observations are numbers of states, which show nothing."
    state = run.state(seed)
    key_play, key_dream = jax.random.split(jax.random.key(seed))
    steps, valid = play(
        run.agent, run.env, state, key_play, rows=4 * EPISODES, frames=2 * FRAMES
    )
    steps = window(steps, valid, FRAMES, EPISODES)
    frames = steps.timestep.is_first.shape[1]
    if frames < 2:
        return "No dream: episodes end after one frame."
    # Short episodes leave a third of their frames to the context.
    context = CONTEXT if frames >= 2 * CONTEXT else max(1, frames // 3)
    result = open_loop_dream(model, state.params, key_dream, steps, context)
    return night_of(jax.device_get(result), step, seed)


def night_of(result: Any, step: int, seed: int) -> Night:
    """A `wm.train.dream.Dream` of numpy arrays as what is stored and shown."""
    import jax

    paths, _ = jax.tree_util.tree_flatten_with_path(result.truth)
    imagined = jax.tree.leaves(result.imagined)
    error = jax.tree.leaves(result.error)
    reels = []
    for (path, truth), guess, distance in zip(paths, imagined, error, strict=True):
        if truth.dtype == np.uint8 and truth.ndim == 5:
            guess = np.clip(np.round(guess * 255), 0, 255).astype(np.uint8)
        name = "/".join(str(getattr(part, "key", part)) for part in path)
        reels.append(Reel(name, truth, np.asarray(guess), np.asarray(distance)))
    return Night(
        reels=tuple(reels),
        reward=np.asarray(result.reward),
        imagined_reward=np.asarray(result.imagined_reward),
        valid=np.asarray(result.valid),
        context=int(result.context),
        step=step,
        seed=seed,
    )


def save(file: Path, night: Night) -> None:
    """Write a dream as one compressed file."""
    arrays = {
        f"{part}/{index}": getattr(reel, part)
        for index, reel in enumerate(night.reels)
        for part in ("truth", "imagined", "error")
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        file,
        format=FORMAT,
        names=[reel.name for reel in night.reels],
        **night._replace(reels=())._asdict() | arrays,
    )


def load(file: Path) -> Night | None:
    """Read a dream; None where there is none, or one of another format."""
    if not file.is_file():
        return None
    try:
        # Given a path, numpy leaves the file open where it is no archive.
        with open(file, "rb") as stream, np.load(stream) as data:
            if int(data["format"]) != FORMAT:
                return None
            reels = tuple(
                Reel(
                    str(name),
                    *(data[f"{part}/{i}"] for part in ("truth", "imagined", "error")),
                )
                for i, name in enumerate(data["names"])
            )
            arrays = (data[key] for key in ("reward", "imagined_reward", "valid"))
            numbers = (int(data[key]) for key in ("context", "step", "seed"))
            return Night(reels, *arrays, *numbers)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # cut short while it was written


def colors(images: np.ndarray) -> np.ndarray:
    """Any number of channels as RGB: one is grey, two leave blue empty, more are cut.

    Args:
      images: uint8 `[…, H, W, C]`.
    """
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, 3, -1)
    if channels == 2:
        return np.concatenate([images, np.zeros_like(images[..., :1])], -1)
    return images[..., :3]


def heat(truth: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Absolute error as uint8 RGB `[…, H, W, 3]`: dark is right, bright wrong.

    The brightest colour stands for half of the full range or more.
    """
    from matplotlib import colormaps

    difference = np.abs(truth.astype(np.float32) - imagined.astype(np.float32)) / 255
    table = (colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    level = np.clip(difference.mean(-1) * 2 * 255, 0, 255).astype(np.uint8)
    return table[level]


def cells(reel: Reel) -> np.ndarray:
    """uint8 RGB `[N, 3, L, H, W, 3]`: truth, imagination, error."""
    rows = colors(reel.truth), colors(reel.imagined), heat(reel.truth, reel.imagined)
    return np.stack(rows, 1)


def sprite(reel: Reel) -> bytes:
    """All frames on one PNG in native size: rows episode × (truth, dream, error)."""
    tiles = cells(reel)
    N, kinds, L, H, W, _ = tiles.shape
    sheet = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(N * kinds * H, L * W, 3)
    return _png(sheet)


def strip(
    reel: Reel, row: int, frames: np.ndarray, side: int = 72, gap: int = 3
) -> bytes:
    """One episode as a PNG: truth, imagination, error in rows, frames in columns.

    Args:
      reel: an image.
      row: episode.
      frames: which frames, i64 `[F]`.
      side: least height of a cell in pixels.
      gap: transparent pixels between cells.
    """
    tiles = cells(reel)[row][:, frames]
    zoom = max(1, -(-side // tiles.shape[2]))
    tiles = tiles.repeat(zoom, 2).repeat(zoom, 3)
    alpha = np.full((*tiles.shape[:-1], 1), 255, np.uint8)
    tiles = np.concatenate([tiles, alpha], -1)
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)))
    kinds, F, H, W, _ = tiles.shape
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(kinds * H, F * W, 4)
    return _png(sheet[:-gap, :-gap])


def strip_frames(valid: int, context: int) -> np.ndarray:
    """Frames of a strip: the context, then the rest evenly, at most `STRIP`."""
    if valid <= STRIP:
        return np.arange(valid)
    seen = min(context, STRIP // 3)
    rest = np.linspace(context, valid - 1, STRIP - seen).round().astype(np.int64)
    return np.concatenate([np.arange(context - seen, context), rest])


def animation(
    reel: Reel, valid: np.ndarray, frame_ms: int, side: int = 96, gap: int = 6
) -> bytes:
    """All episodes side by side as an animated WebP that repeats for ever.

    Args:
      reel: an image.
      valid: bool `[N, L]`; a row that is over keeps its last valid frame.
      frame_ms: duration of a frame.
      side: least width of a cell in pixels.
      gap: pixels between cells.
    """
    from PIL import Image

    shown = np.minimum(np.arange(valid.shape[1]), valid.sum(1)[:, None] - 1)
    tiles = np.stack(
        [row[:, frames] for row, frames in zip(cells(reel), shown, strict=True)]
    )
    zoom = max(1, -(-side // tiles.shape[3]))
    tiles = tiles.repeat(zoom, 3).repeat(zoom, 4)
    tiles = np.pad(tiles, ((0, 0),) * 3 + ((0, gap), (0, gap), (0, 0)))
    N, kinds, L, H, W, _ = tiles.shape
    sheets = tiles.transpose(2, 1, 3, 0, 4, 5).reshape(L, kinds * H, N * W, 3)
    images = [Image.fromarray(sheet[:-gap, :-gap]) for sheet in sheets]
    file = io.BytesIO()
    images[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=images[1:],
        duration=frame_ms,
        loop=0,
        lossless=True,
    )
    return file.getvalue()


def pictures(night: Night, folder: Path) -> None:
    """Write `dream….png` (the first episode as a strip) and `dream….webp`."""
    for reel in night.reels:
        if not reel.image:
            continue
        name = "dream" + (f"-{reel.name.replace('/', '-')}" if reel.name else "")
        frames = strip_frames(int(night.valid[0].sum()), night.context)
        (folder / f"{name}.png").write_bytes(strip(reel, 0, frames))
        still = animation(reel, night.valid, frame_ms(reel.truth.shape[1]))
        (folder / f"{name}.webp").write_bytes(still)


def frame_ms(frames: int) -> int:
    """Duration of a frame: short episodes are played slowly enough to be followed."""
    return 500 if frames <= 10 else 200 if frames <= 25 else 100


def _png(sheet: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG", optimize=True)
    return file.getvalue()
