"""The DeepMind control suite on the host, through envpool."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from wm.envs.host import PoolEnv, action_spec, load_opengl, make_pool
from wm.envs.suite import REWARDS
from wm.errors import UserError
from wm.types import ArraySpec, EnvSpec

TIME_LIMIT = 1000
"""Control steps per episode, in every task of the suite."""

NOT_OBSERVED = {
    "finger_spin": ("target_position", "dist_to_target"),
    "fish_upright": ("target",),
    "humanoid": ("position",),
    "quadruped": ("origin", "rangefinder", "ball_state", "target_position"),
}
"""Entries that envpool reports for a whole domain and the suite's task does not have;
by task, else by domain."""


def make(
    name: str,
    num_envs: int = 16,
    seed: int = 0,
    pixels: bool = False,
    size: int = 64,
    camera: int | None = None,
    repeat: int = 1,
    flat: bool = False,
) -> PoolEnv:
    """A task of the control suite.

    Observations are the suite's own vectors by name, one vector of them all, or one RGB
    image. Episodes are truncated after 1000 control steps and never end before.

    Args:
      name: domain and task, as in `walker_walk`.
      num_envs: instances.
      seed: instance i gets `seed + i`.
      pixels: observe one image `[size, size, 3]` instead; needs an OpenGL library.
      size: pixels per side.
      camera: number of the camera; by default 0, and 2 for quadruped.
      repeat: control steps per action, rewards summed.
      flat: observe one vector, the suite's in order of their names; for models of
        vectors. Rewards that follow from it are then known (`wm.envs.suite`).

    Raises:
      UserError: impossible value, or no OpenGL.

    Source: DreamerV3 e3f0224, embodied/envs/dmc.py and configs.yaml (repeat 1, 64
    pixels, these cameras). Differs: envpool's port of the suite instead of dm_control.
    """
    if repeat < 1:
        raise UserError(f"repeat must be at least 1, got {repeat}")
    if pixels and flat:
        raise UserError("flat and pixels exclude each other: set one of them")
    options: dict[str, Any] = {"max_episode_steps": TIME_LIMIT}
    vectors = functools.partial(observe_vectors, hidden=hidden_from(name))
    observe = vectors
    if pixels:
        if size < 1:
            raise UserError(f"size must be at least 1, got {size}")
        if camera is None:
            camera = 2 if name.startswith("quadruped") else 0
        options |= {"render_width": size, "render_height": size}
        options |= {"render_camera_id": camera, "from_pixels": True}
        observe = observe_image
        require_opengl(name)
    task = "".join(part.capitalize() for part in name.split("_")) + "-v1"
    make_seed = functools.partial(make_pool, task, num_envs, **options)
    pool = make_seed(seed)
    if pixels:
        observation = ArraySpec((size, size, 3), "uint8")
    else:
        sizes = {
            key: int(np.prod(space.shape))
            for key, space in sorted(pool.observation_space.spaces.items())
            if key not in hidden_from(name)
        }
        observation = {key: ArraySpec((n,), "float32") for key, n in sizes.items()}
        if flat:
            observation = ArraySpec((sum(sizes.values()),))
            observe = lambda x, info: np.concatenate([*vectors(x, info).values()], 1)
    spec = EnvSpec(
        observation=observation,
        action=action_spec(pool.action_space),
        name=f"dmc/{name}",
        time_limit=-(-TIME_LIMIT // repeat),
        action_repeat=repeat,
        reward_fn=REWARDS.get(name) if flat and repeat == 1 else None,
    )
    return PoolEnv(make_seed, pool, spec, observe, repeat)


def hidden_from(name: str) -> tuple[str, ...]:
    """Entries of envpool's observation that the task does not have."""
    return NOT_OBSERVED.get(name, NOT_OBSERVED.get(name.split("_")[0], ()))


def observe_vectors(observation: dict, info: dict, hidden: tuple[str, ...]) -> dict:
    """Entries as float32 vectors `[B, D]`; scalars get one component."""
    return {
        key: np.asarray(value, np.float32).reshape(len(value), -1)
        for key, value in sorted(observation.items())
        if key not in hidden
    }


def observe_image(observation: np.ndarray, info: dict) -> np.ndarray:
    """Channels last, `[B, H, W, 3]`."""
    return np.ascontiguousarray(np.moveaxis(observation, 1, -1))


def render_once() -> None:
    """Draw one frame; without OpenGL this ends the process, with no exception."""
    pool = make_pool("CartpoleBalance-v1", 1, 0, from_pixels=True)
    pool.reset()


@functools.cache
def opengl_works() -> bool:
    """Whether envpool can render here, tried in a process of its own."""
    program = "from wm.envs import dmc; dmc.render_once()"
    path = f"import sys; sys.path[:0] = {sys.path!r}; "
    with tempfile.TemporaryDirectory() as folder:  # MuJoCo leaves a log where it runs
        command = [sys.executable, "-c", path + program]
        return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


def require_opengl(name: str) -> None:
    """Refuse where the first image would end the process.

    Raises:
      UserError: no OpenGL, or envpool was imported before it could be loaded.
    """
    if not opengl_works():
        raise UserError(
            f"dmc/{name} from pixels needs OpenGL: apt install libegl1 (or libosmesa6)"
        )
    if not load_opengl():
        raise UserError(
            f"dmc/{name} from pixels: make it before `import envpool` in this process"
        )
