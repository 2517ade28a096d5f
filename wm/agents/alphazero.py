"""AlphaZero: a net learns what a search found, and the search is guided by the net.

Silver et al., Science 2018 (AlphaGo Zero, Nature 2017), with the search of Danihelka et
al. 2022 by default; details after sotetsuk/pgx 079b2d7 (examples/alphazero) and
opendilab/LightZero 9f717c8. One net plays both sides: every move is searched on the
rules from the eyes of who moves, stored with the search's policy, and labelled with the
outcome once its game is over. The net is fitted to both. Deviations:

- Acting and learning alternate in one program on uniform replay of positions (as in
  LightZero); theirs ran beside each other, pgx trains one epoch on fresh games.
- The tree is built anew for every move.
- Norms are over channels, not over the batch; what the net sees is the environment's
  (eight boards of history in pgx's Go and chess, the present one elsewhere).
- Noise is mixed over legal moves only.
- Games are symmetric where the config says so, in learning only (AlphaGo Zero also in
  its search).
- One player, too, with outcomes in units of `outcome_scale`.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wm.behaviors.outcome import outcome_labels
from wm.behaviors.symmetry import Name as SymmetryName
from wm.behaviors.symmetry import shuffled, symmetry
from wm.data.replay import Replay
from wm.errors import UserError
from wm.imagine import act_in
from wm.models.rules import RulesState, rules_of
from wm.nets.parts import mean_gradient
from wm.nets.policy_value import PolicyValueConfig, policy_value
from wm.nodes import Node
from wm.ops.optimizers import decaying
from wm.planners.mcts import MASKED, MCTSConfig, greedy, mcts
from wm.types import (
    ArraySpec,
    Batch,
    EnvSpec,
    Feedback,
    Key,
    Metrics,
    Mode,
    Params,
    TimeStep,
    Tree,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of AlphaZero. Defaults: pgx's example."""

    search: MCTSConfig = dataclasses.field(default_factory=MCTSConfig)
    """The search of self-play."""
    eval_simulations: int | None = None
    """Of the search in evaluation, which has no noise; 0: the net's likeliest move
    without a search; unset: as in self-play."""
    net: PolicyValueConfig = dataclasses.field(default_factory=PolicyValueConfig)
    """Sizes of the net."""
    symmetry: SymmetryName = "none"
    """What is the same to the game: none, mirror (left and right), or square (turned
    and mirrored). Positions of a batch are changed at random."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """adam (pgx, LightZero), or sgd with momentum 0.9 (AlphaZero)."""
    learning_rate: float = 1e-3
    """Step size (pgx 1e-3, LightZero 3e-3, AlphaZero 0.2)."""
    decay_updates: tuple[int, ...] = ()
    """Updates after which it is divided by ten (AlphaZero 100k, 300k, 500k)."""
    value_scale: float = 1.0
    """Weight of (z - v)² (AlphaZero 1, pgx 0.5)."""
    weight_decay: float = 0.0
    """Weight of the parameters' squared norm in the loss (AlphaZero 1e-4, pgx 0)."""
    outcome_scale: float | None = None
    """Greatest outcome of a game, in task units: what a value of 1 stands for. Unset: 1
    in games for two; for one player it must be said, since the net's values end at 1.
    `behavior/beyond` shows how many outcomes are still greater."""
    game_moves: int | None = None
    """Moves of the longest game (unset: the environment's limit). Outcomes of longer
    ones are not learned from beyond that many moves before the end."""

    def __post_init__(self):
        given = lambda name, holds, allowed: _require(self, name, holds, allowed)
        simulations, moves = self.eval_simulations, self.game_moves
        given("eval_simulations", simulations is None or simulations >= 0, "at least 0")
        given("game_moves", moves is None or moves >= 1, "at least 1")
        scale = self.outcome_scale
        given("outcome_scale", scale is None or scale > 0, "above 0")
        given("optimizer", self.optimizer in ("adam", "sgd"), "adam or sgd")
        given("learning_rate", self.learning_rate > 0, "above 0")
        for name in ("value_scale", "weight_decay"):
            given(name, getattr(self, name) >= 0, "at least 0")
        rising = all(a < b for a, b in itertools.pairwise((0, *self.decay_updates)))
        given("decay_updates", rising, "above 0 and rising")


