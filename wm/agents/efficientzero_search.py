"""The part of an agent that searches in a latent model, whatever is learned.

Acting by a search in a latent model, windows of replay by priority, targets that a
target net makes anew, and one step of the optimizer. What is learned is the agent's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.agents.efficientzero_search_config import LatentSearchConfig
from wm.behaviors import unrolled
from wm.behaviors.unrolled import Unrolled
from wm.data.priority import PrioritizedReplay
from wm.data.replay import Replay
from wm.imagine import act_in
from wm.models.value_equivalent import History, LatentState
from wm.nodes import Node
from wm.ops import optimizers, schedules
from wm.ops.trees import flatten_batch, unflatten_batch
from wm.planners.mcts import Likeliest, greedy, mcts
from wm.planners.playing import Playing, unguided
from wm.types import (
    Batch,
    EnvSpec,
    Feedback,
    Index,
    Key,
    Metrics,
    Mode,
    Params,
    TimeStep,
    Tree,
)


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": …, "policy": …}`, see the model."""
    target: Params
    """What is reanalysed with; empty where nothing is."""
    optimizer: Tree
    updates: jax.Array
    """i32, updates made."""


class Renewed(NamedTuple):
    """Policies and values of a batch, made anew where asked for."""

    policy: jax.Array
    """f32 `[N, P, A]`, of all records behind the context."""
    value: jax.Array
    """f32 `[N, P]`, what returns are bootstrapped from."""
    searched: jax.Array
    """f32 `[N, K + 1]`, value of the new search where there was one, else the stored
    one's."""
    new: jax.Array
    """bool `[N]`, whether there was one."""


