"""SAC: a stochastic actor and two critics that learn from replay with an entropy bonus.

Haarnoja et al. 2018 ("Soft Actor-Critic Algorithms and Applications": two critics, no
value net, learnt temperature), with the details of vwxyzjn/cleanrl fe8d8a0 and DLR-RM/
stable-baselines3 e05d2db. Deviations:

- log π of a squashed action is computed from the value before the tanh (theirs:
  log(1 − a² + 1e-6), which bounds the entropy wrongly near ±1).
- A time limit bootstraps from the true last observation (brax drops those steps, rejax
  stops there); steps that are resets are masked out.
- cleanrl's delayed actor (two updates every second step) is not built.
"""

from __future__ import annotations

from typing import Any

import jax

from wm.behaviors.soft_learner import SoftActorCritic, SoftConfig, SoftState
from wm.data.replay import Replay
from wm.ops.trees import transitions
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Mode, TimeStep, Tree

Config = SoftConfig
State = SoftState


class SAC:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build nets for `spec`.

        Raises:
          UserError: actions that are not one vector of numbers, several players.
        """
        self.spec, self.config = spec, config or Config()
        self.learner = SoftActorCritic(spec, self.config)

    def init(self, key: Key) -> State:
        """Fresh parameters; slow copies start equal."""
        return self.learner.init(key)

    def actor(self, state: State) -> Tree:
        """The actor's net."""
        return state.actor

    def start(self, actor: Tree, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, actor: Tree, key: Key, carry: tuple, timestep: TimeStep, mode: Mode
    ) -> tuple[tuple, jax.Array, dict]:
        """A sample; tanh of the mean in `eval`, uniform in `prefill`."""
        action = self.learner.act(actor, key, timestep.observation, mode)
        return carry, action, {}

    def buffer(self, schedule: Any) -> Replay:
        """Uniform replay."""
        return Replay(schedule.replay, 2, newest_first=False)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """`batch_size` transitions."""
        return {"replay": (schedule.batch_size, 2)}

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step on transitions from replay."""
        step = jax.tree.map(lambda x: x[:, 0], transitions(batches["replay"]))
        state, metrics = self.learner.update(state, key, step)
        return state, {}, metrics
