"""A value-equivalent model whose steps have two halves: a decision and its chance.

    as^k = φ(s^k, a^k)      σ^k, Q^k from as^k      s^(k+1) = g(as^k, c^(k+1))

φ is the dynamics of `ValueEquivalent`. A chance is one of M codes. In learning it is
read off what was seen before and after it, c = one-hot(argmax e(o)) with the gradient
of e, and e is held near its code; nothing is reconstructed, so that codes stand for
what rewards, values and policies depend on. In a search it is drawn from σ.

Source: Antonoglou et al. 2022, section 4. Differs: e sees the observation before the
chance too (as in opendilab/LightZero), and gets no gradient from steps past an end.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.models.value_equivalent import History, LatentState, ValueEquivalent
from wm.nets.latent_chance import chance_nets
from wm.nodes import Node
from wm.ops.trees import flatten_batch, unflatten_batch
from wm.types import Key, Params, Prediction, TimeStep, Tree


class Afterstate(Node):
    """Between a decision and its chance."""

    latent: jax.Array
    """f32, as that of a state."""
    state: LatentState
    """That the decision was made in."""


class StochasticValueEquivalent:
    """A `WorldModel` over `LatentState` with `afterstate` and `chance`.

    Params: those of `ValueEquivalent`, and in its model branch `"chance"`:
    `{"dynamics", "heads", "encode"}`.
    """

    def __init__(self, base: ValueEquivalent, codes: int):
        """Add the second half to a model.

        Args:
          base: what represents, predicts, and steps a decision.
          codes: M.
        """
        self.base, self.spec, self.chances = base, base.spec, codes
        self.nets = chance_nets(base.config, codes, base.config.value_bins)

    def init(self, key: Key) -> Params:
        """Fresh parameters."""
        key, *keys = jax.random.split(key, 4)
        params = self.base.init(key)
        state = jax.eval_shape(lambda: self.base.start(params, 1))
        none = jax.eval_shape(lambda: self.base.blank(1))
        seen = jax.eval_shape(self._pair, none, none)
        code = jnp.zeros((1, self.chances))
        params["model"]["chance"] = {
            "dynamics": self.nets.dynamics.init(keys[0], state.latent, code),
            "heads": self.nets.heads.init(keys[1], state.latent),
            "encode": self.nets.encode.init(keys[2], seen),
        }
        return params

    def start(self, params: Params, batch: int) -> LatentState:
        """Nothing observed yet."""
        return self.base.start(params, batch)

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """Unchanged."""
        return self.base.encode(params, timestep)

    def observe(
        self,
        params: Params,
        key: Key,
        state: LatentState,
        action: jax.Array,
        evidence: TimeStep,
    ) -> LatentState:
        """The latent of the newest observations."""
        return self.base.observe(params, key, state, action, evidence)

    def legal(self, params: Params, state: LatentState) -> jax.Array:
        """bool `[B, A]`; see `LatentState`."""
        return self.base.legal(params, state)

    def bare(self, state: LatentState) -> LatentState:
        """The state without its history, which steps do not need."""
        return self.base.bare(state)

    def step(
        self, params: Params, key: Key, state: LatentState, action: jax.Array
    ) -> tuple[LatentState, Prediction]:
        """A decision, and a chance drawn."""
        after, logits = self.afterstate(params, state, action)
        return self.chance(params, after, jax.random.categorical(key, logits))

    def afterstate(
        self, params: Params, state: LatentState, action: jax.Array
    ) -> tuple[Afterstate, jax.Array]:
        """φ, and the logits `[B, M]` of what may follow."""
        latent = self.base.advance(params, state.latent, action)
        after = Afterstate(latent, state)
        return after, self.predict(params, latent)["chance"]

    def afterstate_value(self, params: Params, after: Afterstate) -> jax.Array:
        """Q f32 `[B]`: what is earned from there on, the reward of the chance first."""
        return self.base.value_code.mean(self.predict(params, after.latent)["value"])

    def chance(
        self, params: Params, after: Afterstate, outcome: jax.Array
    ) -> tuple[LatentState, Prediction]:
        """g: one step whose code is known, i32 `[B]`."""
        code = jax.nn.one_hot(outcome, self.chances)
        latent = self.follow(params, after.latent, code)
        return self.base.arrived(params, after.state, latent)

    def follow(self, params: Params, latent: jax.Array, code: jax.Array) -> jax.Array:
        """g: the latent behind an afterstate's, by code f32 `[B, M]`."""
        nets = params["model"]["chance"]
        return self.nets.dynamics.apply(nets["dynamics"], latent, code)

    def predict(self, params: Params, latent: jax.Array) -> dict[str, jax.Array]:
        """`{"chance" [B, M], "value" [B, value_bins]}` of afterstates, logits."""
        return self.nets.heads.apply(params["model"]["chance"]["heads"], latent)

    def read(
        self, params: Params, seen: History, acting: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """What came between records: one-hots with e's gradient, and e itself.

        Args:
          params: whole tree.
          seen: histories of K + 1 records in a row, leaves `[N, K + 1, stack, …]`.
          acting: f32 `[N, K]`, 1 where the second record follows the first one.

        Returns:
          Both f32 `[N, K, M]`.
        """
        cut = lambda begin, end: flatten_batch(
            jax.tree.map(lambda x: x[:, begin:end], seen)
        )
        pair = self._pair(cut(None, -1), cut(1, None))
        raw = self.nets.encode.apply(params["model"]["chance"]["encode"], pair)
        raw = unflatten_batch(raw, acting.shape)
        code = jax.nn.one_hot(jnp.argmax(raw, -1), self.chances)
        slope = jnp.where(acting[..., None] > 0, raw, jax.lax.stop_gradient(raw))
        return slope + jax.lax.stop_gradient(code - slope), raw

    def terms(
        self,
        params: Params,
        afters: jax.Array,
        code: jax.Array,
        raw: jax.Array,
        value: jax.Array,
    ) -> dict[str, jax.Array]:
        """Losses of afterstates, each `[K, N]`.

        Args:
          params: differentiated.
          afters: latents `[K, N, …]`.
          code: `[N, K, M]`, as read.
          raw: e, `[N, K, M]`.
          value: return of the state that the decision was made in, f32 `[K, N]`.
        """
        code = jax.lax.stop_gradient(code).swapaxes(0, 1)
        said = unflatten_batch(self.predict(params, flatten_batch(afters)), value.shape)
        chance = -jnp.sum(code * jax.nn.log_softmax(said["chance"]), -1)
        return {
            "after_value": self.base.value_code.loss(said["value"], value),
            "chance": chance,
            "commitment": jnp.square(code - raw.swapaxes(0, 1)).sum(-1),
        }

    def advance(self, params: Params, latents: Tree, given: Tree) -> Tree:
        """One step of (latent, afterstate on the way to it), by (action, code)."""
        action, code = given
        after = self.base.advance(params, latents[0], action)
        return self.follow(params, after, code), after

    def _pair(self, before: History, after: History) -> jax.Array:
        """What the encoder reads."""
        return jnp.concatenate([self.base.planes(before), self.base.planes(after)], -1)
