"""What the host does about updates that are not finite, and what it keeps of them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wm.errors import RunError
from wm.train import manifest
from wm.train.checkpoint import copy, read_item, write_item
from wm.train.guard import IN_A_ROW
from wm.types import Key, Tree

FOLDER = "postmortem"
"""In the run directory."""

AT_ONE_STEP = 3
"""Times that a run is rolled back to one checkpoint before it is given up."""


class Evidence(NamedTuple):
    """An update that was dropped: `agent.update(state, key, batch)` is that update.

    Of a fit that was dropped there is no batch but the replay, which is not kept.
    """

    state: Tree
    key: Key
    batch: dict[str, Any]
    step: int
    updates: int


@dataclasses.dataclass
class Mishaps:
    """Of one run."""

    path: Path
    """Of the run."""
    policy: str
    """`Schedule.nonfinite`."""
    numbers: list[int]
    """Of the seeds."""
    warn: Callable[[str], None]
    restore: Callable[[list[int], int], tuple[Any, Any] | None]
    """States and marks of the last checkpoint, those seeds with a key of that number;
    None where there is no checkpoint."""

    def __post_init__(self):
        self.times: list[int] = []
        """Steps that this process went back to."""

    def handle(self, runner: Any, states: Any, report: dict, marks: Any):
        """Keep the evidence, then go on as the policy says.

        Args:
          runner: of the run.
          states: with an alarm.
          report: with counters.
          marks: changed where the states are earlier ones.

        Returns:
          States to go on with, and whether they are earlier ones.

        Raises:
          RunError: the run does not go on.
        """
        seeds = np.flatnonzero(report["alarm"]).tolist()
        found, many = [], False
        for seed in seeds:
            learner = runner.learner(states, seed)
            many |= int(learner.guard.streak) >= IN_A_ROW
            found.append(self._keep(self.numbers[seed], learner))
        step = int(report["step"][seeds[0]])
        who = f"seed {self.numbers[seeds[0]]}: " if len(self.numbers) > 1 else ""
        what = f"{who}the update at step {step:,} is not finite"
        kept = f"batch and state are in {found[0]}"
        if self.policy == "halt":
            raise RunError(
                f"{what}; {kept}. --train.nonfinite skip or rollback goes on from the "
                "last checkpoint"
            )
        if self.policy == "skip" and not many:
            self.warn(f"{what}, skipped; {kept}")
            return runner.calm(states), False
        if many:
            what += f", nor were the {IN_A_ROW - 1} before it"
        return self._rolled(what, kept, seeds, marks), True

    def _rolled(self, what: str, kept: str, seeds: list[int], marks: Any):
        """Earlier states, with other keys for the seeds that failed."""
        found = self.restore(seeds, len(self.times) + 1)
        if found is None:
            raise RunError(
                f"{what}, and there is no checkpoint to go back to; {kept}. Choose "
                "another --seed, or a shorter --train.save_steps"
            )
        states, old = found
        self.times.append(old.saved)
        if self.times.count(old.saved) > AT_ONE_STEP:
            raise RunError(
                f"{what}, as in {AT_ONE_STEP} other courses from step {old.saved:,}; "
                f"{kept}"
            )
        self.warn(f"{what}: back to step {old.saved:,} with another key; {kept}")
        for field in dataclasses.fields(old):
            setattr(marks, field.name, getattr(old, field.name))
        return states

    def _keep(self, number: int, learner: Any) -> Path:
        """Write what is needed to repeat the update; where."""
        step, updates = int(learner.step), int(learner.updates)
        folder = self.path / FOLDER / f"seed_{number}_step_{step}_update_{updates}"
        tree = {
            "state": learner.agent,
            "key": learner.guard.key,
            "batch": learner.guard.batch,
        }
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            entries = write_item(folder / "item", copy(tree))
            notes = {"step": step, "updates": updates, "seed": number}
            manifest.write(folder, {"notes": notes, "items": {"item": entries}})
        except (OSError, ValueError) as error:
            self.warn(f"cannot write {folder}: {manifest.reason(error)}")
        return folder


def evidence(folder: Path, state: Tree, batch: Tree) -> Evidence:
    """What `Mishaps` kept.

    Args:
      folder: of one update.
      state: shapes of the agent's state.
      batch: shapes of its batches.

    Raises:
      RunError: it is damaged.
    """
    target = {"state": state, "key": jax.eval_shape(lambda: jax.random.key(0))}
    try:
        body = manifest.read(folder)
        entries = body["items"]["item"]
        found = read_item(folder / "item", {**target, "batch": batch}, entries)
    except manifest.Damaged as error:
        raise RunError(f"{folder} is damaged ({error})") from error
    found = jax.tree.map(jnp.asarray, found)
    notes = body["notes"]
    return Evidence(**found, step=notes["step"], updates=notes["updates"])
