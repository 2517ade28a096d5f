"""Monte Carlo tree search in any world model with actions that can be counted.

Three searches, all of mctx. `puct` visits what a prior and the values found so far
recommend, and plays by visits (AlphaZero, MuZero). `gumbel` halves a set of candidates
at the root and completes the values of what it did not visit: its improved policy is no
worse than the prior after any number of simulations. `stochastic` is `puct` with nodes
of chance in between (Stochastic MuZero; see `planners.chance`). Where actions cannot be
counted, `heads` draws a few of them in every state and the search chooses among those
(Sampled MuZero).

Values are of the player to move, rewards of the one who just moved, and a discount of
-1 says that the other one moves next: G = r + discount · G'. What is illegal is never
chosen, in the tree as at its root. Memory: (simulations + 1) model states per row.

Sources: Silver et al. 2018; Schrittwieser et al. 2020, Appendix B; Danihelka et al.
2022; Hubert et al. 2021. google-deepmind/mctx 0.0.71.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import mctx

from wm.planners import chance
from wm.planners.qtransforms import by_bounds, by_tree, completed
from wm.planners.sequences import legal_now, require
from wm.types import Key, Params, Tree, WorldModel

Heads = Callable[[Params, Key, Tree], tuple[Any, jax.Array, Any]]
"""`(params, key, M) -> (logits [B, A] or None, value [B], actions [B, K, F] or None)`.

None for logits: all alike. `actions`: drawn in M, F numbers each; logits are then of
these K, and None is right where they were drawn from the policy itself, whose density
has been counted by drawing; -inf for what was drawn before. Only actions of one index
need none."""

Method = Literal["gumbel", "puct", "stochastic"]
Statistics = Literal["siblings", "tree", "bounds"]
MASKED = -1e30
"""Logit of an illegal action; finite, so that no row is without a maximum."""


@dataclasses.dataclass(frozen=True)
class MCTSConfig:
    """Settings of tree search. Defaults: mctx 0.0.71."""

    simulations: int = 32
    """Leaves evaluated per action (AlphaZero 800, MuZero 800 and 50, pgx 32)."""
    method: Method = "gumbel"
    """gumbel, puct, or stochastic: puct with nodes of chance, in models that tell their
    chance apart; all that is said of puct applies."""
    gamma: float = 1.0
    """Discount per step, on top of the model's own (board games 1, Atari 0.997)."""
    max_depth: int | None = None
    """Deepest leaf in steps; unset: as deep as there are simulations."""
    considered: int = 16
    """gumbel: candidates at the root (16)."""
    gumbel_scale: float = 1.0
    """gumbel: of the noise that draws the candidates; 0 in evaluation."""
    value_scale: float = 0.1
    """gumbel: weight of values against logits (Atari 0.1; Go and chess 1)."""
    value_visits: float = 50.0
    """gumbel: visits added to the greatest count in that weight (50)."""
    rescale: bool = True
    """gumbel: values are stretched to [0, 1] before they are weighed."""
    mixed: bool = True
    """gumbel: what was not visited is worth a mixture of the net's value and those of
    the siblings; else the net's value alone."""
    exploration: float = 1.25
    """puct: weight of the prior (AlphaZero, MuZero: c_init 1.25)."""
    exploration_base: float = 19_652.0
    """puct: visits after which that weight has grown visibly (c_base 19652)."""
    statistics: Statistics = "siblings"
    """What values are stretched by: the least and greatest among siblings (mctx), in
    the whole tree (MuZero, EfficientZero 2), or `bounds`, known beforehand (board
    games). In learned models siblings stretch errors to decisions."""
    bounds: tuple[float, float] = (-1.0, 1.0)
    """Least and greatest value, for statistics `bounds`; values beyond count as the
    nearer of the two."""
    least_range: float = 0.01
    """For statistics `tree`, differences below this are not stretched further (MuZero
    0, EfficientZero 0.01)."""
    noise: float = 0.25
    """puct: share of Dirichlet noise in the root's prior (0.25); 0 in evaluation."""
    noise_alpha: float = 0.3
    """puct: its concentration (chess 0.3, shogi 0.15, Go 0.03, Atari 0.25)."""
    temperature: float = 1.0
    """puct: actions are drawn by visits^(1 / temperature); 0 plays the most visited."""
    temperature_moves: int | None = None
    """Moves of an episode that are drawn; then the most visited is played, or the
    candidate without noise (AlphaZero 30). Unset: all."""

    def __post_init__(self):
        one_of = lambda names: "one of " + ", ".join(get_args(names))
        moves, depth = self.temperature_moves, self.max_depth
        require(
            self,
            simulations=(self.simulations >= 1, "at least 1"),
            method=(self.method in get_args(Method), one_of(Method)),
            gamma=(0 < self.gamma <= 1, "in (0, 1]"),
            max_depth=(depth is None or depth >= 1, "at least 1"),
            considered=(self.considered >= 1, "at least 1"),
            gumbel_scale=(self.gumbel_scale >= 0, "at least 0"),
            value_scale=(self.value_scale > 0, "above 0"),
            value_visits=(self.value_visits >= 0, "at least 0"),
            exploration=(self.exploration >= 0, "at least 0"),
            exploration_base=(self.exploration_base > 0, "above 0"),
            statistics=(self.statistics in get_args(Statistics), one_of(Statistics)),
            bounds=(self.bounds[0] < self.bounds[1], "rising"),
            least_range=(self.least_range > 0, "above 0"),
            noise=(0 <= self.noise <= 1, "in [0, 1]"),
            noise_alpha=(self.noise_alpha > 0, "above 0"),
            # mctx gives 1e-38 of a visit to what is illegal; above 4 it gets played.
            temperature=(0 <= self.temperature <= 4, "in [0, 4]"),
            temperature_moves=(moves is None or moves >= 0, "at least 0"),
        )


