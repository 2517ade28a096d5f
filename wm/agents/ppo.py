"""PPO: several epochs of a clipped policy gradient on what was just collected.

Schulman et al. 2017, with the details of vwxyzjn/cleanrl fe8d8a0 and DLR-RM/
stable-baselines3 e05d2db: GAE, minibatches shuffled over time and environments,
advantages standardised per minibatch, orthogonal start, Adam with epsilon 1e-5.
Deviations:

- A time limit bootstraps from the value of the true last observation (cleanrl, rejax
  and the paper treat it as death; sb3 does as here).
- Steps that end in a reset are masked out of every mean and count of a minibatch.
- Values and advantages are computed once per update, before the first epoch (brax:
  anew for every minibatch).
- Observations are scaled by the moments from before the rollout, all of it alike
  (cleanrl's move with every step), so that ratios start at 1.
- The first chunk of a run fills the buffer and is not learned from.
"""

from __future__ import annotations

from typing import Any

from wm.behaviors import on_policy, ppo
from wm.behaviors.on_policy import State
from wm.behaviors.on_policy_agent import OnPolicyAgent
from wm.behaviors.ppo import PPOConfig
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics


class PPO(OnPolicyAgent):
    """The agent; see the module."""

    Config = PPOConfig

    def __init__(self, spec: EnvSpec, config: PPOConfig | None = None):
        """Build nets for `spec`.

        Raises:
          UserError: actions that are neither one index nor one vector.
        """
        self.config = config or PPOConfig()
        super().__init__(spec, self.config)
        self.learner = ppo.PPO(self.nets, self.config)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """What was done since the last update.

        Raises:
          UserError: minibatches of unequal size.
        """
        batches = on_policy.newest(schedule)
        rows, L = batches["newest"]
        ppo.check_parts(self.config, rows * (L - 1), "--train.envs x --train.chunk")
        ppo.check_shuffle(self.config, rows, L - 1)
        return batches

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """Several passes over what was done since the last update."""
        state, metrics = self.learner.update(state, key, batches["newest"])
        return state, {}, metrics
