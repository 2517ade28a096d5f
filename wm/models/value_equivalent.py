"""A model that predicts what planning needs: rewards, values and policies.

Nothing is reconstructed. A representation h reads what was observed, dynamics g steps a
latent, and a prediction f reads policy and value off it:

    s⁰ = h(o₁ … o_t)      s^k = g(s^(k-1), a^k)      r^k, p^k, v^k from s^k

The model knows no ends (it learns that what comes after one is worth nothing) and no
rules: what is legal is known where one stands, not further on. Its discount is 1, or -1
where two players move in turn.

Source: Schrittwieser et al. 2020. Differs: the reward is read off the latent that was
arrived in, after it was stretched to [0, 1].
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from wm.errors import UserError
from wm.nets.latent import LatentConfig, latent_nets
from wm.nets.tower import inputs
from wm.nodes import Node
from wm.ops.transforms import TwoHot
from wm.ops.trees import where_rows
from wm.types import (
    ArraySpec,
    EnvSpec,
    Key,
    Params,
    Prediction,
    TimeStep,
    Tree,
)


@dataclasses.dataclass(frozen=True)
class ValueEquivalentConfig(LatentConfig):
    """Sizes of the nets, and how numbers are coded."""

    value_bins: int = 601
    """Bins of the value (Atari 601)."""
    value_limit: float = 300.0
    """The outer ones lie at ±this after h(x) = sign(x)(√(|x| + 1) - 1) + 0.001x (Atari
    300)."""
    reward_bins: int = 601
    """Bins of the reward (Atari 601)."""
    reward_limit: float = 300.0
    """Likewise (Atari 300)."""
    stack: int = 1
    """Newest observations that are seen at once (Atari 32, EfficientZero 4)."""
    stack_actions: bool = False
    """Whether the actions before each of them are seen, too (Atari)."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("value_bins", "reward_bins"):
            if getattr(self, name) < 2:
                raise ValueError(
                    f"{name} must be at least 2, got {getattr(self, name)}"
                )
        for name in ("value_limit", "reward_limit"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.stack < 1:
            raise ValueError(f"stack must be at least 1, got {self.stack}")


class History(Node):
    """What is stacked, oldest first."""

    observation: Tree
    """`[…, stack, *shape]`; before the episode began, its first record again."""
    action: Tree
    """`[…, stack, *shape]`, the one that led to each record, one more than its index
    where it is discrete; 0 for none."""


class LatentState(Node):
    """Where one is."""

    latent: jax.Array
    """f32 `[B, D]` or `[B, H, W, C]`, in [0, 1]."""
    legal: jax.Array | None = None
    """bool `[B, A]`; all true behind the state that was observed. None without rules
    about it."""
    history: History | None = None
    """What the latent was made of; None where nothing is stacked, and in a search."""


class ValueEquivalent:
    """A `WorldModel` over `LatentState`.

    Params: `{"model": {"represent", "dynamics", "reward"}, "policy": {"predict"}}`.
    """

    def __init__(
        self, spec: EnvSpec, config: ValueEquivalentConfig, outputs: int | None = None
    ):
        """Build the nets.

        Args:
          spec: of the environment.
          config: sizes.
          outputs: of the policy head; unset: one per action.

        Raises:
          UserError: an observation or action that the nets cannot take.
        """
        self.spec, self.config = spec, config
        seen, action = spec.observation, spec.action
        if action.discrete and action.shape:
            raise UserError(f"{spec.name}: actions must be one index, or numbers")
        planes = isinstance(seen, ArraySpec) and len(seen.shape) == 3
        if config.form != "mlp" and not planes:
            raise UserError(
                f"{spec.name}: --agent.model.form {config.form} needs observations "
                "that are one array [H, W, C]; mlp takes any"
            )
        if outputs is None:
            outputs = action.classes
        if outputs is None:
            raise UserError(f"{spec.name}: actions must be one index")
        bins = config.value_bins, config.reward_bins
        self.nets = latent_nets(config, action.classes or 0, outputs, *bins)
        self.value_code = TwoHot(config.value_bins, config.value_limit, "hyperbolic")
        self.reward_code = TwoHot(config.reward_bins, config.reward_limit, "hyperbolic")
        self._turn = -1.0 if spec.players == 2 else 1.0
        self._stacks = config.stack > 1 or config.stack_actions

    @property
    def widest(self) -> int:
        """Elements of the widest activation of a row."""
        seen = self.spec.observation
        return self.config.widest(seen.shape if isinstance(seen, ArraySpec) else ())

    def init(self, key: Key) -> Params:
        """Fresh parameters."""
        keys = jax.random.split(key, 4)
        history = jax.eval_shape(lambda: self.blank(1))
        x = jax.eval_shape(self.planes, history)
        action = jax.eval_shape(
            lambda: self._action(jnp.zeros((1, *self.spec.action.shape), self._kind()))
        )
        represent = self.nets.represent.init(keys[0], x)
        latent = jax.eval_shape(self.nets.represent.apply, represent, x)
        return {
            "model": {
                "represent": represent,
                "dynamics": self.nets.dynamics.init(keys[1], latent, action),
                "reward": self.nets.reward.init(keys[2], latent),
            },
            "policy": {"predict": self.nets.predict.init(keys[3], latent)},
        }

    def start(self, params: Params, batch: int) -> LatentState:
        """Nothing observed yet."""
        history = self.blank(batch)
        latent = jax.eval_shape(self.represent, params, history)
        legal = None
        if self.spec.legal:
            legal = jnp.ones((batch, self.spec.action.classes), bool)
        return LatentState(
            latent=jnp.zeros(latent.shape, latent.dtype),
            legal=legal,
            history=history if self._stacks else None,
        )

    def at(self, state: LatentState) -> LatentState:
        """The state of what was just observed, itself."""
        return state

    def encode(self, params: Params, timestep: TimeStep) -> TimeStep:
        """Unchanged: what is seen depends on what is stacked."""
        return timestep

    def observe(
        self,
        params: Params,
        key: Key,
        state: LatentState,
        action: jax.Array,
        evidence: TimeStep,
    ) -> LatentState:
        """The latent of the newest observations; nothing of the old one is kept."""
        one = lambda tree: jax.tree.map(lambda x: x[:, None], tree)
        repeated = lambda tree: jax.tree.map(
            lambda x: jnp.repeat(x[:, None], self.config.stack, 1), tree
        )
        seen = evidence.observation
        fresh = self.blank(evidence.is_first.shape[0])
        history = fresh.replace(observation=repeated(seen))
        if state.history is not None:
            pushed = jax.tree.map(
                lambda old, new: jnp.concatenate([old[:, 1:], new], 1),
                state.history,
                History(one(seen), one(self._led(action))),
            )
            history = where_rows(evidence.is_first, history, pushed)
        return LatentState(
            latent=self.represent(params, history),
            legal=evidence.legal,
            history=history if self._stacks else None,
        )

    def step(
        self, params: Params, key: Key, state: LatentState, action: jax.Array
    ) -> tuple[LatentState, Prediction]:
        """One step of the latent; `history` stays what it was."""
        return self.arrived(params, state, self.advance(params, state.latent, action))

    def arrived(
        self, params: Params, state: LatentState, latent: jax.Array
    ) -> tuple[LatentState, Prediction]:
        """A state moved on to a latent, and what that earned."""
        reward = self.reward_code.mean(self.reward_logits(params, latent))
        legal = None if state.legal is None else jnp.ones_like(state.legal)
        state = state.replace(latent=latent, legal=legal)
        return state, Prediction(reward, jnp.full_like(reward, self._turn))

    def legal(self, params: Params, state: LatentState) -> jax.Array:
        """bool `[B, A]`; see `LatentState`."""
        if state.legal is None:
            raise ValueError(f"{self.spec.name} has no rules about legal actions")
        return state.legal

    def bare(self, state: LatentState) -> LatentState:
        """The state without its history, which steps do not need."""
        return state.replace(history=None)

    def represent(self, params: Params, history: History) -> jax.Array:
        """h: latents of histories, leaves `[B, stack, …]`."""
        return self.nets.represent.apply(
            params["model"]["represent"], self.planes(history)
        )

    def advance(self, params: Params, latent: jax.Array, action: jax.Array):
        """g: the next latent."""
        return self.nets.dynamics.apply(
            params["model"]["dynamics"], latent, self._action(action)
        )

    def reward_logits(self, params: Params, latent: jax.Array) -> jax.Array:
        """`[B, reward_bins]`, of what was earned on the way to `latent`."""
        return self.nets.reward.apply(params["model"]["reward"], latent)

    def predict(self, params: Params, latent: jax.Array) -> dict[str, jax.Array]:
        """f: `{"policy" [B, A], "value" [B, value_bins]}`, logits."""
        return self.nets.predict.apply(params["policy"]["predict"], latent)

    def heads(self, params: Params, key: Key, state: LatentState):
        """Logits and value of states, for a search."""
        said = self.predict(params, state.latent)
        return said["policy"], self.value_code.mean(said["value"]), None

    @property
    def context(self) -> int:
        """Records before the first of a window whose history is whole."""
        return self.config.stack - 1 + self.config.stack_actions

    def histories(self, timestep: TimeStep, action: jax.Array) -> History:
        """What was seen at the records of windows that have `context` before them.

        Args:
          timestep: records `[N, L, …]`.
          action: taken after each, `[N, L, …]`.

        Returns:
          Leaves `[N, L - context, stack, …]`.
        """
        start, is_first = self.context, timestep.is_first
        L = is_first.shape[1]
        led = self._led(action)
        before = jnp.concatenate([jnp.zeros_like(led[:, :1]), led[:, :-1]], 1)
        none = jax.tree.map(jnp.zeros_like, before)
        before = where_rows(is_first, none, before)
        record = History(timestep.observation, before)
        cut = lambda tree, back: jax.tree.map(
            lambda x: x[:, start - back : L - back], tree
        )
        # Back in time, until the episode's first record, which is then repeated.
        frames, begun = [cut(record, 0)], jnp.zeros_like(cut(is_first, 0))
        for back in range(1, self.config.stack):
            begun = begun | cut(is_first, back - 1)
            held = frames[-1].replace(action=jnp.zeros_like(frames[-1].action))
            frames.append(where_rows(begun, held, cut(record, back)))
        return jax.tree.map(lambda *x: jnp.stack(x, 2), *frames[::-1])

    def planes(self, history: History) -> jax.Array:
        """Histories `[B, stack, …]` as the representation reads them."""
        B = jax.tree.leaves(history.observation)[0].shape[0]
        if self.config.form == "mlp":
            x = self._flat(history.observation).reshape(B, -1)
            if self.config.stack_actions:
                x = jnp.concatenate([x, self._led_features(history.action)], -1)
            return x
        x = history.observation
        scale = 255.0 if x.dtype == jnp.uint8 else 1.0
        x = jnp.moveaxis(x.astype(jnp.float32) / scale, 1, -2)
        x = x.reshape(*x.shape[:3], -1)
        if not self.config.stack_actions:
            return x
        led = self._led_features(history.action)[:, None, None]
        return jnp.concatenate(
            [x, jnp.broadcast_to(led, (*x.shape[:3], led.shape[-1]))], -1
        )

    def _flat(self, observation: Tree) -> jax.Array:
        """Any observation as numbers `[B, stack, F]`."""
        seen = inputs(self.spec.observation, observation)
        parts = [] if seen.vector is None else [seen.vector]
        if seen.image is not None:
            image = seen.image.astype(jnp.float32) / 255
            parts.append(image.reshape(*image.shape[:2], -1))
        return jnp.concatenate(parts, -1)

    def blank(self, batch: int) -> History:
        """Zeros, leaves `[batch, stack, …]`."""
        size, action = self.config.stack, self.spec.action
        zeros = lambda spec: jnp.zeros((batch, size, *spec.shape), spec.dtype)
        return History(
            observation=jax.tree.map(zeros, self.spec.observation),
            action=jnp.zeros((batch, size, *action.shape), self._kind()),
        )

    def _kind(self) -> str:
        return "int32" if self.spec.action.discrete else "float32"

    def _led(self, action: jax.Array) -> jax.Array:
        """Actions as a history holds them."""
        action = action.astype(self._kind())
        return action + 1 if self.spec.action.discrete else action

    def _led_features(self, led: jax.Array) -> jax.Array:
        """Those as numbers, f32 `[B, stack · F]`."""
        x = led.astype(jnp.float32)
        if self.spec.action.classes is not None:
            x = x / self.spec.action.classes
        return x.reshape(x.shape[0], -1)

    def _action(self, action: jax.Array) -> jax.Array:
        """Actions as dynamics take them."""
        spec = self.spec.action
        if spec.classes is None:
            return action.reshape(action.shape[0], -1).astype(jnp.float32)
        if self.config.form == "mlp":
            return jax.nn.one_hot(action, spec.classes)
        return action
