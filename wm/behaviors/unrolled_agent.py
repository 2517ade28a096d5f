"""The part of an agent that MuZero and what descends from it have alike.

A search acts and stores the policy and the value that it found; windows of records are
drawn by priority; what the model should say of them may be searched anew with a target
net; the model is unrolled along the actions that were taken, and takes one step of the
optimizer. How a search is played is the planner's, and handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.behaviors import unrolled
from wm.behaviors.unrolled import Unrolled
from wm.behaviors.unrolled_config import UnrolledConfig
from wm.data.priority import PrioritizedReplay
from wm.data.replay import Replay
from wm.models.value_equivalent import History, LatentState
from wm.nodes import Node
from wm.ops import optimizers, schedules
from wm.ops.trees import flatten_batch, unflatten_batch
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
    actions: jax.Array | None
    """`[N, P, A, F]`, what the policies are of, where actions were drawn."""
    value: jax.Array
    """f32 `[N, P]`, what returns are bootstrapped from."""
    searched: jax.Array
    """f32 `[N, K + 1]`, value of the new search where there was one, else the stored
    one's."""
    new: jax.Array
    """bool `[N]`, whether there was one."""


class UnrolledAgent:
    """Acts by search and keeps what it found; subclasses bring `update`."""

    def __init__(
        self,
        spec: EnvSpec,
        config: UnrolledConfig,
        model: Any,
        acting: Any,
        warmup_updates: int = 0,
        base: Any = None,
    ):
        """Join a model and the searches in it.

        Args:
          spec: of the environment.
          config: settings.
          model: that is stepped.
          acting: as `planners.acting.Acting`.
          warmup_updates: over which the step size first rises from 0.
          base: what represents and predicts, with the methods of `ValueEquivalent`;
            unset: the model itself.
        """
        self.spec, self.config, self.acting = spec, config, acting
        self.model, self.base = model, base or model
        self.exponent = schedules.linear(*config.importance, config.importance_updates)
        self.optimizer = optimizers.decaying(
            config.optimizer,
            config.learning_rate,
            config.decay_updates,
            config.max_norm,
            warmup_updates,
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
        return self.acting.actor(state.params, state.updates)

    def start(self, actor: Params, batch: int) -> Tree:
        """Fresh (model state, previous action, moves made)."""
        return self.acting.start(actor, batch)

    def act(
        self, actor: Params, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, jax.Array]]:
        """As the search is played; `extras` holds the policy and value it found."""
        return self.acting.act(actor, key, carry, timestep, mode)

    @property
    def window(self) -> int:
        """Records that an update reads: what is stacked before the first, K steps of
        the model, and n of the last one's return."""
        return self.base.context + 1 + self.config.unroll + self.config.steps

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
        self, gradient: Callable, state: Any, batch: Batch, goals: Unrolled
    ) -> tuple[Any, dict[str, Feedback], Metrics]:
        """What `update` returns after one step on a batch.

        Args:
          gradient: `(params, weight f32 [N]) -> (gradient, (metrics, Said))` of the
            loss, the weights those against priorities.
          state: before.
          batch: windows.
          goals: of them.
        """
        config = self.config
        weight = unrolled.importance(batch.probability, self.exponent(state.updates))
        slope, (metrics, said) = gradient(state.params, weight)
        metrics |= unrolled.measured(goals, said)
        updates, optimizer = self.optimizer.update(slope, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        count = state.updates + 1
        target = state.target
        if target:
            target = optimizers.hard_copy(target, params, count, config.target_updates)
        metrics["loss/gradient_norm"] = optax.tree.norm(slope)
        state = state.replace(
            params=params, target=target, optimizer=optimizer, updates=count
        )
        if not config.priority_exponent:
            return state, {}, metrics
        error = jnp.abs(said.value - goals.value)[:, 0]
        priority = jnp.where(goals.usable > 0, error + config.priority_floor, 0.0)
        begins = jax.tree.map(lambda x: x[:, :1], batch.index)
        fields = {"priority": priority[:, None]}
        mask = jnp.ones(priority.shape, bool)[:, None]
        return state, {"replay": Feedback(begins, fields, mask)}, metrics

    def taken(self, key: Key, batch: Batch, goals: Unrolled) -> jax.Array:
        """The actions of K steps from the base of each window on, `[N, K, …]`."""
        action = batch.action[:, self.base.context :]
        return unrolled.taken(key, action, goals, self.spec.action.classes or 0)

    def latents(self, params: Params, history: History, action: jax.Array) -> jax.Array:
        """What the model says after 0 … K steps from a history, `[K + 1, N, …]`."""
        latent = self.base.represent(params, history)
        step = lambda latent, action: self.base.advance(params, latent, action)
        return unrolled.latents(step, latent, action)

    def guidance(
        self, params: Params, rows: jax.Array, goals: Unrolled
    ) -> tuple[dict[str, jax.Array], jax.Array]:
        """Losses of policies and values read off latents, and those values.

        Args:
          params: differentiated.
          rows: latents `[(K + 1) · N, …]`.
          goals: leaves `[K + 1, N, …]`.

        Returns:
          Terms `policy` and `value`, masked, and values, f32 `[K + 1, N]` each.
        """
        said = unflatten_batch(self.base.predict(params, rows), goals.value.shape)
        policy = self.policy_loss(said["policy"], goals)
        value = self.base.value_code.loss(said["value"], goals.value)
        terms = {"policy": goals.acting * policy, "value": goals.known * value}
        return terms, self.base.value_code.mean(said["value"])

    def policy_loss(self, output: jax.Array, goals: Unrolled) -> jax.Array:
        """Of the policy head, f32 `[…]`."""
        return unrolled.cross_entropy(goals.policy, output)

    def total(
        self, params: Params, parts: dict[str, jax.Array], **scales: float
    ) -> tuple[jax.Array, Metrics]:
        """Σ scale · part and the decay of the parameters, f32 `[]`; metrics.

        Args:
          params: differentiated.
          parts: f32 `[]` each.
          **scales: of parts, by name, where not 1; the value's is known.
        """
        scales["value"] = self.config.value_scale
        total = sum(scales.get(name, 1.0) * part for name, part in parts.items())
        if self.config.weight_decay:
            squares = sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params))
            total = total + self.config.weight_decay * squares
        metrics = {"loss/total": total}
        return total, metrics | {f"loss/{name}": part for name, part in parts.items()}

    def renewed(self, target: Params, key: Key, batch: Batch) -> Renewed:
        """Policies and values of records behind the context, where asked for anew by
        the target net."""
        config, begin = self.config, self.base.context
        stored = {name: x[:, begin:] for name, x in batch.extras.items()}
        value = stored.pop("value")
        K, new = config.unroll, jnp.zeros(value.shape[0], bool)
        searched = value[:, : K + 1]
        if config.fresh_values:
            value = self.values(target, batch)
        count = round(config.reanalyse * value.shape[0])
        if count:
            # Drawn: the buffer draws in the order of its rows.
            key, key_row = jax.random.split(key)
            row = jax.random.permutation(key_row, value.shape[0])[:count]
            some = jax.tree.map(lambda x: x[row], batch)
            found = self.fresh(target, key, some, K + 1)
            for name, x in stored.items():
                stored[name] = x.at[row, : K + 1].set(found[name])
            searched = searched.at[row].set(found["value"])
            new = new.at[row].set(True)
        policy, actions = stored["policy"], stored.get("actions")
        return Renewed(policy, actions, value, searched, new)

    def records(self, batch: Batch) -> TimeStep:
        """Those behind the context."""
        return jax.tree.map(lambda x: x[:, self.base.context :], batch.timestep)

    def values(self, params: Params, batch: Batch) -> jax.Array:
        """What the net says of all records behind the context, f32 `[N, P]`."""
        states, shape = self.states(params, batch)
        return self.base.heads(params, None, states)[1].reshape(shape)

    def fresh(
        self, params: Params, key: Key, batch: Batch, count: int | None = None
    ) -> dict[str, jax.Array]:
        """Searches from stored records: `policy` `[N, P, A]` and `value` `[N, P]`, and
        where actions are drawn those drawn anew, `actions` `[N, P, A, F]`.

        Args:
          params: that the search is guided by, and searches in.
          key: consumed.
          batch: windows.
          count: P records behind the context; unset: all.
        """
        states, shape = self.states(params, batch, count)
        search = self.acting.search
        carry = search.start(params, math.prod(shape))
        found = search.act(params, key, carry, states)[2]
        found.pop("visits")
        return unflatten_batch(found, shape)

    def reanalyse(self, state: State, key: Key, batch: Batch) -> Feedback:
        """Stored policies and values of a batch, searched anew."""
        begin = self.base.context
        fields = self.fresh(state.target or state.params, key, batch)
        index = Index(*(x[:, begin:] for x in batch.index))
        return Feedback(index, fields, jnp.ones(fields["value"].shape, bool))

    def seen(self, batch: Batch, count: int | None = None) -> History:
        """Histories of the first `count` records behind the context (unset: of all),
        leaves `[N, P, stack, …]`."""
        end = None if count is None else self.base.context + count
        cut = jax.tree.map(lambda x: x[:, :end], (batch.timestep, batch.action))
        return self.base.histories(*cut)

    def states(
        self, params: Params, batch: Batch, count: int | None = None
    ) -> tuple[Any, tuple[int, int]]:
        """Model states of records behind the context, `[N · P, …]`, and (N, P)."""
        begin, seen = self.base.context, self.seen(batch, count)
        shape = jax.tree.leaves(seen)[0].shape[:2]
        legal = batch.timestep.legal
        if legal is not None:
            legal = flatten_batch(legal[:, begin : begin + shape[1]])
        latent = self.base.represent(params, flatten_batch(seen))
        return self.base.at(LatentState(latent, legal)), shape