def greedy(config: MCTSConfig, simulations: int | None = None) -> MCTSConfig:
    """The same search without noise, for evaluation; with another budget if given."""
    return dataclasses.replace(
        config,
        simulations=simulations or config.simulations,
        gumbel_scale=0.0,
        noise=0.0,
        temperature=0.0,
        temperature_moves=None,
    )


class Leaf(NamedTuple):
    """A state as `heads` see it."""

    logits: jax.Array
    """f32 `[B, A]`, `MASKED` where illegal."""
    value: jax.Array
    """f32 `[B]`."""
    actions: jax.Array | None
    """`[B, A, F]` where they were drawn."""
    legal: jax.Array | None
    """bool `[B, A]`."""


class MCTS(NamedTuple):
    """A policy over model states; built by `mcts`."""

    model: Any
    heads: Heads
    config: MCTSConfig
    root: Heads | None = None
    """At the root, if other than within the tree."""

    def start(self, params: Params, batch: int) -> jax.Array:
        """Moves made so far, i32 `[B]`."""
        return jnp.zeros(batch, jnp.int32)

    def act(
        self, params: Params, key: Key, carry: jax.Array, x: Tree
    ) -> tuple[jax.Array, jax.Array, dict[str, Tree]]:
        """Search from `x`, then play.

        Returns:
          The carry, the action, and extras `policy` f32 `[B, A]` (the target of a
          policy: visits of `puct`, the improved policy of `gumbel`), `visits` f32
          `[B, A]` (shares of the simulations), `value` f32 `[B]` (mean over the tree)
          and, where actions were drawn, `actions` `[B, A, F]`.
        """
        found = self.search(params, key, x, carry)
        summary = found.search_tree.summary()
        extras = {
            "policy": found.action_weights,
            "visits": summary.visit_probs,
            "value": summary.value,
        }
        drawn = found.search_tree.embeddings[1]
        if drawn is not None:
            extras["actions"] = drawn[:, 0]
        action = self.played(found.action, extras.get("actions"))
        return carry + 1, action, extras

    def search(
        self, params: Params, key: Key, x: Tree, moves: jax.Array | None = None
    ) -> mctx.PolicyOutput:
        """The whole tree, for those who look into it; nodes hold (M, actions).

        Args:
          params: whole tree.
          key: consumed.
          x: model states, leaves `[B, …]`.
          moves: i32 `[B]`, made so far; None counts as none.
        """
        key_root, key_noise, key_search = jax.random.split(key, 3)
        # What only observing needs (frames to be stacked) is not copied to every node.
        x = getattr(self.model, "bare", lambda state: state)(x)
        leaf = self.look(params, key_root, x, self.root)
        config = self.config
        late = jnp.zeros((leaf.value.shape[0], 1))
        if moves is not None and config.temperature_moves is not None:
            late = (moves >= config.temperature_moves)[:, None].astype(jnp.float32)
        logits = leaf.logits
        if config.method != "gumbel" and config.noise:
            logits = noisy(key_noise, logits, config.noise, config.noise_alpha)
        root = mctx.RootFnOutput(  # pyright: ignore[reportCallIssue]
            prior_logits=logits, value=leaf.value, embedding=(x, leaf.actions)
        )
        illegal = None if leaf.legal is None else (~leaf.legal).astype(jnp.float32)
        given = {
            "params": params,
            "rng_key": key_search,
            "root": root,
            "recurrent_fn": self._step,
            "num_simulations": config.simulations,
            "invalid_actions": illegal,
            "max_depth": config.max_depth,
        }
        if config.method == "gumbel":
            return mctx.gumbel_muzero_policy(
                **given,
                qtransform=transform(config),
                max_num_considered_actions=config.considered,
                gumbel_scale=config.gumbel_scale * (1 - late),
            )
        given |= {
            "qtransform": transform(config),
            "dirichlet_fraction": 0.0,  # mixed in above, over what is legal
            "pb_c_init": config.exploration,
            "pb_c_base": config.exploration_base,
            "temperature": config.temperature * (1 - late),
        }
        if config.method == "stochastic":
            return chance.search(self, given)
        return mctx.muzero_policy(**given)

    def _step(self, params: Params, key: Key, action: jax.Array, embedding: Tree):
        """mctx's recurrent function."""
        key_step, key_look = jax.random.split(key)
        state, drawn = embedding
        played = self.played(action, drawn)
        state, prediction = self.model.step(params, key_step, state, played)
        leaf = self.look(params, key_look, state)
        # mctx walks on through what has ended: it must be worth nothing there too.
        ended = prediction.discount == 0
        output = mctx.RecurrentFnOutput(  # pyright: ignore[reportCallIssue]
            reward=prediction.reward,
            discount=self.config.gamma * prediction.discount,
            prior_logits=leaf.logits,
            value=jnp.where(ended, 0.0, leaf.value),
        )
        return output, (state, leaf.actions)

    def look(
        self, params: Params, key: Key, state: Tree, heads: Heads | None = None
    ) -> Leaf:
        """What `heads` say (unset: the tree's), illegal actions masked.

        Raises:
          ValueError: actions that cannot be counted, and none drawn.
        """
        logits, value, actions = (heads or self.heads)(params, key, state)
        spec = self.model.spec.action
        B = value.shape[0]
        if actions is None:
            if not spec.discrete or spec.shape:
                raise ValueError(
                    f"heads must return actions [B, K, F] for {self.model.spec.name}, "
                    "whose actions are not one index, got None"
                )
            legal = legal_now(self.model, params, state)
            width = spec.classes
        else:
            # What was drawn twice is tried once.
            legal = None if logits is None else jnp.isfinite(logits)
            width = actions.shape[1]
        if logits is None:
            logits = jnp.zeros((B, width), jnp.float32)
        logits = logits.astype(jnp.float32)
        if legal is not None:
            logits = jnp.where(legal, logits, MASKED)
        return Leaf(logits, value.astype(jnp.float32), actions, legal)

    def played(self, index: jax.Array, drawn: jax.Array | None) -> jax.Array:
        """The action of an index, `[B, …]` as environments take it."""
        spec = self.model.spec.action
        if drawn is None:
            return index.astype(spec.dtype)
        rows = jnp.arange(index.shape[0])
        return drawn[rows, index].reshape(-1, *spec.shape).astype(spec.dtype)


