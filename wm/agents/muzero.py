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

import jax
import jax.numpy as jnp

from wm.behaviors import unrolled
from wm.behaviors.latent_search import (
    LatentSearch,
    State,
    decay,
    measured,
    time_first,
)
from wm.behaviors.latent_search_config import LatentSearchConfig as Config
from wm.behaviors.unrolled import Unrolled
from wm.errors import UserError
from wm.models.value_equivalent import History, ValueEquivalent
from wm.ops.trees import flatten_batch, unflatten_batch
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Params


class MuZero(LatentSearch):
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build model and searches for `spec`.

        Raises:
          UserError: actions that are not one index, observations that do not fit.
        """
        config = config or Config()
        if spec.action.classes is None or spec.action.shape:
            raise UserError(f"{spec.name}: MuZero needs actions that are one index")
        super().__init__(spec, config, ValueEquivalent(spec, config.model))

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step on a batch of windows, and their new priorities."""
        batch, begin = batches["replay"], self.model.context
        key_goals, key_action = jax.random.split(key)
        goals = self.goals(state.target, key_goals, batch)
        action = unrolled.taken(
            key_action, batch.action[:, begin:], goals, self.spec.action.classes or 0
        )
        history = jax.tree.map(lambda x: x[:, 0], self.seen(batch, begin, 1))
        loss = lambda params, weight: self.loss(params, history, action, goals, weight)
        return self.one_step(loss, state, batch, goals)

    def goals(self, target: Params, key: Key, batch: Batch) -> Unrolled:
        """What the model should say of a batch, where asked for by the target net."""
        config, new = self.config, self.renewed(target, key, batch)
        n, gamma = config.steps, config.search.gamma
        records = self.records(batch)
        return unrolled.unrolled(
            records, new.policy, new.value, config.unroll, n, gamma
        )

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
        goals = time_first(goals)
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
            total = total + decay(params, config.weight_decay)

        earned = model.reward_code.mean(earned)
        value = model.value_code.mean(said["value"])
        losses = {"total": total, **losses}
        metrics = {f"loss/{name}": loss for name, loss in losses.items()}
        metrics |= measured(goals, value, earned)
        return total, (metrics, jnp.abs(value - goals.value)[0])
