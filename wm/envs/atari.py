"""Atari 2600 on the host, through envpool's Arcade Learning Environment."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from wm.envs.host import PoolEnv, action_spec, make_pool
from wm.errors import UserError
from wm.types import ArraySpec, EnvSpec


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The settings that differ between published protocols."""

    size: int
    gray: bool
    sticky: float
    full_actions: bool


PROTOCOLS = {
    "atari100k": Protocol(size=64, gray=False, sticky=0.0, full_actions=False),
    "atari": Protocol(size=96, gray=True, sticky=0.25, full_actions=True),
}
"""DreamerV3 e3f0224, dreamerv3/configs.yaml: `env.atari100k` and `env.atari`."""

RAW_HEIGHT, RAW_WIDTH = 210, 160
LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a grey pixel (ITU-R BT.601)."""


def make(
    name: str,
    num_envs: int = 16,
    seed: int = 0,
    protocol: str = "atari100k",
    size: int | None = None,
    gray: bool | None = None,
    sticky: float | None = None,
    full_actions: bool | None = None,
    repeat: int = 4,
    noops: int = 30,
    frames: int = 108_000,
    resize: str = "pillow",
) -> PoolEnv:
    """A game, one frame per observation.

    The maximum over the last two frames is taken; an episode ends with the game, not
    with a life; rewards are not clipped; no button is pressed at the start.

    Args:
      name: the game as in `MsPacman`.
      num_envs: instances.
      seed: instance i gets `seed + i`.
      protocol: `atari100k` (64×64 RGB, the game's own actions, none sticky) or `atari`
        (96×96 grey, all 18 actions, 0.25 sticky); sets the next four.
      size: pixels per side.
      gray: one channel instead of three.
      sticky: chance that the emulator repeats the previous action.
      full_actions: all 18 actions instead of those that the game uses.
      repeat: frames per action.
      noops: 1 to this many idle frames begin an episode, at least 1.
      frames: truncates an episode.
      resize: `pillow` (bilinear with a filter as wide as a pixel, like the authors) or
        `area` (OpenCV, inside envpool: half the time of a step; differs by 0.6 grey
        levels on average in Pong).

    Raises:
      UserError: impossible value.

    Source: DreamerV3 e3f0224, embodied/envs/atari.py. Differs: the frame limit is a
    truncation, theirs counts as terminal; at least 1 idle frame, theirs 0.
    """
    base = check(protocol, repeat, noops, frames, resize)
    given = {"size": size, "gray": gray, "sticky": sticky, "full_actions": full_actions}
    given = {name: value for name, value in given.items() if value is not None}
    chosen = dataclasses.replace(base, **given)
    size, gray = chosen.size, chosen.gray
    if size < 1:
        raise UserError(f"size must be at least 1, got {size}")
    pillow = resize == "pillow"
    options = _options(chosen, repeat, noops, frames, pillow)
    make_seed = functools.partial(make_pool, f"{name}-v5", num_envs, **options)
    pool = make_seed(seed)
    published = chosen in PROTOCOLS.values()
    published = published and (repeat, frames) == (4, 108_000)
    spec = EnvSpec(
        observation=ArraySpec((size, size, 1 if gray else 3), "uint8"),
        action=action_spec(pool.action_space),
        name=f"atari/{name}",
        time_limit=options["max_episode_steps"],
        action_repeat=repeat,
        random_return=RANDOM.get(name) if published else None,
    )
    observe = lambda x, _: resized(x, size, gray) if pillow else channels_last(x)
    return PoolEnv(make_seed, pool, spec, observe)


def _options(
    chosen: Protocol, repeat: int, noops: int, frames: int, pillow: bool
) -> dict[str, Any]:
    """Every option of envpool that matters here; its defaults differ by release."""
    size = chosen.size
    return {
        "stack_num": 1,
        "frame_skip": repeat,
        "noop_max": noops,
        "max_episode_steps": -(-frames // repeat),
        "full_action_space": chosen.full_actions,
        "repeat_action_probability": chosen.sticky,
        "gray_scale": chosen.gray and not pillow,
        "img_height": RAW_HEIGHT if pillow else size,
        "img_width": RAW_WIDTH if pillow else size,
        "use_inter_area_resize": True,
        "use_fire_reset": False,
        "episodic_life": False,
        "zero_discount_on_life_loss": False,
        "reward_clip": False,
    }


def check(protocol: str, repeat: int, noops: int, frames: int, resize: str) -> Protocol:
    """The protocol, if the options are possible.

    Raises:
      UserError: the first one that is not.
    """
    if protocol not in PROTOCOLS:
        known = " or ".join(PROTOCOLS)
        raise UserError(f"protocol must be {known}, got {protocol}")
    for option, value in {"repeat": repeat, "noops": noops, "frames": frames}.items():
        if value < 1:
            raise UserError(f"{option} must be at least 1, got {value}")
    if resize not in ("pillow", "area"):
        raise UserError(f"resize must be pillow or area, got {resize}")
    return PROTOCOLS[protocol]


def channels_last(frames: np.ndarray) -> np.ndarray:
    """`[B, C, H, W]` → `[B, H, W, C]`."""
    return np.ascontiguousarray(np.moveaxis(frames, 1, -1))


def resized(frames: np.ndarray, size: int, gray: bool) -> np.ndarray:
    """Raw frames `[B, 3, 210, 160]` → `[B, size, size, 3 or 1]`.

    Each channel is resized alone, which is the same and saves a copy; grey is taken
    after that.
    """
    from PIL import Image

    method = Image.Resampling.BILINEAR
    out = np.empty((len(frames), size, size, 3), np.uint8)
    for b, c in np.ndindex(len(frames), 3):
        resized = Image.fromarray(frames[b, c]).resize((size, size), method)
        out[b, ..., c] = np.asarray(resized)
    if gray:
        out = (out * LUMA).sum(-1, keepdims=True).astype(np.uint8)
    return out


# The scores by which the field normalises: eloialonso/iris results/data/RANDOM.json
# (the 26 games of Atari 100k), danijar/dreamerv2 scores/baselines.json (the others).
# fmt: off
RANDOM: dict[str, float] = {
    "Alien": 227.8, "Amidar": 5.8, "Assault": 222.4, "Asterix": 210.0,
    "Asteroids": 719.1, "Atlantis": 12850.0, "BankHeist": 14.2, "BattleZone": 2360.0,
    "BeamRider": 363.9, "Berzerk": 123.7, "Bowling": 23.1, "Boxing": 0.1,
    "Breakout": 1.7, "Centipede": 2090.9, "ChopperCommand": 811.0,
    "CrazyClimber": 10780.5, "Defender": 2874.5, "DemonAttack": 152.1,
    "DoubleDunk": -18.6, "Enduro": 0.0, "FishingDerby": -91.7, "Freeway": 0.0,
    "Frostbite": 65.2, "Gopher": 257.6, "Gravitar": 173.0, "Hero": 1027.0,
    "IceHockey": -11.2, "Jamesbond": 29.0, "Kangaroo": 52.0, "Krull": 1598.0,
    "KungFuMaster": 258.5, "MontezumaRevenge": 0.0, "MsPacman": 307.3,
    "NameThisGame": 2292.3, "Phoenix": 761.4, "Pitfall": -229.4, "Pong": -20.7,
    "PrivateEye": 24.9, "Qbert": 163.9, "Riverraid": 1338.5, "RoadRunner": 11.5,
    "Robotank": 2.2, "Seaquest": 68.4, "Skiing": -17098.1, "Solaris": 1236.3,
    "SpaceInvaders": 148.0, "StarGunner": 664.0, "Surround": -10.0, "Tennis": -23.8,
    "TimePilot": 3568.0, "Tutankham": 11.4, "UpNDown": 533.4, "Venture": 0.0,
    "VideoPinball": 16256.9, "WizardOfWor": 563.5, "YarsRevenge": 3092.9,
    "Zaxxon": 32.5,
}
# fmt: on
