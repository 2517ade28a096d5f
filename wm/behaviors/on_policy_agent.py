"""The part of an agent that REINFORCE, A2C and PPO have alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from wm.behaviors import on_policy
from wm.behaviors.on_policy import OnPolicy, OnPolicyConfig, State
from wm.data.rollout import Rollout
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Mode, TimeStep, Tree


class OnPolicyAgent:
    """Acts, and keeps the newest steps; subclasses bring `batches` and `update`."""

    def __init__(self, spec: EnvSpec, config: OnPolicyConfig, critic: bool = True):
        """Build nets for `spec`.

        Raises:
          UserError: actions that are neither one index nor one vector.
        """
        self.spec = spec
        self.nets = OnPolicy(spec, config, critic=critic)
        self.optimizer = on_policy.optimizer(config)

    def init(self, key: Key) -> State:
        """Fresh parameters."""
        return self.nets.init(key)

    def actor(self, state: State) -> Tree:
        """The nets that act, and the scale of what they read."""
        return self.nets.acting(state)

    def start(self, actor: Tree, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, actor: Tree, key: Key, carry: tuple, timestep: TimeStep, mode: Mode
    ) -> tuple[tuple, jax.Array, dict]:
        """Sampled actions, in `eval` the mode; `extras` holds their log density."""
        return carry, *self.nets.act(actor, key, timestep, mode)

    def buffer(self, schedule: Any) -> Rollout:
        """The newest steps."""
        return on_policy.window(schedule)

    def one_step(
        self, loss: Callable, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """What `update` returns after one step on everything new.

        Args:
          loss: `(params, key, Experience) -> (f32 [], metrics)`.
          state: before.
          key: consumed.
          batches: those of `on_policy.newest`.
        """
        moments, experience = self.nets.experience(state.moments, batches["newest"])
        gradient, metrics = jax.grad(loss, has_aux=True)(state.params, key, experience)
        params, optimizer = on_policy.descend(
            self.optimizer, gradient, state.optimizer, state.params
        )
        metrics["loss/gradient_norm"] = optax.tree.norm(gradient)
        return State(params, optimizer, moments), {}, metrics