def by_visits(key: Key, visits: jax.Array, temperature: jax.Array) -> jax.Array:
    """Actions i32 `[B]` drawn by visits^(1 / temperature), `[B, A]`; at a temperature
    of nearly 0 the most visited."""
    share = visits / jnp.max(visits, -1, keepdims=True)
    logits = jnp.log(jnp.maximum(share, 1e-30)) / jnp.maximum(temperature, 1e-3)
    logits = jnp.where(visits > 0, logits, -jnp.inf)
    return jax.random.categorical(key, logits).astype(jnp.int32)


def mcts(
    model: WorldModel,
    heads: Heads,
    config: MCTSConfig | None = None,
    root: Heads | None = None,
) -> MCTS:
    """Search a tree in `model`, guided by `heads`; see the module.

    Args:
      model: any; its `legal` is asked in every state where the spec has legal actions.
      heads: see `Heads`.
      config: settings.
      root: heads at the root, if other than within the tree.

    Raises:
      ValueError: `stochastic` in a model that does not tell its chance apart.
    """
    config = config or MCTSConfig()
    if config.method == "stochastic" and not getattr(model, "chances", 0):
        raise ValueError(
            f"method must be gumbel or puct: {model.spec.name} does not tell its "
            "chance apart (chances, afterstate, chance; pgx/2048 does), got stochastic"
        )
    return MCTS(model, heads, config, root)


def noisy(key: Key, logits: jax.Array, share: float, alpha: float) -> jax.Array:
    """Logits of the prior with a share of Dirichlet noise over what is legal.

    mctx spreads it over all actions and then masks, so that the share is smaller the
    fewer are legal.
    """
    # Their logarithms: at 0.03 most of such draws are too small for a float.
    noise = jax.random.loggamma(key, alpha, logits.shape)
    masked = logits <= 0.5 * MASKED
    noise = jax.nn.softmax(jnp.where(masked, MASKED, noise))
    mixed = (1 - share) * jax.nn.softmax(logits) + share * noise
    tiny = jnp.finfo(jnp.float32).tiny
    return jnp.where(masked, MASKED, jnp.log(jnp.maximum(mixed, tiny)))


def transform(config: MCTSConfig) -> Callable:
    """mctx's function from values to what is added to logits or priors."""
    if config.method == "gumbel":
        return _completed(config)
    if config.statistics == "siblings":
        return mctx.qtransform_by_parent_and_siblings
    if config.statistics == "tree":
        return functools.partial(by_tree, least_range=config.least_range)
    return functools.partial(by_bounds, bounds=config.bounds)


def _completed(config: MCTSConfig) -> Callable:
    if config.statistics == "siblings" or not config.rescale:
        return functools.partial(
            mctx.qtransform_completed_by_mix_value,
            value_scale=config.value_scale,
            maxvisit_init=config.value_visits,
            rescale_values=config.rescale,
            use_mixed_value=config.mixed,
        )
    known = config.statistics == "bounds"
    return functools.partial(
        completed,
        value_scale=config.value_scale,
        value_visits=config.value_visits,
        mixed=config.mixed,
        bounds=config.bounds if known else None,
        least_range=config.least_range,
    )