def _require(config: Config, name: str, holds: bool, allowed: str) -> None:
    if not holds:
        got = getattr(config, name)
        raise UserError(f"--agent.{name} must be {allowed}, got {got}")


class State(Node):
    """All that persists."""

    params: Params
    """`{"model": {}, "policy": …}`: the rules have none."""
    optimizer: Tree
    updates: jax.Array
    """i32, updates made."""


class Positions(NamedTuple):
    """What is fitted; the weights have a mean of 1 over a batch, or are all 0."""

    seen: jax.Array
    """Observations `[N, …]`."""
    legal: jax.Array
    """bool `[N, A]`."""
    policy: jax.Array
    """Of the search, f32 `[N, A]`."""
    outcome: jax.Array
    """As who moves sees it, f32 `[N]`."""
    moved: jax.Array
    """Weight of the policy, f32 `[N]`."""
    known: jax.Array
    """Weight of the value, f32 `[N]`."""
    finished: jax.Array
    """f32 `[N]`: its mean is the share of moves whose game has ended."""


class AlphaZero:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build net and searches for `spec`.

        Raises:
          UserError: closed rules, actions that are not one index, a game without a
            longest one, or for one player without a greatest outcome.
          ValueError: a net or symmetry that does not fit.
        """
        self.spec, self.config = spec, config = spec, config or Config()
        self.rules = rules_of(spec)
        seen, classes = spec.observation, spec.action.classes
        if classes is None or spec.action.shape or not isinstance(seen, ArraySpec):
            raise UserError(
                f"{spec.name}: AlphaZero needs actions that are one index and "
                "observations of one array, as in pgx/… (`wm list envs`)"
            )
        if config.outcome_scale is None and spec.players == 1:
            raise UserError(
                f"{spec.name} is for one player, with outcomes of any size: set "
                "--agent.outcome_scale to the greatest"
            )
        self.scale = config.outcome_scale or 1.0
        moves = config.game_moves or spec.time_limit
        if moves is None:
            raise UserError(f"{spec.name} has no longest game: set --agent.game_moves")
        self.moves = moves
        self.net = policy_value(config.net, len(seen.shape), classes)
        self.group = symmetry(config.symmetry, spec)
        self.gradient = mean_gradient(self.loss, config.net.widest(seen.shape))
        quiet = greedy(config.search, config.eval_simulations)
        search = lambda settings: act_in(
            self.rules, mcts(self.rules, self.heads, settings)
        )
        self.policies = {"train": search(config.search), "eval": search(quiet)}
        self.optimizer = decaying(
            config.optimizer, config.learning_rate, config.decay_updates
        )

    def init(self, key: Key) -> State:
        """Fresh parameters."""
        seen: Any = self.spec.observation
        example = jax.ShapeDtypeStruct((1, *seen.shape), jnp.dtype(seen.dtype))
        params = self.net.init(key, example)
        return State(
            params={"model": {}, "policy": params},
            optimizer=self.optimizer.init(params),
            updates=jnp.zeros((), jnp.int32),
        )

    def heads(self, params: Params, key: Key, state: RulesState):
        """Logits and value of positions in task units, for the search."""
        logits, value = self.net.apply(params["policy"], state.observation)
        return logits, self.scale * value, None

    def actor(self, state: State) -> Params:
        """The net."""
        return state.params

    def start(self, actor: Params, batch: int) -> Tree:
        """Fresh (position, previous action, moves made)."""
        return self.policies["train"].start(actor, batch)

    def act(
        self, actor: Params, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, jax.Array]]:
        """Search, then play: by chance in `train` and `prefill`, the best in `eval`."""
        policy = self.policies["eval" if mode == "eval" else "train"]
        if mode == "eval" and self.config.eval_simulations == 0:
            return self._unsearched(actor, carry, timestep)
        carry, action, extras = policy.act(actor, key, carry, timestep)
        zero = jnp.zeros_like(extras["value"])
        labels = {"outcome": zero, "finished": jnp.zeros(zero.shape, bool)}
        return carry, action, {"policy": extras["policy"], **labels}

    def _unsearched(self, actor: Params, carry: Tree, timestep: TimeStep):
        """The likeliest move of the net alone."""
        logits, _ = self.net.apply(actor["policy"], timestep.observation)
        logits = masked(logits, timestep.legal)
        action = jnp.argmax(logits, -1).astype(jnp.int32)
        return carry, action, {}

    def buffer(self, schedule: Any) -> Replay:
        """Positions, drawn uniformly.

        Raises:
          UserError: replay on the host, or a game does not fit into a row.
        """
        if schedule.replay_tier == "host":
            raise UserError(
                "--train.replay_tier must be device: states of the rules, which the "
                "search begins in, do not leave it"
            )
        W, slots = self._window(schedule), schedule.replay // schedule.envs
        if slots < W:
            raise UserError(
                f"--train.replay must be at least {W * schedule.envs:,} to hold the "
                f"longest game of each of {schedule.envs:,} environments, got "
                f"{schedule.replay:,}"
            )
        return Replay(schedule.replay, 1, newest_first=False)

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """`batch_size` positions; games that end in a chunk began within `label`."""
        label = (schedule.envs, self._window(schedule))
        return {"replay": (schedule.batch_size, 1), "label": label}

    def _window(self, schedule: Any) -> int:
        return self.moves + schedule.chunk_updates()[0]

    def label(self, state: State, batch: Batch) -> Feedback:
        """How the games ended that are over, for every position of theirs."""
        return outcome_labels(batch, self.config.search.gamma)

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """One step on a batch of positions."""
        rows = self.positions(key, batches["replay"])
        gradient, (metrics, _) = self.gradient(state.params["policy"], rows)
        updates, optimizer = self.optimizer.update(
            gradient, state.optimizer, state.params["policy"]
        )
        params = optax.apply_updates(state.params["policy"], updates)
        metrics["loss/gradient_norm"] = optax.tree.norm(gradient)
        count = state.updates + 1
        return State({"model": {}, "policy": params}, optimizer, count), {}, metrics

    def positions(self, key: Key, batch: Batch) -> Positions:
        """What a batch teaches.

        Every position counts for the policy but those where the game is over; for the
        value only those whose game has ended, draws among them.
        """
        first = lambda tree: jax.tree.map(lambda x: x[:, 0], tree)
        timestep, extras = first(batch.timestep), first(batch.extras)
        target, legal = extras["policy"], timestep.legal
        seen = timestep.observation
        if legal is None:
            legal = jnp.ones(target.shape, bool)
        if self.group is not None:
            seen, target, legal = shuffled(self.group, key, seen, target, legal)
        moved = (~timestep.is_last).astype(jnp.float32)
        known = moved * extras["finished"]
        share = lambda of, among: of / jnp.maximum(jnp.mean(among), 1 / among.size)
        return Positions(
            seen,
            legal,
            target,
            extras["outcome"] / self.scale,
            moved=share(moved, moved),
            known=share(known, known),
            finished=share(known, moved),
        )

    def loss(self, params: Tree, rows: Positions):
        """-π log p + c (z - v)² + c' ‖θ‖², and metrics."""
        config, target = self.config, rows.policy
        logits, value = self.net.apply(params, rows.seen)
        logp = jax.nn.log_softmax(masked(logits, rows.legal))
        entropy = -jnp.sum(jnp.where(target > 0, target * jnp.log(target), 0.0), -1)
        cross = -jnp.sum(jnp.where(rows.legal, target * logp, 0.0), -1)
        error = jnp.mean(rows.known * jnp.square(rows.outcome - value))
        policy, entropy = (jnp.mean(rows.moved * x) for x in (cross, entropy))
        total = policy + config.value_scale * error
        if config.weight_decay:
            squares = sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params))
            total = total + config.weight_decay * squares
        metrics = {
            "loss/total": total,
            "loss/policy": policy,
            "loss/value": error,
            "behavior/policy_divergence": policy - entropy,
            "behavior/search_entropy": entropy,
            "behavior/beyond": jnp.mean(rows.known * (jnp.abs(rows.outcome) > 1)),
            "behavior/finished": jnp.mean(rows.finished),
        }
        return total, (metrics, ())


def masked(logits: jax.Array, legal: jax.Array | None) -> jax.Array:
    """Logits with illegal moves as good as impossible."""
    return logits if legal is None else jnp.where(legal, logits, MASKED)
