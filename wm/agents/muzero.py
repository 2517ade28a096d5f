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

import dataclasses

import jax
import jax.numpy as jnp

from wm.behaviors import unrolled
from wm.behaviors.unrolled import Unrolled
from wm.behaviors.unrolled_agent import State, UnrolledAgent, require_index
from wm.behaviors.unrolled_config import UnrolledConfig
from wm.models.value_equivalent import History, ValueEquivalent
from wm.ops.trees import flatten_batch, unflatten_batch
from wm.planners.acting import Acting, ActingConfig
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Params


@dataclasses.dataclass(frozen=True)
class Config(UnrolledConfig, ActingConfig):
    """Settings of MuZero. Defaults: ours, for small tasks; the paper's: `atari`."""

    def __post_init__(self):
        ActingConfig.__post_init__(self)
        UnrolledConfig.__post_init__(self)


class MuZero(UnrolledAgent):
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build model and searches for `spec`.

        Raises:
          UserError: actions that are not one index, observations that do not fit.
        """
        config = config or Config()
        require_index(spec, "MuZero")
        model = ValueEquivalent(spec, config.model)
        super().__init__(spec, config, model, Acting(model, config))
        self.config: Config = config

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step on a batch of windows, and their new priorities."""
        batch = batches["replay"]
        key_goals, key_action = jax.random.split(key)
        goals = self.goals(state.target, key_goals, batch)
        action = self.taken(key_action, batch, goals)
        history = jax.tree.map(lambda x: x[:, 0], self.seen(batch, 1))
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
        goals = unrolled.time_first(goals)
        rows = flatten_batch(self.latents(params, history, action))
        terms, value = self.guidance(params, rows, goals)
        earned = unflatten_batch(self.model.reward_logits(params, rows), value.shape)
        code = self.model.reward_code
        # What led to the base was earned before it.
        known = goals.known.at[0].set(0.0)
        terms["reward"] = known * code.loss(earned, goals.reward)

        weights = unrolled.step_weights(self.config.unroll)[:, None] * weight
        parts = {
            name: jnp.mean(jnp.sum(weights * term, 0)) for name, term in terms.items()
        }
        total, metrics = self.total(params, parts)
        metrics |= unrolled.measured(goals, value, code.mean(earned))
        return total, (metrics, jnp.abs(value - goals.value)[0])
