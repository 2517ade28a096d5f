"""The model of EfficientZero: rewards as differences of what was earned so far.

Representation, dynamics and heads are those of `ValueEquivalent`. In place of single
rewards an LSTM, which reads the latents that are passed, predicts their sum since it
was last emptied (the value prefix: when exactly a point is scored need not be known).
After every `prefix_horizon` steps it is emptied. A search sees

    r^k = prefix^k - prefix^(k-1),    or prefix^k where the sum began anew.

Two more nets, projector and predictor, compare latents that were stepped to with those
of what was then observed.

Source: Ye et al. 2021, sections 4.1 and 4.2.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.models.value_equivalent import (
    History,
    LatentState,
    ValueEquivalent,
    ValueEquivalentConfig,
)
from wm.nets.prefix import prefix_nets
from wm.nodes import Node
from wm.types import EnvSpec, Key, Params, Prediction, TimeStep

Memory = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class ValuePrefixConfig(ValueEquivalentConfig):
    """Sizes of the nets; those of the reward are the prefix's."""

    memory: int = 64
    """Units of the LSTM (512)."""
    prefix_horizon: int = 5
    """Steps after which it is emptied (5)."""
    projection: int = 64
    """Width of projections (1024)."""
    bottleneck: int = 32
    """Width inside the predictor (512)."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("memory", "prefix_horizon", "projection", "bottleneck"):
            if getattr(self, name) < 1:
                got = getattr(self, name)
                raise ValueError(f"{name} must be at least 1, got {got}")


class PrefixState(Node):
    """Where one is, and what was earned on the way."""

    base: LatentState
    """Latent, legal actions, history."""
    memory: Memory
    """f32 `[B, memory]` each: (c, h) of the LSTM; zeros after a reset."""
    prefix: jax.Array
    """f32 `[B]`, sum of rewards since the reset; 0 after it."""
    depth: jax.Array
    """i32 `[B]`, steps since the reset."""


class ValuePrefix:
    """A `WorldModel` over `PrefixState`.

    Params: `{"model": {"represent", "dynamics", "prefix", "project", "predict"},
    "policy": {"predict"}}`.
    """

    def __init__(self, spec: EnvSpec, config: ValuePrefixConfig):
        """Build the nets.

        Raises:
          UserError: an observation or action that the nets cannot take.
        """
        self.spec, self.config = spec, config
        self.base = ValueEquivalent(spec, config)
        self.nets = prefix_nets(
            config,
            config.memory,
            config.reward_bins,
            config.projection,
            config.bottleneck,
        )
        self.context = self.base.context
        self.value_code = self.base.value_code
        self.prefix_code = self.base.reward_code

    def init(self, key: Key) -> Params:
        """Fresh parameters."""
        key, key_prefix, key_project, key_predict = jax.random.split(key, 4)
        params = self.base.init(key)
        model = {k: v for k, v in params["model"].items() if k != "reward"}
        state = jax.eval_shape(lambda: self.base.start({"model": model}, 1))
        memory = jax.eval_shape(lambda: self._no_memory(1))
        project = self.nets.project.init(key_project, state.latent)
        wide = jax.ShapeDtypeStruct((1, self.config.projection), jnp.float32)
        return {
            "model": {
                **model,
                "prefix": self.nets.prefix.init(key_prefix, memory, state.latent),
                "project": project,
                "predict": self.nets.predict.init(key_predict, wide),
            },
            "policy": params["policy"],
        }

    def start(self, params: Params, batch: int) -> PrefixState:
        """Nothing observed yet."""
        return self.at(self.base.start(params, batch))

    def at(self, base: LatentState) -> PrefixState:
        """The state of what was just observed: nothing earned, memory empty."""
        B = base.latent.shape[0]
        return PrefixState(
            base=base,
            memory=self._no_memory(B),
            prefix=jnp.zeros(B),
            depth=jnp.zeros(B, jnp.int32),
        )

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """Unchanged."""
        return self.base.encode(params, timestep)

    def observe(
        self,
        params: Params,
        key: Key,
        state: PrefixState,
        action: jax.Array,
        evidence: TimeStep,
    ) -> PrefixState:
        """The latent of the newest observations; the prefix begins anew."""
        return self.at(self.base.observe(params, key, state.base, action, evidence))

    def step(
        self, params: Params, key: Key, state: PrefixState, action: jax.Array
    ) -> tuple[PrefixState, Prediction]:
        """One step of the latent; its reward is what the prefix grew by."""
        latent = self.advance(params, state.base.latent, action)
        memory, logits = self.remember(params, state.memory, latent)
        prefix = self.prefix_code.mean(logits)
        reward = prefix - state.prefix
        depth = (state.depth + 1) % self.config.prefix_horizon
        kept = (depth > 0).astype(jnp.float32)
        legal = state.base.legal
        legal = None if legal is None else jnp.ones_like(legal)
        state = PrefixState(
            base=state.base.replace(latent=latent, legal=legal),
            memory=jax.tree.map(lambda x: x * kept[:, None], memory),
            prefix=prefix * kept,
            depth=depth,
        )
        turn = jnp.full_like(reward, -1.0 if self.spec.players == 2 else 1.0)
        return state, Prediction(reward, turn)

    def remember(
        self, params: Params, memory: Memory, latent: jax.Array
    ) -> tuple[Memory, jax.Array]:
        """The LSTM one latent later, and logits of the prefix `[B, bins]`."""
        return self.nets.prefix.apply(params["model"]["prefix"], memory, latent)

    def prefix_logits(self, params: Params, latents: jax.Array) -> jax.Array:
        """`[K, B, bins]` of latents `[K, B, …]` that were passed one after another."""

        def body(loop, latent):
            memory, depth = loop
            memory, logits = self.remember(params, memory, latent)
            depth = (depth + 1) % self.config.prefix_horizon
            memory = jax.tree.map(lambda x: x * (depth > 0), memory)
            return (memory, depth), logits

        begin = (self._no_memory(latents.shape[1]), jnp.zeros((), jnp.int32))
        return jax.lax.scan(body, begin, latents)[1]

    def projected(self, params: Params, latent: jax.Array) -> jax.Array:
        """`[B, projection]`."""
        return self.nets.project.apply(params["model"]["project"], latent)

    def guessed(self, params: Params, latent: jax.Array) -> jax.Array:
        """`[B, projection]`, of latents that were stepped to: what the projection of
        the true one will be."""
        x = self.projected(params, latent)
        return self.nets.predict.apply(params["model"]["predict"], x)

    def legal(self, params: Params, state: PrefixState) -> jax.Array:
        """bool `[B, A]`; see `LatentState`."""
        return self.base.legal(params, state.base)

    def bare(self, state: PrefixState) -> PrefixState:
        """The state without its history, which steps do not need."""
        return state.replace(base=self.base.bare(state.base))

    def represent(self, params: Params, history: History) -> jax.Array:
        """h: see `ValueEquivalent.represent`."""
        return self.base.represent(params, history)

    def advance(self, params: Params, latent: jax.Array, action: jax.Array):
        """g: see `ValueEquivalent.advance`."""
        return self.base.advance(params, latent, action)

    def predict(self, params: Params, latent: jax.Array) -> dict[str, jax.Array]:
        """f: see `ValueEquivalent.predict`."""
        return self.base.predict(params, latent)

    def heads(self, params: Params, key: Key, state: PrefixState):
        """Logits and value of states, for a search."""
        return self.base.heads(params, key, state.base)

    def histories(self, timestep: TimeStep, action: jax.Array) -> History:
        """What was seen: see `ValueEquivalent.histories`."""
        return self.base.histories(timestep, action)

    def _no_memory(self, batch: int) -> Memory:
        zeros = jnp.zeros((batch, self.config.memory))
        return zeros, zeros


def prefixes(reward: jax.Array, horizon: int) -> jax.Array:
    """Sums of rewards since the last reset, `[…, K + 1]`; 0 at k = 0.

    A prefix is empty again after every `horizon` steps, so the sum at k is over the
    steps after ⌊(k - 1) / horizon⌋ · horizon up to k. Not discounted, as in the
    authors' code (the paper discounts).

    Args:
      reward: `[…, K + 1]`, of the steps; what stands at k = 0 is not read.
      horizon: steps between resets.
    """
    step = jnp.arange(reward.shape[-1])
    start = (step - 1) // horizon * horizon
    # Entry (j, k): step j is one of those that the prefix at k counts.
    counts = (step[:, None] > start) & (step[:, None] <= step) & (step[:, None] > 0)
    return reward @ counts.astype(reward.dtype)


def prefix_rewards(prefix: jax.Array, horizon: int) -> jax.Array:
    """Rewards of steps 1 … K from their prefixes, `[K, …]`: what each one adds."""
    K = prefix.shape[0]
    before = jnp.concatenate([jnp.zeros_like(prefix[:1]), prefix[:-1]])
    fresh = (jnp.arange(K) % horizon == 0).reshape(K, *[1] * (prefix.ndim - 1))
    return prefix - jnp.where(fresh, 0.0, before)
