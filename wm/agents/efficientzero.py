"""EfficientZero: MuZero with few data.

Ye et al., NeurIPS 2021, and of Wang et al., ICML 2024 (V2), what can be a setting: the
Gumbel search, the mixed value target, weights. Details after YeWR/EfficientZero 468bb03
and Shengjiewang-Jason/EfficientZeroV2 12b9e77. To MuZero with Reanalyse three things
are added:

- Consistency: the latent that a step leads to must point where that of the observation
  does which then came; the gradient flows through the first alone.
- The value prefix: an LSTM predicts sums of rewards, see `models.value_prefix`.
- Returns of old records are shorter, since what followed was another policy's doing.

Deviations:

- Norms of what acts are over channels or features (theirs: over the batch).
- The gradient is halved on its way into each step, not where heads read a latent (as
  MuZero's pseudocode; theirs: both).
- Policy and consistency are masked past any end, as theirs; values and rewards past a
  real one are learned to be nothing, as theirs, and past a time limit not at all.
- Ages are counted from the newest record that an update has seen.
- The net acts as it is after every update (theirs: copied every 100 updates).
- An action's plane holds (a + 1) / A (theirs: a / A).
- A lost life does not end an episode.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.agents.efficientzero_config import Config
from wm.behaviors import unrolled, unrolled_agent
from wm.behaviors.aging import shrinking_horizon, unrolled_by_age
from wm.behaviors.unrolled import Unrolled
from wm.errors import UserError
from wm.models.value_equivalent import History
from wm.models.value_prefix import ValuePrefix, prefix_rewards, prefixes
from wm.ops import losses
from wm.ops.augment import random_intensity, random_shift
from wm.ops.trees import flatten_batch, unflatten_batch
from wm.planners.acting import Acting
from wm.types import ArraySpec, Batch, EnvSpec, Feedback, Index, Key, Metrics, Params


class State(unrolled_agent.State):
    """All that persists."""

    newest: Index
    """i32 `[]` each: greatest row and time that an update has seen."""


class Views(NamedTuple):
    """What was observed, as learning sees it."""

    first: History
    """Leaves `[N, stack, …]`, at the base of each window."""
    later: History
    """Leaves `[K, N, stack, …]`, at the K records after it."""


class EfficientZero(unrolled_agent.UnrolledAgent):
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build model and searches for `spec`.

        Raises:
          UserError: actions that are not one index, observations that do not fit.
        """
        config = config or Config()
        if spec.action.classes is None or spec.action.shape:
            raise UserError(
                f"{spec.name}: EfficientZero needs actions that are one index"
            )
        seen = spec.observation
        image = isinstance(seen, ArraySpec) and seen.image
        if (config.pad or config.intensity) and not image:
            raise UserError(
                f"{spec.name}: --agent.pad and --agent.intensity are for pictures; set "
                "both to 0"
            )
        model = ValuePrefix(spec, config.model)
        acting, warmup = Acting(model, config), config.warmup_updates
        super().__init__(spec, config, model, acting, warmup)
        self.config: Config = config

    def init(self, key: Key) -> State:
        """Fresh parameters; the target net starts equal to the net."""
        state = super().init(key)
        zero = lambda: jnp.zeros((), jnp.int32)  # two arrays: a state may be donated
        return State(
            state.params,
            state.target,
            state.optimizer,
            state.updates,
            Index(zero(), zero()),
        )

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step on a batch of windows, and their new priorities."""
        batch = batches["replay"]
        key_goals, key_action, key_view = jax.random.split(key, 3)
        newest = jax.tree.map(
            lambda old, new: jnp.maximum(old, jnp.max(new)), state.newest, batch.index
        )
        state = state.replace(newest=newest)
        goals = self.goals(state, key_goals, batch)
        action = self.taken(key_action, batch, goals)
        views = self.views(key_view, batch)
        loss = lambda params, weight: self.loss(params, views, action, goals, weight)
        # Projections are normed over the batch: it is not walked part by part.
        gradient = jax.grad(loss, has_aux=True)
        state, feedback, metrics = self.one_step(gradient, state, batch, goals)
        age = self.age(newest, batch.index)
        metrics["behavior/age"] = jnp.mean(age.astype(jnp.float32))
        return state, feedback, metrics

    def goals(self, state: State, key: Key, batch: Batch) -> Unrolled:
        """What the model should say of a batch, as the target net has it."""
        config, new = self.config, self.renewed(state.target, key, batch)
        records, age = self.records(batch), self.age(state.newest, batch.index)
        if config.sign_rewards:
            records = records._replace(reward=jnp.sign(records.reward))
        args = records, new.policy, new.value, config.unroll, config.steps
        if config.horizon_interval:
            n = shrinking_horizon(age, config.steps, config.horizon_interval)
            goals = unrolled_by_age(*args, config.search.gamma, n)
        else:
            goals = unrolled.unrolled(*args, config.search.gamma)
        if config.mixed_updates is None:
            return goals
        # V2, Eq. 7: of old records a search knows more than what followed them.
        old = (
            new.new & (age > config.mixed_age) & (state.updates > config.mixed_updates)
        )
        own = old[:, None] & (goals.acting > 0)
        searched = jax.lax.stop_gradient(new.searched)
        return goals._replace(value=jnp.where(own, searched, goals.value))

    def age(self, newest: Index, index: Index) -> jax.Array:
        """Steps of the environment, over all rows, since the base of each window."""
        passed = newest.time + 1 - index.time[:, self.model.context]
        return passed * (newest.row + 1)

    def views(self, key: Key, batch: Batch) -> Views:
        """Histories of a window's records, shifted and brightened at random.

        The first and all later ones apart, so that a latent does not tell by where the
        picture was cut what it belongs to.
        """
        seen = self.seen(batch, self.config.unroll + 1)
        first = jax.tree.map(lambda x: x[:, 0], seen)
        later = jax.tree.map(lambda x: x[:, 1:], seen)
        key_first, key_later = jax.random.split(key)
        first, later = (
            self.augmented(key_first, first),
            self.augmented(key_later, later),
        )
        return Views(first, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), later))

    def augmented(self, key: Key, seen: History) -> History:
        """Histories `[N, …]`, all of a row alike."""
        config, image = self.config, seen.observation
        if not (config.pad or config.intensity):
            return seen
        key_shift, key_light = jax.random.split(key)
        image = random_shift(key_shift, image, config.pad)
        image = random_intensity(
            key_light, image.astype(jnp.float32) / 255, config.intensity
        )
        return seen.replace(observation=image)

    def loss(
        self,
        params: Params,
        views: Views,
        action: jax.Array,
        goals: Unrolled,
        weight: jax.Array,
    ):
        """Σ_k (policy + c · value + prefix + c' · consistency) / K, and c'' ‖θ‖².

        Returns:
          f32 `[]`; metrics and what was said.
        """
        config, model = self.config, self.model
        goals = unrolled.time_first(goals)
        latents = self.latents(params, views.first, action)
        terms, value = self.guidance(params, flatten_batch(latents), goals)
        known, acting = goals.known[1:], goals.acting[:-1]
        earned = model.prefix_logits(params, latents[1:])
        reset = config.model.prefix_horizon
        prefix = prefixes(goals.reward.T, reset).T[1:]
        terms["prefix"] = known * model.prefix_code.loss(earned, prefix)
        # Where an action led there: the last record of an episode is one of them.
        cosine = self.consistency(params, latents[1:], views.later)
        terms["consistency"] = -acting * cosine

        # k = 0 like the others, unlike MuZero.
        parts = {
            name: jnp.mean(jnp.sum(weight * term, 0)) / config.unroll
            for name, term in terms.items()
        }
        total, metrics = self.total(params, parts, consistency=config.consistency_scale)
        rewards = prefix_rewards(model.prefix_code.mean(earned), reset)
        share = jnp.sum(acting * cosine) / jnp.maximum(jnp.sum(acting), 1.0)
        metrics["model/consistency"] = share
        said = unrolled.Said(value.T, jnp.pad(rewards, ((1, 0), (0, 0))).T)
        return total, (metrics, said)

    def consistency(
        self, params: Params, latents: jax.Array, later: History
    ) -> jax.Array:
        """Cosine `[K, N]` between what latents `[K, N, …]` say of the observations to
        come, and those themselves."""
        guessed = lambda latent: self.model.guessed(params, latent)
        # Each step has a batch, and a norm over it, of its own (core/train.py).
        return losses.cosine(jax.vmap(guessed)(latents), self.observed(params, later))

    def observed(self, params: Params, later: History) -> jax.Array:
        """Projections `[K, N, D]` of what was observed; no gradient."""
        still = jax.lax.stop_gradient(params)
        rows = self.model.represent(still, flatten_batch(later))
        shape = later.action.shape[:2]
        projected = lambda latent: self.model.projected(still, latent)
        return jax.vmap(projected)(unflatten_batch(rows, shape))
