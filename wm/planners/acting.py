"""Acting by tree search: played by chance while collecting, at its best in evaluation.

What is played and what is kept of a search; nothing here learns.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wm.errors import require
from wm.imagine import act_in
from wm.planners.mcts import MASKED, Heads, MCTSConfig, greedy, mcts
from wm.planners.playing import Playing, unguided
from wm.planners.sequences import legal_now
from wm.types import Key, Mode, Params, TimeStep, Tree


@dataclasses.dataclass(frozen=True)
class ActingConfig:
    """How a search is played. Defaults: ours, for small tasks."""

    search: MCTSConfig = dataclasses.field(
        default_factory=lambda: MCTSConfig(16, "puct", 0.997)
    )
    """The search of acting; its gamma is also that of the returns. puct (MuZero),
    gumbel (Gumbel MuZero) or stochastic (Stochastic MuZero, needs codes)."""
    eval_simulations: int | None = None
    """Of the search in evaluation, which has no noise; 0: the likeliest action of the
    policy head without a search; unset: as in training."""
    eval_guided: bool = True
    """Off: evaluation searches with all actions alike and values of 0, so that it shows
    what dynamics and rewards alone are good for."""
    temperatures: tuple[float, ...] = ()
    """puct: factors on `search.temperature`, in training, one after another (Atari 1,
    0.5, 0.25). Unset: 1 throughout."""
    temperature_updates: tuple[int, ...] = ()
    """Updates after which the next one holds, one fewer than there are of them (Atari
    500k, 750k of 1M)."""
    random_actions: float = 0.0
    """Share of actions drawn uniformly while collecting (0); 1 shows the model random
    play."""

    def __post_init__(self):
        simulations, parts = self.eval_simulations, len(self.temperatures)
        given = lambda name, holds, allowed: require(self, name, holds, allowed)
        given("eval_simulations", simulations is None or simulations >= 0, "at least 0")
        given("random_actions", 0 <= self.random_actions <= 1, "in [0, 1]")
        later = self.temperature_updates
        rising = all(a < b for a, b in itertools.pairwise((0, *later)))
        given("temperature_updates", rising, "above 0 and rising")
        given("temperatures", all(x > 0 for x in self.temperatures), "above 0")
        matched = len(later) == max(parts - 1, 0)
        given("temperature_updates", matched, "one fewer than temperatures")
        visits = not self.temperatures or self.search.method != "gumbel"
        given("temperatures", visits, "unset where search.method is gumbel")


class Guides(NamedTuple):
    """What a search knows of states."""

    tree: Heads
    """Within the tree, and at the root in evaluation."""
    root: Heads | None = None
    """At the root while collecting, if other."""
    unguided: Heads = unguided
    """Knows nothing, for `eval_guided` off."""
    alone: Callable[[Params, Key, Tree], jax.Array] | None = None
    """The choice without a search; unset: the likeliest action."""


class Acting:
    """The part of an agent that acts by searching in its model."""

    def __init__(self, model: Any, config: ActingConfig, guides: Guides | None = None):
        """Build the searches.

        Args:
          model: a `WorldModel`.
          config: settings.
          guides: of the searches; unset: the model's `heads`.
        """
        self.config = config
        guides = guides or Guides(model.heads)
        self.search = mcts(model, guides.tree, config.search, guides.root)
        playing = Playing(self.search, bool(config.temperatures), config.random_actions)
        heads = guides.tree if config.eval_guided else guides.unguided
        played: Any = mcts(model, heads, greedy(config.search, config.eval_simulations))
        if config.eval_simulations == 0:
            played = Unsearched(guides.alone or likeliest(model, guides.tree))
        self.policies = {
            "train": act_in(model, playing),
            "eval": act_in(model, played),
        }

    def actor(self, params: Params, updates: jax.Array) -> Params:
        """The net, and how warm its play is after so many updates."""
        config = self.config
        if config.temperatures:
            after = jnp.array(config.temperature_updates, jnp.int32)
            now = jnp.array(config.temperatures)[jnp.sum(updates >= after)]
            return {**params, "temperature": now}
        return params

    def start(self, actor: Params, batch: int) -> Tree:
        """Fresh (model state, previous action, moves made)."""
        return self.policies["train"].start(actor, batch)

    def act(
        self, actor: Params, key: Key, carry: Tree, timestep: TimeStep, mode: Mode
    ) -> tuple[Tree, jax.Array, dict[str, jax.Array]]:
        """Search, then play: by chance in `train` and `prefill`, the best in `eval`."""
        policy = self.policies["eval" if mode == "eval" else "train"]
        carry, action, extras = policy.act(actor, key, carry, timestep)
        if mode == "eval":
            return carry, action, {}
        kept = ("policy", "value", "actions")
        return carry, action, {name: extras[name] for name in kept if name in extras}


class Unsearched(NamedTuple):
    """A policy over model states without a search."""

    choose: Callable[[Params, Key, Tree], jax.Array]
    """`(params, key, M) -> action [B, …]`."""

    def start(self, params: Params, batch: int) -> jax.Array:
        """Moves made so far, i32 `[B]`."""
        return jnp.zeros(batch, jnp.int32)

    def act(
        self, params: Params, key: Key, carry: jax.Array, x: Tree
    ) -> tuple[jax.Array, jax.Array, dict[str, Tree]]:
        """What is chosen."""
        return carry + 1, self.choose(params, key, x), {}


def likeliest(model: Any, heads: Heads) -> Callable:
    """A choice of the legal action with the greatest logit."""

    def choose(params: Params, key: Key, x: Tree) -> jax.Array:
        logits, _, _ = heads(params, key, x)
        legal = legal_now(model, params, x)
        if legal is not None:
            logits = jnp.where(legal, logits, MASKED)
        return jnp.argmax(logits, -1).astype(model.spec.action.dtype)

    return choose
