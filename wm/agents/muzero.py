"""MuZero: tree search in a learned model that predicts rewards, values and policies.

Schrittwieser et al., Nature 2020; its Reanalyse and the search of Danihelka et al. 2022
(Gumbel MuZero) are settings; details after its pseudocode,
werner-duvaud/muzero-general 0825bd5 and YeWR/EfficientZero 468bb03. Every action is
searched in the model from what was observed, and stored with the policy and the value
that the search found. The model is unrolled K steps from replayed records and fitted to
the rewards that came, the policies, and n-step returns that end in stored values.
Deviations:

- Acting and learning alternate in one program; theirs ran beside each other.
- Norms are over channels, not over the batch.
- Windows are drawn by the priority that the net gives them when it is trained on them,
  |v - z|, and new ones by the greatest so far (as in EfficientZero); theirs begins with
  the search's |ν - z|.
- Boards learn the reward of the last move, too (theirs: the outcome as value alone),
  and values are categorical (theirs: one number).
- No window begins at a record that ended an episode.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from wm.agents.muzero_config import Config
from wm.behaviors import unrolled
from wm.behaviors.unrolled import Unrolled
from wm.data.priority import PrioritizedReplay
from wm.data.replay import Replay
from wm.errors import UserError
from wm.imagine import act_in
from wm.models.value_equivalent import History, LatentState, ValueEquivalent
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
    """`{"model": …, "policy": …}`, see `ValueEquivalent`."""
    target: Params
    """What is reanalysed with; empty where nothing is."""
    optimizer: Tree
    updates: jax.Array
    """i32, updates made."""


class MuZero:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build model and searches for `spec`.

        Raises:
          UserError: actions that are not one index, observations that do not fit.
        """
        self.spec, self.config = spec, config = spec, config or Config()
        if spec.action.classes is None or spec.action.shape:
            raise UserError(f"{spec.name}: MuZero needs actions that are one index")
        self.model = model = ValueEquivalent(spec, config.model)
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

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step on a batch of windows, and their new priorities."""
        config, batch = self.config, batches["replay"]
        key_goals, key_action = jax.random.split(key)
        goals = self.goals(state.target, key_goals, batch)
        weight = unrolled.importance(batch.probability, self.exponent(state.updates))
        begin = self.model.context
        action = unrolled.taken(
            key_action, batch.action[:, begin:], goals, self.spec.action.classes or 0
        )
        seen = self._seen(batch, begin, 1)
        history = jax.tree.map(lambda x: x[:, 0], seen)
        loss = jax.grad(self.loss, has_aux=True)
        gradient, (metrics, error) = loss(state.params, history, action, goals, weight)
        updates, optimizer = self.optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        count = state.updates + 1
        target = state.target
        if target:
            target = optimizers.hard_copy(target, params, count, config.target_updates)
        metrics["loss/gradient_norm"] = optax.tree.norm(gradient)
        state = State(params, target, optimizer, count)
        if not config.priority_exponent:
            return state, {}, metrics
        priority = jnp.where(goals.usable > 0, error + config.priority_floor, 0.0)
        begins = jax.tree.map(lambda x: x[:, :1], batch.index)
        fields = {"priority": priority[:, None]}
        mask = jnp.ones(priority.shape, bool)[:, None]
        return state, {"replay": Feedback(begins, fields, mask)}, metrics

    def goals(self, target: Params, key: Key, batch: Batch) -> Unrolled:
        """What the model should say of a batch, where asked for by the target net."""
        config, begin = self.config, self.model.context
        records = jax.tree.map(lambda x: x[:, begin:], batch.timestep)
        policy, value = (batch.extras[name][:, begin:] for name in ("policy", "value"))
        if config.fresh_values:
            value = self.values(target, batch)
        count = round(config.reanalyse * policy.shape[0])
        if count:
            # Drawn: the buffer draws in the order of its rows.
            key, key_row = jax.random.split(key)
            row = jax.random.permutation(key_row, policy.shape[0])[:count]
            some = jax.tree.map(lambda x: x[row], batch)
            found, _ = self.fresh(target, key, some, config.unroll + 1)
            policy = policy.at[row, : config.unroll + 1].set(found)
        n, gamma = config.steps, config.search.gamma
        return unrolled.unrolled(records, policy, value, config.unroll, n, gamma)

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
        carry = self.search.start(params, states.latent.shape[0])
        found = self.search.act(params, key, carry, states)[2]
        return unflatten_batch((found["policy"], found["value"]), shape)

    def reanalyse(self, state: State, key: Key, batch: Batch) -> Feedback:
        """Stored policies and values of a batch, searched anew."""
        begin = self.model.context
        policy, value = self.fresh(state.target or state.params, key, batch)
        index = Index(*(x[:, begin:] for x in batch.index))
        fields = {"policy": policy, "value": value}
        return Feedback(index, fields, jnp.ones(value.shape, bool))

    def _seen(self, batch: Batch, begin: int, count: int | None) -> History:
        """Histories of `count` records from `begin` on, leaves `[N, P, stack, …]`."""
        end = None if count is None else begin + count
        cut = jax.tree.map(lambda x: x[:, :end], (batch.timestep, batch.action))
        return self.model.histories(*cut)

    def _states(
        self, params: Params, batch: Batch, count: int | None = None
    ) -> tuple[LatentState, tuple[int, int]]:
        """Model states of records behind the context, `[N · P, …]`, and (N, P)."""
        begin = self.model.context
        seen = self._seen(batch, begin, count)
        shape = jax.tree.leaves(seen)[0].shape[:2]
        legal = batch.timestep.legal
        if legal is not None:
            legal = flatten_batch(legal[:, begin : begin + shape[1]])
        latent = self.model.represent(params, flatten_batch(seen))
        return LatentState(latent, legal), shape

    def loss(
        self,
        params: Params,
        history: History,
        action: jax.Array,
        goals: Unrolled,
        weight: jax.Array,
    ):
        """Σ_k w_k (policy + c · value + reward), weighted, and c' ‖θ‖².

        Returns:
          f32 `[]`; metrics and |v - z| of the first record, f32 `[N]`.
        """
        config, model = self.config, self.model
        latent = model.represent(params, history)
        step = lambda latent, action: model.advance(params, latent, action)
        rows = flatten_batch(unrolled.latents(step, latent, action))
        shape = goals.value.shape[::-1]
        said = unflatten_batch(model.predict(params, rows), shape)
        earned = unflatten_batch(model.reward_logits(params, rows), shape)
        goals = jax.tree.map(
            lambda x: jnp.moveaxis(x, 0, 1) if x.ndim > 1 else x, goals
        )

        known, acting = goals.known, goals.acting
        terms = {
            "policy": acting * unrolled.cross_entropy(goals.policy, said["policy"]),
            "value": known * model.value_code.loss(said["value"], goals.value),
            "reward": known.at[0].set(0.0)
            * model.reward_code.loss(earned, goals.reward),
        }
        scales = {"policy": 1.0, "value": config.value_scale, "reward": 1.0}
        weights = unrolled.step_weights(config.unroll)[:, None] * weight
        losses = {
            name: jnp.mean(jnp.sum(weights * term, 0)) for name, term in terms.items()
        }
        total = sum(scales[name] * loss for name, loss in losses.items())
        if config.weight_decay:
            squares = sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params))
            total = total + config.weight_decay * squares

        earned = model.reward_code.mean(earned)
        value = model.value_code.mean(said["value"])
        losses = {"total": total, **losses}
        metrics = {f"loss/{name}": loss for name, loss in losses.items()}
        metrics |= measured(goals, value, earned)
        return total, (metrics, jnp.abs(value - goals.value)[0])


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
