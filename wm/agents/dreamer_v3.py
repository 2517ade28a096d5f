"""DreamerV3: an actor and a critic that learn in the imagination of an RSSM.

Hafner, Pasukonis, Ba, Lillicrap, "Mastering diverse control tasks through world
models", Nature 2025; code danijar/dreamerv3 at e3f0224, whose losses, gradients and
updates this file reproduces (tests/golden). Deviations:

- Latents and discrete actions are drawn by inverting the distribution function, one
  uniform each; the law is the same.
- Stored latents are bfloat16 h and integer z (theirs: all float32); the context of a
  sequence is therefore rounded to 8 bits of mantissa.
- A time limit is not a terminal, in any task (their Atari wrapper says it is).
- Missing entries of a vector observation cost nothing (theirs: an infinite loss).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.agents.dreamer_v3_config import Config
from wm.agents.dreamer_v3_parts import behavior, optimizer, planning
from wm.behaviors.actor_critic import Dream
from wm.data.host_replay import HostReplay
from wm.data.replay import Replay
from wm.imagine import Draws, act_in, imagine
from wm.models.rssm import RSSM
from wm.models.rssm_state import RSSMState, pack
from wm.nodes import Node
from wm.ops import optimizers
from wm.ops.trees import flatten_batch
from wm.types import (
    Batch,
    EnvSpec,
    Feedback,
    Key,
    Metrics,
    Mode,
    Params,
    Policy,
    TimeStep,
    Tree,
)

stop = jax.lax.stop_gradient


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": …, "policy": {"actor", "critic"}}`."""
    slow_critic: Tree
    """Slow copy of the critic."""
    optimizer: Tree
    scale: Any
    """Running percentiles of imagined returns."""
    updates: jax.Array
    """i32, updates made."""


class Noise(NamedTuple):
    """All randomness of one update, drawn before it."""

    posterior: jax.Array
    """Uniforms `[N, L, groups]`."""
    prior: jax.Array
    """Uniforms `[H, N * L, groups]`."""
    policy: jax.Array
    """Uniforms `[H, N * L]`, or normals `[H, N * L, A]`."""


class Learned(NamedTuple):
    """By-products of the loss."""

    terms: dict[str, jax.Array]
    """`[N, L]` each; replay_value `[N, L - 1]`."""
    states: RSSMState
    """Posterior states `[N, L, …]`."""
    scale: Any
    metrics: Metrics


