"""`Run`: what a run directory holds, and more of it on demand."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.errors import RunError, UserError
from wm.train import evaluate, log, recipes, rundir
from wm.train.checkpoint import Checkpoints
from wm.train.introduce import members
from wm.train.log import counted
from wm.train.manifest import Damaged
from wm.train.mishap import Evidence, evidence
from wm.train.schedule import Schedule
from wm.types import Step, Tree


class Run:
    """A run, finished or not. States are read from its checkpoints."""

    def __init__(self, path: Path, agent: Any = None, env: Any = None):
        """Open `path`; agent and environment are built from its config if None."""
        self.path = Path(path)
        self._agent, self._env = agent, env

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """config.json."""
        return rundir.read_config(self.path)

    @property
    def env(self) -> Any:
        """The environment, built on first use where it was not given."""
        if self._env is None:
            self._env = recipes.rebuild_env(self.config)
        return self._env

    @property
    def agent(self) -> Any:
        """The agent, built on first use where it was not given."""
        if self._agent is None:
            self._agent = recipes.rebuild_agent(self.config, self.env.spec)
        return self._agent

    @property
    def evaluation_env(self) -> Any:
        """The environment for scores: of a kind on the host, other instances."""
        return self._env or recipes.evaluation_env(self.config) or self.env

    @property
    def schedule(self) -> Schedule:
        """The resolved schedule."""
        return Schedule(**self.config["schedule"])

    @property
    def seeds(self) -> list[int]:
        """The numbers of the seeds, as in the rows."""
        first = self.config["seed"]
        return list(range(first, first + self.config["seeds"]))

    @property
    def scores(self) -> np.ndarray:
        """Returns of the newest evaluation, f32 `[seeds, episodes]`.

        Raises:
          RunError: there is none yet.
        """
        rows = log.read(self.path / "scores.jsonl")
        found = []
        for seed in self.seeds:
            mine = [row for row in rows if row["seed"] == seed]
            newest = max((row["step"] for row in mine), default=0)
            found.append([row["return"] for row in mine if row["step"] == newest])
        episodes = min(map(len, found))
        if not episodes:
            raise RunError(f"{self.path} has no scores yet")
        return np.array([returns[:episodes] for returns in found], np.float32)

    def metrics(self) -> list[dict[str, Any]]:
        """All rows of metrics.jsonl."""
        return log.read(self.path / "metrics.jsonl")

    def saved(self) -> list[int]:
        """Steps of the checkpoints that are there, oldest first."""
        return self._checkpoints.steps()

    def state(self, seed: int | None = None, step: int | None = None) -> Tree:
        """The agent's state at a checkpoint.

        Args:
          seed: its number, as in the rows; the first if None.
          step: one of `saved()`; the newest whole one if None.

        Raises:
          UserError: no such seed or step.
          RunError: nothing was saved, or nothing whole is left.
        """
        return self.learner(seed, step).agent

    def check(self) -> Any:
        """Repeat the stretch between the two newest checkpoints and compare it.

        Returns:
          `wm.train.recheck.Outcome`; prints nothing.

        Raises:
          RunError: nothing was saved, or the environment cannot save its state.
        """
        from wm.train.recheck import check

        return check(self)

    def evidence(self, folder: str | Path) -> Evidence:
        """An update that was not finite, from its folder in `postmortem/`.

        `agent.update(state, key, batch)` with what is returned makes it again.

        Raises:
          RunError: it cannot be read.
        """
        return evidence(Path(folder), self._shapes.agent, self._shapes.guard.batch)

    def starts(self, seed: int | None = None, rows: int = 16, frames: int = 64) -> Tree:
        """Model states seen while acting, `[N, …]`: where dreams may begin.

        Args:
          seed: as `state`.
          rows: episodes played.
          frames: steps of each, at most; what follows an episode's end is left out.

        Raises:
          UserError: the agent has no world model.
        """
        from wm.train.dream import play

        model = getattr(self.agent, "model", None)
        if model is None:
            raise UserError(f"{self.config['agent']['name']} learns no world model")
        state = self.state(seed)
        key_play, key_observe = jax.random.split(jax.random.key(0))
        steps, valid = play(self.agent, self.env, state, key_play, rows, frames)
        observed = jax.jit(lambda p, k, s: observe(model, p, k, s))
        states = observed(state.params, key_observe, steps)
        keep = np.flatnonzero(np.asarray(valid & ~steps.timestep.is_last).T)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[keep], states)

    def evaluate(self, episodes: int = 100, video: bool = False) -> np.ndarray:
        """Play new episodes; rows are added to scores.jsonl.

        Args:
          episodes: per seed.
          video: write an animation of one episode into `report/`; images only.

        Returns:
          Returns, f32 `[seeds, episodes]`.
        """
        if video:
            self._shows_images()
        begin, found = time.perf_counter(), []
        play = evaluate.evaluator(self.agent, self.evaluation_env, episodes)
        for seed in self.seeds:
            learner = self.learner(seed)
            played = self._played(seed)
            key = evaluate.evaluation_key(learner.key, learner.step, played)
            scores = play(learner.agent, key)
            rows = [
                {"step": int(learner.step), "seed": seed}
                | {"return": float(value), "length": int(length)}
                for value, length in zip(*scores, strict=True)
            ]
            log.append(self.path / "scores.jsonl", rows)
            found.append(scores.returns)
        returns = np.stack(found)
        seconds = log.clock(time.perf_counter() - begin)
        step, total = int(learner.step), self.schedule.total
        of = f" of {total:,}" if step < total else ""
        print(
            f"{returns.mean():.3f} ± {returns.mean(1).std():.3f} over "
            f"{counted(len(self.seeds), 'seed')} × {counted(episodes, 'episode')} "
            f"after {step:,}{of} steps, in {seconds}"
        )
        for line in members(self.agent, returns):
            print(line)
        if video:
            print(f"video: {self.video()}")
        return returns

    def video(self, seed: int | None = None, frames: int = 500) -> Path:
        """Write the first episode of an evaluation as an animation.

        Raises:
          UserError: the environment shows no images.
        """
        from wm.train.dream import play

        self._shows_images()
        key = jax.random.key(0)
        steps, valid = play(self.agent, self.env, self.state(seed), key, 1, frames)
        images = [
            x
            for x in jax.tree.leaves(steps.timestep.observation)
            if x.dtype == jnp.uint8 and x.ndim == 5
        ]
        frames_shown = np.asarray(images[0][0])[np.asarray(valid[0])]
        return write_video(self.path / "report" / "episode.webp", frames_shown)

    def _shows_images(self) -> None:
        spec = self.env.spec
        if not any(array.image for array in jax.tree.leaves(spec.observation)):
            raise UserError(f"{spec.name} shows no images: leave --video out")

    def learner(self, seed: int | None = None, step: int | None = None) -> Any:
        """`TrainState` of one seed without its replay: as `state`, with counters."""
        seed = self.seeds[0] if seed is None else seed
        if seed not in self.seeds:
            raise UserError(f"no seed {seed} in {self.path}; it has {self.seeds}")
        if step is not None and step not in self.saved():
            raise UserError(f"no checkpoint {step} in {self.path}: {self.saved()}")
        name = f"seed_{seed}_learner"
        target = {name: self._shapes.learner()}
        try:
            warn = lambda line: print(f"wm: {line}", file=sys.stderr)
            if step is None:
                restored = self._checkpoints.restore(target, warn)
            else:
                restored = self._checkpoints.read(step, target)
        except Damaged as error:
            raise RunError(f"{self.path}: checkpoint {step}: {error}") from error
        if restored is None:
            raise RunError(f"{self.path} has no checkpoint yet")
        return jax.tree.map(jnp.asarray, restored.items[name])

    @functools.cached_property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints", sweep=False)

    @functools.cached_property
    def _shapes(self) -> Any:
        from wm.train.device import state_shapes
        from wm.train.host import HostRunner
        from wm.train.host_env import AsHost
        from wm.train.loop import loop_of
        from wm.train.seeds import Seeds, seed_keys

        loop, host = loop_of(self.agent, self.schedule), hasattr(self.env, "num_envs")
        if not host and self.schedule.replay_tier == "device":
            return state_shapes(loop, self.env)
        keys = seed_keys(self.config["seed"], 1)
        env = self.env if host else AsHost(self.env, self.schedule.envs, keys[0])
        return HostRunner(loop, [env], Seeds(keys)).shapes()

    def _played(self, seed: int) -> int:
        rows = log.read(self.path / "scores.jsonl")
        return sum(row["seed"] == seed for row in rows)


def observe(model: Any, params: Tree, key: Any, steps: Step) -> Tree:
    """Model states `[L, N, …]` after every record of `steps` `[N, L, …]`."""
    swap = lambda tree: jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)
    action, timestep = swap(steps.action), swap(steps.timestep)
    previous = jax.tree.map(
        lambda x: jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]), action
    )
    frames, rows = timestep.is_first.shape

    def body(state, inputs):
        key, previous, timestep = inputs
        # One frame at a time: all frames of long episodes of images are many.
        evidence = model.encode(params, timestep)
        state = model.observe(params, key, state, previous, evidence)
        return state, state

    keys = jax.random.split(key, frames)
    inputs = (keys, previous, timestep)
    return jax.lax.scan(body, model.start(params, rows), inputs)[1]


def write_video(path: Path, frames: np.ndarray, per_second: int = 15) -> Path:
    """Images `[T, H, W, 1 or 3]` as animated WebP, small ones enlarged."""
    from PIL import Image

    zoom = max(1, 256 // frames.shape[1])
    frames = np.repeat(frames, 3 // frames.shape[-1], axis=-1)
    frames = frames.repeat(zoom, 1).repeat(zoom, 2)
    first, *rest = (Image.fromarray(frame) for frame in frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    duration = 1000 // per_second
    first.save(path, save_all=True, append_images=rest, duration=duration, loop=0)
    return path
