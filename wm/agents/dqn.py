"""DQN: values of actions from a net, learned from replay towards a slow copy's.

Mnih et al. 2015; double Q-learning van Hasselt et al. 2016; dueling Wang et al. 2016;
n-step returns Hessel et al. 2018, each a switch. Details after vwxyzjn/cleanrl fe8d8a0,
DLR-RM/stable-baselines3 e05d2db and keraJLi/rejax d751095. Deviations:

- The target is formed with the environment's `discount`: a time limit bootstraps from
  the true last observation (cleanrl, sb3 likewise; rejax stops there).
- Counts that others keep in environment steps (exploration, target) are in updates.
- Dueling streams are linear on a shared tower (as in rejax; theirs have a hidden layer
  each).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from wm.behaviors import deep_q
from wm.behaviors.policy_gradient import masked_mean
from wm.data.replay import Replay
from wm.errors import UserError
from wm.nets.tower import Inputs, Start, TowerConfig, example, inputs, tower
from wm.nodes import Node
from wm.ops import optimizers, schedules
from wm.ops.trees import swap_time, transitions
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Mode, TimeStep, Tree


@dataclasses.dataclass(frozen=True)
class Config(TowerConfig):
    """Settings of DQN. Defaults: keraJLi/rejax d751095, CartPole."""

    act: str = "silu"
    """Activation of the hidden layers (rejax silu; cleanrl, sb3 relu)."""
    start: Start = "lecun"
    """Initial kernels: orthogonal or lecun (lecun)."""
    layers: tuple[int, ...] = (64, 64)
    """Width of each hidden layer (rejax, sb3 64, 64; cleanrl 120, 84)."""
    gamma: float = 0.99
    """Discount per step (0.99)."""
    learning_rate: float = 1e-3
    """Step size of Adam (rejax 1e-3; cleanrl 2.5e-4; sb3 1e-4)."""
    adam_epsilon: float = 1e-8
    """Of Adam (1e-8)."""
    max_norm: float = 10.0
    """Greatest norm of the gradient (rejax, sb3 10; cleanrl not clipped: 0)."""
    error: deep_q.Error = "squared"
    """squared (rejax, cleanrl) or huber (Nature, sb3)."""
    double: bool = True
    """The learning net chooses the action that the target net values."""
    dueling: bool = True
    """State value and advantages as separate outputs."""
    steps: int = 1
    """Steps n of the returns (1; Rainbow 3)."""
    target_rate: float = 0.02
    """Share of the net that the target net takes over each time (rejax 0.02; others
    1)."""
    target_updates: int = 1
    """Updates between times (rejax 1; cleanrl 50; sb3 2500; Nature 10000)."""
    epsilon_start: float = 1.0
    """Chance of a random action at first (1)."""
    epsilon_end: float = 0.05
    """And at last (0.05)."""
    epsilon_updates: int = 22_500
    """Updates over which it falls (rejax, cleanrl: half the run)."""
    clip_reward: bool = False
    """Only the sign of a reward counts (Atari)."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("gamma", "target_rate", "epsilon_start", "epsilon_end"):
            self.require(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        for name in ("steps", "target_updates", "epsilon_updates"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "adam_epsilon"):
            self.require(name, getattr(self, name) > 0, "above 0")
        self.require("max_norm", self.max_norm >= 0, "at least 0")
        self.require("error", self.error in ("huber", "squared"), "huber or squared")


class State(Node):
    """All that persists."""

    params: Tree
    target: Tree
    """Slow copy."""
    optimizer: Tree
    updates: jax.Array
    """i32, updates made."""


class DQN:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build a net for `spec`.

        Raises:
          UserError: actions that are not one index, several players.
        """
        self.spec, self.config = spec, config = spec, config or Config()
        classes = spec.action.classes
        if classes is None or spec.action.shape:
            raise UserError(f"{spec.name}: DQN needs actions that are one index")
        if spec.players > 1:
            raise UserError(f"{spec.name} has {spec.players} players; one is needed")
        self.net = tower(config, classes + config.dueling)
        self.exploration = schedules.linear(
            config.epsilon_start, config.epsilon_end, config.epsilon_updates
        )
        adam = optax.adam(config.learning_rate, eps=config.adam_epsilon)
        clip = optax.clip_by_global_norm(config.max_norm)
        self.optimizer = optax.chain(clip, adam) if config.max_norm else adam

    def init(self, key: Key) -> State:
        """Fresh parameters; the target starts equal to the net."""
        params = self.net.init(key, example(self.spec.observation))
        return State(
            params=params,
            target=jax.tree.map(jnp.copy, params),
            optimizer=self.optimizer.init(params),
            updates=jnp.zeros((), jnp.int32),
        )

    def actor(self, state: State) -> Tree:
        """The net and the chance of a random action."""
        return state.params, self.exploration(state.updates)

    def start(self, actor: Tree, batch: int) -> tuple:
        """No memory."""
        return ()

    def act(
        self, actor: Tree, key: Key, carry: tuple, timestep: TimeStep, mode: Mode
    ) -> tuple[tuple, jax.Array, dict]:
        """Epsilon-greedy; greedy in `eval`, random in `prefill`."""
        params, epsilon = actor
        q = self.q(params, inputs(self.spec.observation, timestep.observation))
        chance = {"prefill": 1.0, "train": epsilon, "eval": 0.0}[mode]
        return carry, deep_q.epsilon_greedy(key, q, timestep.legal, chance), {}

    def q(self, params: Tree, x: Inputs) -> jax.Array:
        """Values of all actions, f32 `[…, A]`."""
        outputs = self.net.apply(params, x)
        return deep_q.dueling(outputs) if self.config.dueling else outputs

    def buffer(self, schedule: Any) -> Replay:
        """Uniform replay."""
        return Replay(schedule.replay, self.config.steps + 1, newest_first=False)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """`batch_size` pieces of n steps and what came after."""
        return {"replay": (schedule.batch_size, self.config.steps + 1)}

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step, and the target net's where it is due."""
        config = self.config
        loss = jax.grad(self.loss, has_aux=True)
        gradient, metrics = loss(state.params, state.target, batches["replay"])
        updates, optimizer = self.optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        count = state.updates + 1
        moved = optimizers.ema(state.target, params, config.target_rate)
        target = optimizers.hard_copy(state.target, moved, count, config.target_updates)
        metrics["loss/gradient_norm"] = optax.tree.norm(gradient)
        metrics["behavior/epsilon"] = self.exploration(state.updates)
        return State(params, target, optimizer, count), {}, metrics

    def loss(self, params: Tree, target: Tree, batch: Batch):
        """Mean error of the first step of each piece, and metrics."""
        config = self.config
        timestep = swap_time(batch.timestep)
        step = swap_time(transitions(batch))
        x = inputs(self.spec.observation, timestep.observation)
        legal = timestep.legal
        first = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)
        later = lambda tree: jax.tree.map(lambda leaf: leaf[1:], tree)

        chooser = self.q(params, later(x)) if config.double else None
        value = deep_q.bootstrap(self.q(target, later(x)), chooser, later(legal))
        reward = jnp.sign(step.reward) if config.clip_reward else step.reward
        discount = config.gamma * step.discount
        goal = deep_q.target(reward, discount, step.next_is_last, value)

        mask = step.mask[0].astype(jnp.float32)
        q = self.q(params, first(x))
        error = deep_q.loss(q, step.action[0], goal, config.error)
        total = masked_mean(error, mask)
        metrics = {
            "loss/q": total,
            "behavior/value": masked_mean(q.max(-1), mask),
            "behavior/target": masked_mean(goal, mask),
        }
        return total, metrics