class LatentSearch:
    """Acts by search and keeps what it found; subclasses bring `update`."""

    def __init__(self, spec: EnvSpec, config: LatentSearchConfig, model: Any):
        """Build searches in `model`, which has the methods of `ValuePrefix`."""
        self.spec, self.config, self.model = spec, config, model
        heads = model.heads if config.eval_guided else unguided
        self.search = mcts(model, model.heads, config.search)
        playing = Playing(self.search, bool(config.temperatures), config.random_actions)
        played: Any = mcts(model, heads, greedy(config.search, config.eval_simulations))
        if config.eval_simulations == 0:
            played = Likeliest(model, model.heads)
        self.policies = {
            "train": act_in(model, playing),
            "eval": act_in(model, played),
        }
        self.exponent = schedules.linear(*config.importance, config.importance_updates)
        self.optimizer = optimizers.decaying(
            config.optimizer,
            config.learning_rate,
            config.decay_updates,
            config.max_norm,
            config.warmup_updates,
        )

    def init(self, key: Key) -> State:
        """Fresh parameters; the target net starts equal to the net."""
        params = self.model.init(key)
        fresh = self.config.reanalyse or self.config.fresh_values
        return State(
            params=params,
            target=jax.tree.map(jnp.copy, params) if fresh else {},
            optimizer=self.optimizer.init(params),
            updates=jnp.zeros((), jnp.int32),
        )

    def actor(self, state: State) -> Params:
        """The net, and how warm its play is."""
        config, params = self.config, state.params
        if config.temperatures:
            after = jnp.array(config.temperature_updates, jnp.int32)
            now = jnp.array(config.temperatures)[jnp.sum(state.updates >= after)]
            return {**params, "temperature": now}
        return params

    def start(self, actor: Params, batch: int) -> Tree:
        """Fresh (model state, previous action, moves made)."""
        return self.policies["train"].start(actor, batch)

    def act(
        self, actor: Params, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, jax.Array]]:
        """Search, then play: by chance in `train` and `prefill`, the best in `eval`."""
        policy = self.policies["eval" if mode == "eval" else "train"]
        carry, action, extras = policy.act(actor, key, carry, timestep)
        if mode == "eval":
            return carry, action, {}
        return carry, action, {name: extras[name] for name in ("policy", "value")}

    @property
    def window(self) -> int:
        """Records that an update reads: what is stacked before the first, K steps of
        the model, and n of the last one's return."""
        return self.model.context + 1 + self.config.unroll + self.config.steps

    def buffer(self, schedule: Any) -> Replay | PrioritizedReplay:
        """Windows by priority, or uniformly."""
        exponent = self.config.priority_exponent
        if not exponent:
            return Replay(schedule.replay, self.window, newest_first=False)
        return PrioritizedReplay(schedule.replay, self.window, exponent)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """`batch_size` windows; `reanalyse_batch` where they are searched anew."""
        return {
            "replay": (schedule.batch_size, self.window),
            "reanalyse": (self.config.reanalyse_batch, self.window),
        }

    def one_step(
        self, loss: Callable, state: Any, batch: Batch, goals: Unrolled
    ) -> tuple[Any, dict[str, Feedback], Metrics]:
        """What `update` returns after one step on a batch.

        Args:
          loss: `(params, weight f32 [N]) -> (f32 [], (metrics, error f32 [N]))`, the
            weights those against priorities, the errors the new ones.
          state: before.
          batch: windows.
          goals: of them.
        """
        config = self.config
        weight = unrolled.importance(batch.probability, self.exponent(state.updates))
        gradient = jax.grad(loss, has_aux=True)
        gradient, (metrics, error) = gradient(state.params, weight)
        updates, optimizer = self.optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        count = state.updates + 1
        target = state.target
        if target:
            target = optimizers.hard_copy(target, params, count, config.target_updates)
        metrics["loss/gradient_norm"] = optax.tree.norm(gradient)
        state = state.replace(
            params=params, target=target, optimizer=optimizer, updates=count
        )
        if not config.priority_exponent:
            return state, {}, metrics
        priority = jnp.where(goals.usable > 0, error + config.priority_floor, 0.0)
        begins = jax.tree.map(lambda x: x[:, :1], batch.index)
        fields = {"priority": priority[:, None]}
        mask = jnp.ones(priority.shape, bool)[:, None]
        return state, {"replay": Feedback(begins, fields, mask)}, metrics

    def renewed(self, target: Params, key: Key, batch: Batch) -> Renewed:
        """Policies and values of records behind the context, where asked for anew by
        the target net."""
        config, begin = self.config, self.model.context
        policy, value = (batch.extras[name][:, begin:] for name in ("policy", "value"))
        K, new = config.unroll, jnp.zeros(policy.shape[0], bool)
        searched = value[:, : K + 1]
        if config.fresh_values:
            value = self.values(target, batch)
        count = round(config.reanalyse * policy.shape[0])
        if count:
            # Drawn: the buffer draws in the order of its rows.
            key, key_row = jax.random.split(key)
            row = jax.random.permutation(key_row, policy.shape[0])[:count]
            some = jax.tree.map(lambda x: x[row], batch)
            found, worth = self.fresh(target, key, some, K + 1)
            policy = policy.at[row, : K + 1].set(found)
            searched = searched.at[row].set(worth)
            new = new.at[row].set(True)
        return Renewed(policy, value, searched, new)

    def records(self, batch: Batch) -> TimeStep:
        """Those behind the context."""
        return jax.tree.map(lambda x: x[:, self.model.context :], batch.timestep)

    def values(self, params: Params, batch: Batch) -> jax.Array:
        """What the net says of all records behind the context, f32 `[N, P]`."""
        states, shape = self._states(params, batch)
        return self.model.heads(params, None, states)[1].reshape(shape)

    def fresh(
        self, params: Params, key: Key, batch: Batch, count: int | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Policies `[N, P, A]` and values `[N, P]` of a search from stored records.

        Args:
          params: that the search is guided by, and searches in.
          key: consumed.
          batch: windows.
          count: P records behind the context; unset: all.
        """
        states, shape = self._states(params, batch, count)
        carry = self.search.start(params, math.prod(shape))
        found = self.search.act(params, key, carry, states)[2]
        return unflatten_batch((found["policy"], found["value"]), shape)

    def reanalyse(self, state: State, key: Key, batch: Batch) -> Feedback:
        """Stored policies and values of a batch, searched anew."""
        begin = self.model.context
        policy, value = self.fresh(state.target or state.params, key, batch)
        index = Index(*(x[:, begin:] for x in batch.index))
        fields = {"policy": policy, "value": value}
        return Feedback(index, fields, jnp.ones(value.shape, bool))

    def seen(self, batch: Batch, begin: int, count: int | None) -> History:
        """Histories of `count` records from `begin` on, leaves `[N, P, stack, …]`."""
        end = None if count is None else begin + count
        cut = jax.tree.map(lambda x: x[:, :end], (batch.timestep, batch.action))
        return self.model.histories(*cut)

    def _states(
        self, params: Params, batch: Batch, count: int | None = None
    ) -> tuple[Any, tuple[int, int]]:
        """Model states of records behind the context, `[N · P, …]`, and (N, P)."""
        begin = self.model.context
        seen = self.seen(batch, begin, count)
        shape = jax.tree.leaves(seen)[0].shape[:2]
        legal = batch.timestep.legal
        if legal is not None:
            legal = flatten_batch(legal[:, begin : begin + shape[1]])
        latent = self.model.represent(params, flatten_batch(seen))
        return self.model.at(LatentState(latent, legal)), shape


def decay(params: Params, scale: float) -> jax.Array:
    """`scale` times the squared norm of all parameters."""
    return scale * sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params))


def time_first(goals: Unrolled) -> Unrolled:
    """Leaves `[K + 1, N, …]`."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1) if x.ndim > 1 else x, goals)


def measured(goals: Unrolled, value: jax.Array, reward: jax.Array) -> Metrics:
    """Metrics of what the model said, all `[K + 1, N, …]`."""
    mean = lambda x, mask: jnp.sum(x * mask) / jnp.maximum(jnp.sum(mask), 1.0)
    error, known = jnp.abs(value - goals.value), goals.known
    return {
        "behavior/value": mean(value[0], goals.usable),
        "behavior/value_error": mean(error[0], goals.usable),
        "behavior/search_entropy": mean(unrolled.entropy(goals.policy), goals.acting),
        "model/reward_error": mean(jnp.abs(reward - goals.reward)[1:], known[1:]),
        "model/last_value_error": mean(error[-1], known[-1]),
    }
