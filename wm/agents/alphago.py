"""AlphaGo: a policy learned from games and improved by self-play, a value, a search.

Silver et al., Nature 2016; no code was published. A run has stages, counted in rounds,
a round being what happens between two calls of `fit` (`--train.fit_steps`):

1. the prefill: a teacher plays, and two policies are fitted to its moves, a net and a
   linear one (`fit_policies`);
2. `reinforce_rounds`: the policy plays against earlier selves and learns by policy
   gradient from who won (`update`); every round adds a self to the pool;
3. `value_rounds`: games in which the first policy plays up to a random move, that move
   is any legal one, and the second policy plays on. The value net is fitted to the
   outcome of one position per game, the one after the random move (`fit_value`): all
   positions of a game would be learned by heart.

In evaluation a search plays: prior from the first policy, leaves worth a mixture of the
value net and a playout of the linear policy. Deviations:

- The teacher is a search with random playouts in place of people; how good it is bounds
  what the first policy learns.
- Nets see the environment's planes, and the linear policy all of them in place of small
  patterns. The value has the policy's net in place of a deeper one.
- Adam in place of SGD. No baseline in the policy gradient, as in their first pass. The
  opponent is drawn per update, and so may change within a game.
- Every leaf is expanded (theirs: after 40 visits), one search per move in place of
  asynchronous ones with virtual losses; the tree is built anew for every move.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from wm.agents import alphago_fits as fits
from wm.agents import alphago_play as play
from wm.agents.alphago_config import REINFORCE, TEACH, VALUE, Config
from wm.agents.alphago_play import Carry
from wm.behaviors.outcome import outcome_labels
from wm.behaviors.symmetry import symmetry
from wm.data.replay import Replay
from wm.data.rollout import Rollout
from wm.data.twofold import Twofold
from wm.errors import UserError
from wm.imagine import act_in
from wm.models.rules import rules_of
from wm.nets.policy_value import PolicyValueConfig, policy_value
from wm.nodes import Node
from wm.ops.passes import Passes
from wm.planners.mcts import mcts
from wm.planners.rollouts import mixed, random_rollouts
from wm.types import (
    ArraySpec,
    Batch,
    Dataset,
    EnvSpec,
    Feedback,
    Key,
    Metrics,
    Mode,
    Params,
    TimeStep,
    Tree,
)

FITS = ("loss/imitation", "loss/value", "behavior/accuracy")
"""Names of what fits report."""
GAMES = ("loss/reinforce", "behavior/outcome", "behavior/moves")
"""Names of what updates report."""


class State(Node):
    """All that persists."""

    nets: Tree
    """`supervised`, `playout`, `reinforced`, `value`, and `opponent` of the round."""
    optimizers: Tree
    """Of `fit_policies`, `update` and `fit_value`."""
    pool: Tree
    """Earlier selves, `[pool, …]`, a ring."""
    rounds: jax.Array
    """i32: calls of `fit` so far."""
    learned: jax.Array
    """i32: number of the newest step that `update` has seen."""
    metrics: Metrics
    """What each kind of learning said last; 0 before."""

    @property
    def params(self) -> Params:
        """`{"model": {}, "policy": nets}`: the rules have none."""
        return {"model": {}, "policy": self.nets}


class AlphaGo:
    """The agent; see the module."""

    Config = Config

    def __init__(self, spec: EnvSpec, config: Config | None = None):
        """Build nets and searches for `spec`.

        Raises:
          UserError: closed rules, not a game for two with one index as action, or one
            without a longest game.
          ValueError: a net or symmetry that does not fit.
        """
        self.spec, self.config = spec, config or Config()
        config, self.rules = self.config, rules_of(spec)
        seen, classes = spec.observation, spec.action.classes
        if classes is None or spec.action.shape or not isinstance(seen, ArraySpec):
            raise UserError(
                f"{spec.name}: AlphaGo needs actions that are one index and "
                "observations of one array, as in pgx/… (`wm list envs`)"
            )
        if spec.players != 2:
            raise UserError(
                f"AlphaGo is for games for two, {spec.name} is for {spec.players}"
            )
        self.moves = config.game_moves or spec.time_limit
        if self.moves is None:
            raise UserError(f"{spec.name} has no longest game: set --agent.game_moves")
        rank, linear = len(seen.shape), PolicyValueConfig("mlp", 0, norm="none")
        self.net = policy_value(config.net, rank, classes)
        self.linear = policy_value(linear, rank, classes)
        self.group = symmetry(config.symmetry, spec)
        playouts = random_rollouts(self.rules, self.moves)
        search = lambda heads, settings: act_in(
            self.rules, mcts(self.rules, heads, settings)
        )
        self.teacher = search(playouts, config.teacher)
        if config.playout == "learned":
            fast = lambda params, state: self._fast(params["policy"], state.observation)
            playouts = random_rollouts(self.rules, self.moves, policy=fast)
        heads = mixed(self.heads, playouts, config.mixing)
        self.search = search(heads, config.search)
        self.optimizers = {
            "fit_policies": optax.adam(config.supervised_rate),
            "update": optax.adam(config.reinforce_rate),
            "fit_value": optax.adam(config.value_rate),
        }

    def init(self, key: Key) -> State:
        """Untrained nets, before the first round."""
        seen: Any = self.spec.observation
        example = jax.ShapeDtypeStruct((1, *seen.shape), jnp.dtype(seen.dtype))
        key_policy, key_value, key_linear = jax.random.split(key, 3)
        policy = self.net.init(key_policy, example)
        nets = {
            "supervised": policy,
            "reinforced": policy,
            "opponent": policy,
            "playout": self.linear.init(key_linear, example),
            "value": self.net.init(key_value, example),
        }
        begin = self.optimizers
        slots = lambda x: jnp.zeros((self.config.pool, *x.shape), x.dtype)
        zero = jnp.zeros((), jnp.int32)
        return State(
            nets=nets,
            optimizers={
                "fit_policies": begin["fit_policies"].init(_first(nets)),
                "update": begin["update"].init(policy),
                "fit_value": begin["fit_value"].init(nets["value"]),
            },
            pool=jax.tree.map(slots, policy),
            rounds=zero,
            learned=zero - 1,
            metrics={name: jnp.zeros(()) for name in (*FITS, *GAMES)},
        )

    def stage(self, rounds: jax.Array) -> jax.Array:
        """i32: who plays after so many calls of `fit`."""
        return jnp.where(rounds <= self.config.reinforce_rounds, REINFORCE, VALUE)

    def heads(self, params: Params, key: Key, state: Tree):
        """Prior and value of positions, for the search."""
        nets, config = params["policy"], self.config
        logits, _ = self.net.apply(nets[config.prior], state.observation)
        _, value = self.net.apply(nets["value"], state.observation)
        return logits / config.prior_temperature, value, None

    def _fast(self, nets: Tree, observation: jax.Array) -> jax.Array:
        return self.linear.apply(nets["playout"], observation)[0]

    def actor(self, state: State) -> Params:
        """The nets, and who plays."""
        return {**state.params, "stage": self.stage(state.rounds)}

    def start(self, actor: Params, batch: int) -> Carry:
        """Before a game."""
        zero = jnp.zeros(batch, jnp.int32)
        return Carry(self.search.start(actor, batch), zero, zero > 0, zero)

    def act(
        self, actor: Params, key: Key, carry: Carry, timestep: TimeStep, mode: Mode
    ) -> tuple[Carry, jax.Array, dict[str, jax.Array]]:
        """The teacher in `prefill`, the search or a policy in `eval`, else the stage's
        policies. Every step also stores what `fit` and `update` need of it."""
        key_act, key_game = jax.random.split(key)
        carry = play.begun(key_game, carry, timestep, self.moves or 1)
        if mode == "eval" and self.config.plays != "search":
            nets, seen = actor["policy"], timestep.observation
            logits = self.net.apply(nets[self.config.plays], seen)[0]
            return carry, _best(logits, timestep.legal), {}
        if mode != "train":
            policy = self.teacher if mode == "prefill" else self.search
            memory, action, said = policy.act(actor, key_act, carry.search, timestep)
            best = jnp.argmax(said["visits"], -1).astype(jnp.int32)
            carry = carry.replace(search=memory)
            return carry, action, play.stored(carry, TEACH, best)
        logits = play.logits(self.net, actor, carry, timestep)
        noise = jax.random.gumbel(key_act, logits.shape)
        action = _best(logits + noise, timestep.legal)
        return carry, action, play.stored(carry, actor["stage"], action)

    def buffer(self, schedule: Any) -> Twofold:
        """Everything for fits, and the window in which the newest games lie.

        Raises:
          UserError: no rounds, replay on the host, or too little room.
        """
        if schedule.fit_steps is None:
            raise UserError("--train.fit_steps must say how long a round is")
        chunk = schedule.chunk_updates()[0] * schedule.envs
        whole = lambda steps: -(-steps // chunk) * chunk
        rounds = self.config.reinforce_rounds + self.config.value_rounds
        least = whole(schedule.prefill) + rounds * whole(schedule.fit_steps)
        if schedule.total <= least:
            raise UserError(
                f"--steps must be above {least:,}, when the value net is fitted, got "
                f"{schedule.total:,}"
            )
        if schedule.replay_tier == "host":
            raise UserError(
                "--train.replay_tier must be device: states of the rules, which the "
                "search begins in, do not leave it"
            )
        games = self.config.value_rounds * whole(schedule.fit_steps)
        need = max(schedule.prefill, games, self._window(schedule) * schedule.envs)
        if schedule.replay < need or not schedule.prefill:
            raise UserError(
                "--train.prefill must be above 0 and --train.replay at least "
                f"{need:,}, for the teacher's games and those of the value net, got "
                f"{schedule.prefill:,} and {schedule.replay:,}"
            )
        window = Rollout(self._window(schedule))
        return Twofold(Replay(schedule.replay, 1, newest_first=False), window)

    def _window(self, schedule: Any) -> int:
        return (self.moves or 0) + schedule.chunk_updates()[0]

    def batches(self, schedule: Any) -> dict[str, tuple[int, int]]:
        """The window: games that ended in a chunk began within it.

        Raises:
          UserError: several updates per chunk, of the same games.
        """
        updates = schedule.chunk_updates()[1]
        if updates > 1:
            raise UserError(
                "--train.updates must be at most 1, since a game is learned from once, "
                f"got {updates}"
            )
        window = (schedule.envs, self._window(schedule) + 1)
        return {"newest": window, "label": window}

    def label(self, state: State, batch: Batch) -> Feedback:
        """How the games ended that are over, for every position of theirs."""
        return outcome_labels(batch)

    def fit(self, state: State, key: Key, dataset: Dataset) -> tuple[State, Metrics]:
        """Begin a round: fit what is due, or keep a self."""
        first, last = 1, self.config.reinforce_rounds + self.config.value_rounds
        # Policies before the first round, the value behind the last one, once.
        due = jnp.where(state.rounds >= first, 1, 0) + (state.rounds == last)
        kinds = (self.fit_policies, lambda state, key, dataset: state, self.fit_value)
        state = jax.lax.switch(due, kinds, state, key, dataset)
        slot = state.rounds % self.config.pool
        kept = lambda pool, x: pool.at[slot].set(x)
        pool = jax.tree.map(kept, state.pool, state.nets["reinforced"])
        learning = state.rounds <= self.config.reinforce_rounds
        pool = jax.tree.map(lambda a, b: jnp.where(learning, a, b), pool, state.pool)
        state = state.replace(pool=pool, rounds=state.rounds + 1)
        shown = {name: state.metrics[name] for name in FITS}
        return state, {**shown, "behavior/stage": self.stage(state.rounds)}

    def fit_policies(self, state: State, key: Key, dataset: Dataset) -> State:
        """Fit the net and the linear policy to the teacher's moves; the second policy
        begins as the first."""
        mask = dataset.mask & (dataset.steps.extras["stage"] == TEACH)
        nets = {"supervised": self.net, "playout": self.linear}
        loss = functools.partial(fits.imitation_loss, nets)
        given = _first(state.nets)
        done = self._fitted("fit_policies", loss, state, given, key, dataset, mask)
        learned = done.params["supervised"]
        A = self.spec.action.classes or 1
        said = {
            "loss/imitation": done.loss,
            "behavior/accuracy": fits.agreement(self.net, learned, dataset, mask, A),
        }
        nets = {**state.nets, **done.params}
        nets |= {"reinforced": learned, "opponent": learned}
        return self._after("fit_policies", state, nets, done, said)

    def fit_value(self, state: State, key: Key, dataset: Dataset) -> State:
        """Fit the value net to the outcome of one position per game."""
        extras = dataset.steps.extras
        mask = extras["finished"] & extras["chosen"] & (extras["stage"] == VALUE)
        loss = functools.partial(fits.value_loss, self.net)
        net, mask = state.nets["value"], dataset.mask & mask
        done = self._fitted("fit_value", loss, state, net, key, dataset, mask)
        nets = {**state.nets, "value": done.params}
        return self._after("fit_value", state, nets, done, {"loss/value": done.loss})

    def _fitted(self, name, loss, state: State, params, key, dataset, mask) -> Passes:
        config = self.config
        return fits.fitted(
            loss,
            self.optimizers[name],
            params,
            state.optimizers[name],
            key,
            dataset,
            mask,
            config.batch_size,
            config.epochs,
            self.group,
            self.spec.action.classes or 1,
        )

    def _after(self, name: str, state: State, nets: Tree, done: Passes, said: Metrics):
        return state.replace(
            nets=nets,
            optimizers={**state.optimizers, name: done.optimizer},
            metrics=state.metrics | said,
        )

    def update(
        self, state: State, key: Key, batches: dict[str, Batch]
    ) -> tuple[State, dict[str, Feedback], Metrics]:
        """A step of policy gradient on the games that ended since the last one, and
        another opponent."""
        batch = batches["newest"]

        def learn(state: State) -> State:
            net = state.nets["reinforced"]
            slope = jax.grad(functools.partial(fits.reinforce, self.net), has_aux=True)
            gradient, said = slope(net, batch, state.learned)
            rule, begun = self.optimizers["update"], state.optimizers["update"]
            change, optimizer = rule.update(gradient, begun, net)
            # The ring holds the policies before each round, that of now not among them.
            count = jnp.minimum(state.rounds, self.config.pool)
            chosen = jax.random.randint(key, (), 0, jnp.maximum(count, 1))
            nets = {
                **state.nets,
                "reinforced": optax.apply_updates(net, change),
                "opponent": jax.tree.map(lambda x: x[chosen], state.pool),
            }
            return state.replace(
                nets=nets,
                optimizers={**state.optimizers, "update": optimizer},
                metrics=state.metrics | said,
            )

        due = self.stage(state.rounds) == REINFORCE
        state = jax.lax.cond(due, learn, lambda state: state, state)
        state = state.replace(learned=batch.index.time[0, -1])
        return state, {}, {name: state.metrics[name] for name in GAMES}


def _first(nets: Tree) -> Tree:
    """What the teacher's moves are fitted by."""
    return {name: nets[name] for name in ("supervised", "playout")}


def _best(logits: jax.Array, legal: jax.Array | None) -> jax.Array:
    return jnp.argmax(fits.masked(logits, legal), -1).astype(jnp.int32)
