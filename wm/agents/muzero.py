"""MuZero: tree search in a learned model that predicts rewards, values and policies.

Schrittwieser et al., Nature 2020; its Reanalyse, the search of Danihelka et al. 2022
(Gumbel MuZero), actions that are drawn (Sampled MuZero, `behaviors.sampled`) and models
that tell their chance apart (Stochastic MuZero, `models.value_equivalent_stochastic`)
are settings; details after its pseudocode, werner-duvaud/muzero-general 0825bd5 and
YeWR/EfficientZero 468bb03. Every action is searched in the model from what was
observed, and stored with the policy and the value that the search found. The model is
unrolled K steps from replayed records and fitted to the rewards that came, the
policies, and n-step returns that end in stored values.
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
from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.behaviors import unrolled
from wm.behaviors.sampled import Sampled, SampledConfig, SampledHeads, middle
from wm.behaviors.unrolled import Unrolled
from wm.behaviors.unrolled_agent import State, UnrolledAgent
from wm.behaviors.unrolled_config import UnrolledConfig
from wm.errors import UserError, require
from wm.models.value_equivalent import History, ValueEquivalent
from wm.models.value_equivalent_stochastic import StochasticValueEquivalent
from wm.nets.parts import mean_gradient
from wm.ops.trees import flatten_batch, unflatten_batch
from wm.planners.acting import Acting, ActingConfig, Guides
from wm.types import Batch, EnvSpec, Feedback, Key, Metrics, Params


@dataclasses.dataclass(frozen=True)
class Config(UnrolledConfig, ActingConfig):
    """Settings of MuZero. Defaults: ours, for small tasks; the paper's: `atari`."""

    sampled: SampledConfig = dataclasses.field(default_factory=SampledConfig)
    """The policy where actions are drawn (Sampled MuZero): always where they are
    numbers, else where `sampled.draws` is set."""
    codes: int = 0
    """Codes M that the chance between a decision and the next state is told apart by
    (Stochastic MuZero 32); for search.method stochastic. 0: chance is averaged."""
    commitment_scale: float = 1.0
    """codes: weight of the encoder's distance from its code (ours)."""

    def __post_init__(self):
        ActingConfig.__post_init__(self)
        UnrolledConfig.__post_init__(self)
        for name in ("codes", "commitment_scale"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        chance = self.search.method == "stochastic"
        apart = self.codes > 1 or not chance
        require(self, "codes", apart, "at least 2 where search.method is stochastic")
        read = chance or not self.codes
        require(self, "codes", read, "0 unless search.method is stochastic")


class Windows(NamedTuple):
    """What is fitted."""

    seen: History
    """Of the first record, leaves `[N, 1, stack, …]`; with codes of all K + 1."""
    action: jax.Array
    """Taken, `[N, K, …]`."""
    goals: Unrolled
    """What to say."""
    weight: jax.Array
    """f32 `[N]`."""


class MuZero(UnrolledAgent):
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build model and searches for `spec`.

        Raises:
          UserError: actions or observations that do not fit.
        """
        config = config or Config()
        drawn = not spec.action.discrete or config.sampled.draws
        if drawn and config.codes:
            raise UserError(
                f"{spec.name}: --agent.codes needs actions that are one index and all "
                "searched (--agent.sampled.draws unset)"
            )
        self.sampled = Sampled(spec.action, config.sampled) if drawn else None
        outputs = self.sampled.outputs if self.sampled else None
        base = ValueEquivalent(spec, config.model, outputs)
        self.coded = None
        if config.codes:
            self.coded = StochasticValueEquivalent(base, config.codes)
        guides = guides_of(base, self.sampled) if self.sampled else Guides(base.heads)
        # What is stepped: with codes by halves, of which the base is one.
        model = self.coded or base
        super().__init__(spec, config, model, Acting(model, config, guides), base=base)
        self.config: Config = config
        # The encoder of chance is normed over the batch.
        walked = self.coded is None
        loss = self.loss
        self.gradient = (
            mean_gradient(loss, base.widest) if walked else jax.grad(loss, has_aux=True)
        )

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step on a batch of windows, and their new priorities."""
        batch = batches["replay"]
        key_goals, key_action = jax.random.split(key)
        goals = self.goals(state.target, key_goals, batch)
        action = self.taken(key_action, batch, goals)
        # Codes are read off every record, what is not coded off the first alone.
        seen = self.seen(batch, self.config.unroll + 1 if self.coded else 1)
        gradient = lambda params, weight: self.gradient(
            params, Windows(seen, action, goals, weight)
        )
        return self.one_step(gradient, state, batch, goals)

    def goals(self, target: Params, key: Key, batch: Batch) -> Unrolled:
        """What the model should say of a batch, where asked for by the target net."""
        config, new = self.config, self.renewed(target, key, batch)
        records, n, gamma = self.records(batch), config.steps, config.search.gamma
        return unrolled.unrolled(
            records, new.policy, new.value, config.unroll, n, gamma, new.actions
        )

    def loss(self, params: Params, rows: Windows):
        """Σ_k w_k (policy + c · value + reward), weighted, and c' ‖θ‖².

        Returns:
          f32 `[]`; metrics that are means over the rows, and what was said.
        """
        config, goals = self.config, unrolled.time_first(rows.goals)
        latents, coded, used = self.steps(params, rows.seen, rows.action, goals)
        flat = flatten_batch(latents)
        terms, value = self.guidance(params, flat, goals)
        earned = unflatten_batch(self.base.reward_logits(params, flat), value.shape)
        code = self.base.reward_code
        # What led to the base was earned before it.
        known = goals.known.at[0].set(0.0)
        terms["reward"] = known * code.loss(earned, goals.reward)

        weights = unrolled.step_weights(config.unroll)[:, None] * rows.weight
        parts = {
            name: jnp.mean(jnp.sum(weights * term, 0))
            for name, term in (coded | terms).items()
        }
        total, metrics = self.total(
            params,
            parts,
            after_value=config.value_scale,
            commitment=config.commitment_scale,
        )
        return total, (metrics, unrolled.Said(value.T, code.mean(earned).T, used))

    def steps(
        self, params: Params, seen: History, action: jax.Array, goals: Unrolled
    ) -> tuple[jax.Array, dict[str, jax.Array], jax.Array | None]:
        """Latents after 0 … K steps `[K + 1, N, …]`; with codes the afterstates' terms
        `[K + 1, N]`, and the codes `[N, K, M]`.

        Args: those of `Windows`, but for goals, whose leaves are `[K + 1, N, …]`.
        """
        first = jax.tree.map(lambda x: x[:, 0], seen)
        if self.coded is None:
            return self.latents(params, first, action), {}, None
        world, acting = self.coded, goals.acting[:-1]
        latent = self.base.represent(params, first)
        code, raw = world.read(params, seen, acting.swapaxes(0, 1))
        step = lambda latents, given: world.advance(params, latents, given)
        begun = latent, jnp.zeros_like(latent)
        latents, afters = unrolled.latents(step, begun, (action, code))
        terms = world.terms(params, afters[1:], code, raw, goals.value[:-1])
        # An afterstate is one step on, as its chance is; past an end there is none.
        padded = lambda x: jnp.pad(x * acting, ((1, 0), (0, 0)))
        return latents, {name: padded(x) for name, x in terms.items()}, code

    def policy_loss(self, output: jax.Array, goals: Unrolled) -> jax.Array:
        """Of the policy head, `[…]`: against all actions, or against those drawn."""
        if self.sampled is None:
            return super().policy_loss(output, goals)
        assert goals.actions is not None
        return self.sampled.loss(output, goals.policy, goals.actions)


def guides_of(base: ValueEquivalent, sampled: Sampled) -> Guides:
    """Searches among drawn actions; at the root some are drawn uniformly."""
    return Guides(
        tree=SampledHeads(base, sampled),
        root=SampledHeads(base, sampled, sampled.config.noise),
        unguided=SampledHeads(base, sampled, guided=False),
        alone=middle(base, sampled),
    )
