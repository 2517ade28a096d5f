"""Recurrent state-space model with categorical latents.

State (h, z): h follows deterministically from the past, z is drawn anew at every step,
from [h, observation] when observing and from h alone when imagining. Heads on [h, z]
predict the observation, the reward and whether the episode goes on.

Source: Hafner et al. 2025 (DreamerV3), code at danijar/dreamerv3 e3f0224. Differs:
the latent is drawn by inverting its distribution function with one uniform per group
(theirs: Gumbel noise per class), which has the same law and is cheaper.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from wm.errors import UserError
from wm.models import rssm_codec, rssm_core
from wm.models.headless import Headless
from wm.models.late_gradients import plain_linear, scan_late
from wm.models.rssm_config import RSSMConfig, action_size, scalar_bins
from wm.models.rssm_core import finish
from wm.models.rssm_state import RSSMState, flat, unpack
from wm.nets import codec, heads
from wm.nets.mlp import Features, mlp
from wm.nets.observations import flat_specs
from wm.nets.products import matmul
from wm.ops import distributions, losses
from wm.ops.trees import swap_time, where_rows
from wm.types import Batch, EnvSpec, Key, Params, Prediction, TimeStep, Tree


class Fit(NamedTuple):
    """What `RSSM.fit` finds out about N sequences of L steps."""

    states: RSSMState
    """Posterior states, leaves `[N, L, …]`; differentiable."""
    terms: dict[str, jax.Array]
    """Loss terms `[N, L]`: dyn, rep, reward, continue, rec/NAME per array."""
    metrics: dict[str, jax.Array]


class RSSM:
    """A `WorldModel` over `RSSMState`; params under `"model"`.

    Params: `{"encoder", "core", "prior", "posterior", "decoder", "reward",
    "continue"}`, as in `wm.nets`.
    """

    def __init__(self, spec: EnvSpec, config: RSSMConfig):
        """Build the nets.

        Raises:
          UserError: an observation or action that the nets cannot take.
        """
        self.spec = spec
        self.config = config
        self._actions = action_size(spec)
        core = {"block_gru": rssm_core.block_core, "norm_gru": rssm_core.norm_core}
        self._core = core[config.core](config, self._actions)
        latent = config.groups * config.classes
        shared = {
            name: getattr(config, name)
            for name in ("act", "norm", "bias", "fan", "dtype")
        }
        layers = functools.partial(mlp, units=config.hidden, out=latent, **shared)
        self._prior, self._posterior = layers(config.prior_layers), layers(1)
        head = functools.partial(
            heads.HeadConfig, config.head_layers, config.units, **shared
        )
        self._reward = heads.two_hot_head(head(outscale=0.0), config.bins)
        self._continue = heads.binary_head(head())
        self._two_hot = scalar_bins(config)
        try:
            self._codec = config.codec_config()
            nets = rssm_codec.build(spec.observation, config, self._codec)
            self._encoder, self._decoder = nets
        except ValueError as error:
            raise UserError(f"--agent.multipliers, --agent.depth: {error}") from error

    # The contract.

    def init(self, key: Key) -> Params:
        """Fresh parameters, `{"model": …}`."""
        config = self.config
        names = (
            "encoder",
            "core",
            "prior",
            "posterior",
            "decoder",
            "reward",
            "continue",
        )
        keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
        observation = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype),
            self.spec.observation,
        )
        h = jax.ShapeDtypeStruct((1, config.deter), jnp.float32)
        z = jax.ShapeDtypeStruct((1, config.groups * config.classes), jnp.float32)
        x = jax.ShapeDtypeStruct((1, h.shape[1] + z.shape[1]), jnp.float32)
        params = {"encoder": self._encoder.init(keys["encoder"], observation)}
        tokens = jax.eval_shape(self._encoder.apply, params["encoder"], observation)
        read = jax.ShapeDtypeStruct((1, h.shape[1] + tokens.shape[1]), jnp.float32)
        params |= {
            "core": self._core.init(keys["core"]),
            "prior": self._prior.init(keys["prior"], h),
            "posterior": self._posterior.init(keys["posterior"], read),
            "decoder": self._decoder.init(keys["decoder"], h, z),
            "reward": self._reward.init(keys["reward"], x),
            "continue": self._continue.init(keys["continue"], x),
        }
        if config.learned_start:
            params["start"] = {"deter": jnp.zeros(config.deter)}
        return {"model": params}

    def start(self, params: Params, batch: int) -> RSSMState:
        """h and z all zero, or as learned, z then the prior's mode."""
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        legal = jnp.ones((batch, self._actions), bool) if self.spec.legal else None
        deter = jnp.zeros((batch, config.deter), dtype)
        stoch = jnp.zeros((batch, config.groups, config.classes), dtype)
        if config.learned_start:
            deter = deter + jnp.tanh(params["model"]["start"]["deter"]).astype(dtype)
            stoch = self._latent(self.prior(params, deter)).mode().astype(dtype)
        return RSSMState(deter=deter, stoch=stoch, legal=legal)

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """The time step with tokens `[…, K]` as its observation."""
        tokens = self._encoder.apply(params["model"]["encoder"], timestep.observation)
        return timestep._replace(observation=tokens)

    def observe(
        self, params: Params, key: Key, state: RSSMState, action, evidence: TimeStep
    ) -> RSSMState:
        """The state after `evidence`; `key` may be uniforms `[B, groups]`."""
        inputs = self._inputs(params, action, evidence)
        noise = self._noise(key, evidence.is_first.shape)
        linear, small = plain_linear(self._kernels(params)), self._small(params)
        state, _ = self._observe(linear, small, state, (*inputs, noise))
        return state.replace(legal=evidence.legal)

    def step(
        self, params: Params, key: Key, state: RSSMState, action
    ) -> tuple[RSSMState, Prediction]:
        """Draw the next state from the prior; `key` may be uniforms `[B, groups]`."""
        state = self.advance(params, key, state, action)
        return state, self.predict(params, state)

    def decode(self, params: Params, state: RSSMState) -> Tree:
        """Most likely observation, in the types of the spec."""
        decoder = params["model"]["decoder"]
        predictions = self._decoder.apply(decoder, state.deter, flat(state.stoch))
        return codec.observation_of(self.spec.observation, self._codec, predictions)

    def legal(self, params: Params, state: RSSMState) -> jax.Array:
        """bool `[B, A]`; all true where nothing is known."""
        if state.legal is None:
            return jnp.ones((*state.deter.shape[:-1], self._actions), bool)
        return state.legal

    def loss(self, params: Params, key: Key, batch: Batch) -> tuple[jax.Array, Fit]:
        """Scaled sum of the means of `fit`'s terms, to learn the model alone."""
        shape = (*batch.action.shape[:1], batch.timestep.is_first.shape[1] - 1)
        fit = self.fit(params, self._noise(key, shape), batch)
        scales = self.config.model_scales(fit.terms)
        means = [scales[name] * fit.terms[name].mean() for name in scales]
        return jnp.stack(means).sum(), fit

    # Parts of it, for agents.

    @property
    def reconstructed(self) -> tuple[str, ...]:
        """Names of the arrays that the decoder predicts."""
        return tuple(flat_specs(self.spec.observation))

    @property
    def dynamics(self) -> Headless:
        """This model without heads: `predict` a whole rollout at once afterwards."""
        return Headless(self)

    def advance(self, params: Params, key: Key, state: RSSMState, action) -> RSSMState:
        """The next state drawn from the prior, without predictions."""
        core = params["model"]["core"]
        embedding = self._core.embed(core, self._action_vector(action))
        linear = plain_linear(self._core.kernels(core))
        h = self._core.step(linear, core, state.deter, flat(state.stoch), embedding)
        logits = self.prior(params, h)
        z = self._draw(logits, self._noise(key, h.shape[:-1]))
        legal = None if state.legal is None else jnp.ones_like(state.legal)
        return RSSMState(deter=h, stoch=z, legal=legal)

    def predict(self, params: Params, state: RSSMState) -> Prediction:
        """What arriving in `state` earned, in the environment's own terms."""
        x, config = self.features(state), self.config
        gamma = 1 - 1 / config.horizon if config.soft_continue else 1.0
        alive = jax.nn.sigmoid(self._continue.apply(params["model"]["continue"], x))
        return Prediction(
            reward=self.reward(params, x),
            discount=jnp.minimum(1.0, alive / max(gamma, 1e-6)),
        )

    def features(self, state: RSSMState) -> Features:
        """[h, z], what heads read: parts of width D and groups * classes."""
        return state.deter, flat(state.stoch)

    def reward(self, params: Params, features: Features) -> jax.Array:
        """Expected reward on arrival, f32 `[…]`, in task units."""
        logits = self._reward.apply(params["model"]["reward"], features)
        return self._two_hot.mean(logits)

    def survival(self, params: Params, features: Features) -> jax.Array:
        """Chance times gamma that life goes on after arrival, f32 `[…]`."""
        logit = self._continue.apply(params["model"]["continue"], features)
        if self.config.soft_continue:
            return jax.nn.sigmoid(logit)
        return (1 - 1 / self.config.horizon) * (logit > 0)

    def prior(self, params: Params, deter: jax.Array) -> jax.Array:
        """Logits of z given h, f32 `[…, groups, classes]`."""
        logits = self._prior.apply(params["model"]["prior"], deter)
        return self._grouped(logits)

    def observe_sequence(
        self, params: Params, noise: jax.Array, state: RSSMState, actions, evidence
    ) -> tuple[RSSMState, jax.Array]:
        """`observe` along time, what needs no recurrence computed at once.

        Args:
          params: whole tree.
          noise: uniforms `[N, L, groups]`.
          state: before the first step, leaves `[N, …]`.
          actions: `[N, L, …]`; `actions[:, t]` led to step t.
          evidence: encoded time steps `[N, L, …]`.

        Returns:
          States `[N, L, …]` and posterior logits `[N, L, groups, classes]`.
        """
        inputs = self._inputs(params, actions, evidence)

        def body(linear, small, state, now):
            state, logits = self._observe(linear, small, state, now)
            return state, (state, logits)

        kernels, small = self._kernels(params), self._small(params)
        xs = swap_time((*inputs, noise))
        scanned = scan_late(body, kernels, small, state.replace(legal=None), xs)
        states, logits = swap_time(scanned)
        return states.replace(legal=evidence.legal), logits

    def fit(self, params: Params, noise: jax.Array, batch: Batch) -> Fit:
        """Posterior states and loss terms of all steps of `batch` but the first.

        The first step is context: its stored latent is the state to begin with, its
        action led to the second step.

        Args:
          params: whole tree.
          noise: uniforms `[N, L, groups]`.
          batch: `[N, L + 1, …]` with `extras["latent"]`.

        Source: Hafner et al. 2025, Eq. 4-6.
        """
        after = lambda tree: jax.tree.map(lambda x: x[:, 1:], tree)
        timestep = after(batch.timestep)
        if not self.config.replay_context:
            first = timestep.is_first.at[:, 0].set(True)
            timestep = timestep._replace(is_first=first)
        first = jax.tree.map(lambda x: x[:, 0], batch.extras["latent"])
        state = unpack(first, self.config.classes, self.config.dtype)
        evidence = self.encode(params, timestep)
        actions = jax.tree.map(lambda x: x[:, :-1], batch.action)
        states, posterior = self.observe_sequence(
            params, noise, state, actions, evidence
        )
        prior = self.prior(params, states.deter)
        terms, metrics = self._latent_terms(posterior, prior)
        terms |= self._head_terms(params, states, timestep)
        reconstruction = self._decoder.losses(
            params["model"]["decoder"],
            states.deter,
            flat(states.stoch),
            timestep.observation,
        )
        terms |= {f"rec/{name}": loss for name, loss in reconstruction.items()}
        return Fit(states, terms, metrics)

    # Pieces.

    def _kernels(self, params: Params) -> dict[str, jax.Array]:
        """All that multiplies inside the loop over time."""
        dtype = jnp.dtype(self.config.dtype)
        posterior = params["model"]["posterior"]
        return self._core.kernels(params["model"]["core"]) | {
            "read": posterior["layer0"]["kernel"][: self.config.deter].astype(dtype),
            "logits": posterior["out"]["kernel"].astype(dtype),
        }

    def _small(self, params: Params) -> Tree:
        """What else the loop over time reads: all but kernels, and the first state."""
        model = params["model"]
        without = lambda layers: {
            name: {leaf: x for leaf, x in layer.items() if leaf != "kernel"}
            for name, layer in layers.items()
        }
        first = self.start(params, 1).replace(legal=None)
        return without(model["core"]), without(model["posterior"]), first

    def _inputs(self, params: Params, actions, evidence: TimeStep):
        """What observing needs beside state and noise, for any leading axes.

        Returns:
          Embedded actions, what the posterior makes of the tokens, and the reset mask.
        """
        model, config = params["model"], self.config
        reset = evidence.is_first | config.reset_every_step
        # At a reset the vector is zero: index 0 would be an action like any other.
        actions = jnp.where(reset[..., None], 0.0, self._action_vector(actions))
        kernel = model["posterior"]["layer0"]["kernel"][config.deter :]
        dtype = jnp.dtype(config.dtype)
        tokens = matmul(evidence.observation.astype(dtype), kernel.astype(dtype))
        return self._core.embed(model["core"], actions), tokens, reset

    def _observe(self, linear, small: Tree, state: RSSMState, inputs):
        """One step; `inputs` from `_inputs` and uniforms. State and logits."""
        embedding, tokens, reset, noise = inputs
        core, layers, first = small
        state = where_rows(reset, first, state.replace(legal=None))
        h = self._core.step(linear, core, state.deter, flat(state.stoch), embedding)
        x = finish(layers["layer0"], linear("read", h) + tokens, self.config.act)
        logits = finish(layers["out"], linear("logits", x), "none")
        logits = self._grouped(logits.astype(jnp.float32))
        return RSSMState(deter=h, stoch=self._draw(logits, noise)), logits

    def _latent_terms(self, posterior: jax.Array, prior: jax.Array):
        """KL terms `[N, L]` from logits, and metrics. Hafner et al. 2025, Eq. 3."""
        after, before = self._latent(posterior), self._latent(prior)
        kl = losses.balanced_kl(after, before, free=self.config.free, rule="step")
        metrics = {
            "model/kl": kl.raw.mean(),
            "model/posterior_entropy": after.entropy().mean(),
            "model/prior_entropy": before.entropy().mean(),
        }
        return {"dyn": kl.dynamics, "rep": kl.representation}, metrics

    def _head_terms(self, params: Params, states: RSSMState, timestep: TimeStep):
        """Reward and continue terms `[N, L]`; a terminal is a zero discount."""
        x, model = self.features(states), params["model"]
        alive = (timestep.discount != 0).astype(jnp.float32)
        if self.config.soft_continue:
            alive = alive * (1 - 1 / self.config.horizon)
        reward = self._reward.apply(model["reward"], x)
        logit = self._continue.apply(model["continue"], x)
        return {
            "reward": self._two_hot.loss(reward, timestep.reward),
            "continue": -distributions.Bernoulli(logit).log_prob(alive),
        }

    def _latent(self, logits: jax.Array) -> distributions.OneHot:
        return distributions.OneHot(logits, self.config.unimix)

    def _draw(self, logits: jax.Array, noise: Key) -> jax.Array:
        """z, straight through: the gradient is that of the probabilities."""
        return self._latent(logits).sample(noise).astype(self.config.dtype)

    def _noise(self, key: Key, rows: tuple[int, ...]) -> jax.Array:
        return distributions.uniform(key, (*rows, self.config.groups))

    def _grouped(self, logits: jax.Array) -> jax.Array:
        config = self.config
        return logits.reshape(*logits.shape[:-1], config.groups, config.classes)

    def _action_vector(self, action: jax.Array) -> jax.Array:
        """One-hot or flattened action, f32 `[…, A]`."""
        spec = self.spec.action
        if spec.classes is not None:
            vector = jax.nn.one_hot(action, spec.classes)
        else:
            lead = action.shape[: action.ndim - len(spec.shape)]
            vector = action.astype(jnp.float32).reshape(*lead, self._actions)
        return jnp.zeros_like(vector) if self.config.hide_actions else vector