class DreamerV3:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build nets for `spec`.

        Raises:
          UserError: an observation or action that the nets cannot take.
          ValueError: a planner that does not fit the actions.
        """
        self.spec = spec
        self.config = config = config or Config()
        self.model = RSSM(spec, config)
        self.behavior = behavior(spec, config, self.model)
        self.optimizer = optimizer(config)
        self._explorer = self._player = self.behavior.actor
        if config.planner != "none":
            parts = config, self.model, self.behavior
            self._explorer, self._player = (planning(*parts, x) for x in (True, False))

    def init(self, key: Key) -> State:
        """Fresh parameters; the slow critic starts equal to the critic."""
        key_model, key_behavior = jax.random.split(key)
        params = self.model.init(key_model)
        features = jax.eval_shape(
            lambda: self.model.features(self.model.start(params, 1))
        )
        params = params | {"policy": self.behavior.init(key_behavior, features)}
        return State(
            params=params,
            slow_critic=jax.tree.map(jnp.copy, params["policy"]["critic"]),
            optimizer=self.optimizer.init(params),
            scale=self.behavior.normalizer.init(),
            updates=jnp.zeros((), jnp.int32),
        )

    def actor(self, state: State) -> Params:
        """What acting needs: the nets that observe, and the actor; of a planner the
        nets that predict, and the critic; of a tree search all of these."""
        model, policy, heads = state.params["model"], state.params["policy"], ["actor"]
        names = ["encoder", "core", "prior", "posterior", "start"]
        if self.config.planner != "none":
            names = [*names, "reward", "continue"]
            heads = ["critic", "actor"][: 1 + (self.config.planner == "mcts")]
        return {
            "model": {name: model[name] for name in names if name in model},
            "policy": {name: policy[name] for name in heads},
        }

    def start(self, actor: Params, batch: int) -> Tree:
        """Fresh (model state, previous action, policy memory)."""
        return act_in(self.model, self._player).start(actor, batch)

    def act(
        self, actor: Params, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, Tree]]:
        """Observe and sample an action, or plan one; alike in every mode, but for the
        noise on plans, of which `eval` has none.

        `extras["latent"]` is the model state after `timestep`, as replay stores it.
        """
        policy = act_in(self.model, self._player if mode == "eval" else self._explorer)
        carry, action, _ = policy.act(actor, key, carry, timestep)
        return carry, action, {"latent": pack(carry[0])}

    def buffer(self, schedule: Any) -> Replay | HostReplay:
        """Uniform replay that serves every new sequence once, soon."""
        kind = HostReplay if schedule.replay_tier == "host" else Replay
        length = schedule.batch_length + 1
        return kind(schedule.replay, length, self.config.newest_first)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """One batch, each sequence with a step of context before it."""
        return {"replay": (schedule.batch_size, schedule.batch_length + 1)}

    def imagined_per_update(self, schedule: Any) -> int:
        """Imagined steps per update."""
        steps = schedule.batch_size * schedule.batch_length
        return steps * self.config.imagine_length

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step of everything, and fresh latents for the replay."""
        batch = batches["replay"]
        noise = self.draw(key, *batch.timestep.is_first[:, 1:].shape)
        state, learned, metrics = self.learn(state, noise, batch)
        return state, {"replay": self._feedback(batch, learned.states)}, metrics

    def learn(
        self, state: State, noise: Noise, batch: Batch, policy: Policy | None = None
    ) -> tuple[State, Learned, Metrics]:
        """`update` with given noise, imagining by `policy` if it is set."""
        loss = jax.value_and_grad(self.loss, has_aux=True)
        (total, learned), gradient = loss(state.params, state, noise, batch, policy)
        updates, optimizer = self.optimizer.update(
            gradient, state.optimizer, state.params
        )
        params: Params = optax.apply_updates(state.params, updates)
        slow = optimizers.ema(
            state.slow_critic, params["policy"]["critic"], self.config.slow_rate
        )
        metrics = learned.metrics | {
            "loss/total": total,
            "loss/gradient_norm": optax.tree.norm(gradient),
        }
        state = State(
            params=params,
            slow_critic=slow,
            optimizer=optimizer,
            scale=learned.scale,
            updates=state.updates + 1,
        )
        return state, learned, metrics

    def draw(self, key: Key, N: int, L: int) -> Noise:
        """Noise for N sequences of L steps."""
        key_posterior, key_prior, key_policy = jax.random.split(key, 3)
        groups, H = self.config.groups, self.config.imagine_length
        return Noise(
            posterior=jax.random.uniform(key_posterior, (N, L, groups)),
            prior=jax.random.uniform(key_prior, (H, N * L, groups)),
            policy=self.behavior.actor.draw(key_policy, (H, N * L)),
        )

    def loss(
        self,
        params: Params,
        state: State,
        noise: Noise,
        batch: Batch,
        policy: Policy | None = None,
    ) -> tuple[jax.Array, Learned]:
        """Weighted sum of the means of all terms.

        Args:
          params: differentiated; those in `state` are not read.
          state: for the slow critic and the scale of returns.
          noise: see `Noise`.
          batch: `[N, L + 1, …]`, the first step for context.
          policy: acts in imagination in place of the actor.
        """
        config = self.config
        if not config.learn_model:
            params = params | {"model": stop(params["model"])}

        # World model
        fit = self.model.fit(params, noise.posterior, batch)
        terms = dict(fit.terms)

        # Imagination
        shape = batch.timestep.is_first[:, 1:].shape
        timestep = jax.tree.map(lambda x: x[:, 1:], batch.timestep)
        actor = policy or self.behavior.actor
        dream = self._dream(params, noise, fit.states, timestep, actor)
        learned = self.behavior.imagined(params, state.slow_critic, state.scale, dream)
        for name, term in learned.terms.items():
            terms[name] = term.mean(0).reshape(shape)

        # Replay
        terms["replay_value"] = self.behavior.replayed(
            params,
            state.slow_critic,
            self.model.features(fit.states),
            timestep,
            learned.returns[0].reshape(shape),
            1 - 1 / config.horizon,
        )

        scales = config.scales(self.model.reconstructed)
        assert terms.keys() == scales.keys(), (sorted(terms), sorted(scales))
        means = {name: term.mean() for name, term in terms.items()}
        total = jnp.stack([scales[name] * means[name] for name in scales]).sum()
        metrics = {f"loss/{name}": mean for name, mean in means.items()}
        metrics |= fit.metrics | learned.metrics
        return total, Learned(terms, fit.states, learned.scale, metrics)

    def _dream(
        self, params: Params, noise: Noise, states, timestep: TimeStep, policy: Policy
    ) -> Dream:
        """Roll the policy from every state, in a model that is held fixed."""
        frozen = stop(params)
        if self.behavior.pathwise:
            frozen = frozen | {"policy": params["policy"]}
        starts = stop(flatten_batch(states))
        last, _, trajectory = imagine(
            self.model.dynamics,
            policy,
            frozen,
            Draws(policy=noise.policy, model=noise.prior),
            starts,
            policy.start(frozen, starts.deter.shape[0]),
            self.config.imagine_length,
        )
        features = self.model.features(trajectory.state)
        final = self.model.features(last)

        def throughout(head) -> jax.Array:
            parts = head(frozen, features), head(frozen, final)[None]
            return jnp.concatenate(parts)

        survival = throughout(self.model.survival)
        if not self.config.soft_continue:
            alive = (timestep.discount != 0).astype(jnp.float32)
            survival = survival.at[0].set(alive.reshape(-1))
        return Dream(
            states=trajectory.state,
            features=features,
            final=final,
            action=trajectory.action,
            reward=throughout(self.model.reward)[1:],
            survival=survival,
        )

    def _feedback(self, batch: Batch, states: RSSMState) -> Feedback:
        """Posterior latents to store; the context keeps what it had."""
        fresh = pack(stop(states))
        stored = batch.extras["latent"]
        latent = jax.tree.map(
            lambda old, new: jnp.concatenate([old[:, :1], new.astype(old.dtype)], 1),
            stored,
            fresh,
        )
        mask = jnp.ones(batch.timestep.is_first.shape, bool).at[:, 0].set(False)
        return Feedback(index=batch.index, fields={"latent": latent}, mask=mask)
