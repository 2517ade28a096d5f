"""Matches of a trained agent: against a search (`wm eval --opponent`), or a person."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from wm.errors import UserError

OPPONENTS = ("mcts", "random")


class Match(NamedTuple):
    """Games of one side."""

    won: int
    drawn: int
    lost: int

    @property
    def games(self) -> int:
        """All of them."""
        return sum(self)

    @property
    def score(self) -> float:
        """Share of the points: a draw is half of one."""
        return (self.won + self.drawn / 2) / max(self.games, 1)


def match(folder: Path, opponent: str, simulations: int, games: int) -> list[Match]:
    """Play `games` games, half of them with the first move, and print the score.

    Args:
      folder: of the run.
      opponent: `mcts`, which searches the rules with random playouts and knows
        nothing else, or `random`.
      simulations: of `mcts`, per move.
      games: per seed; rounded up to an even number.

    Returns:
      Per seed and side the result, beginning first.

    Raises:
      UserError: a game that is not for two, an unknown opponent.
    """
    import jax
    import numpy as np

    from wm.envs.versus import versus
    from wm.train.evaluate import evaluator
    from wm.train.run import load

    run = load(folder)
    game = two_players(run.env)
    policy = opponent_of(game, opponent, simulations)
    half = -(-games // 2)
    players = {
        "first": evaluator(run.agent, versus(game, policy, {}, True), half),
        "second": evaluator(run.agent, versus(game, policy, {}, False), half),
    }
    results = []
    for seed in run.seeds:
        state = run.state(seed)
        for side, (name, play) in enumerate(players.items()):
            key = jax.random.fold_in(jax.random.key(seed), side)
            returns = np.asarray(play(state, key).returns)
            # A game may pay margins; one that is cut is drawn.
            one = Match(*(int((np.sign(returns) == x).sum()) for x in (1, 0, -1)))
            results.append(one)
            print(f"seed {seed}, {name} to move: {one.won} won, {one.drawn} drawn, "
                  f"{one.lost} lost")  # fmt: skip
    points = np.array([one.score for one in results])
    total = sum(one.games for one in results)
    error = math.sqrt(max(points.mean() * (1 - points.mean()), 0.0) / total)
    named = f"{opponent}, {simulations} simulations" if opponent == "mcts" else opponent
    print(f"score against {named}: {points.mean():.3f} ± {error:.3f} ({total} games)")
    return results


def two_players(env: Any) -> Any:
    """The game of a run.

    Raises:
      UserError: not for two.
    """
    if env.spec.players != 2:
        raise UserError(
            f"{env.spec.name} is for {env.spec.players}: opponents need a game for "
            "two, as pgx/connect_four"
        )
    return env


def opponent_of(env: Any, name: str, simulations: int) -> Any:
    """A policy over time steps.

    Raises:
      UserError: unknown name, or no simulations.
    """
    from wm.imagine import act_in
    from wm.models.rules import rules_of
    from wm.planners.mcts import MCTSConfig, greedy, mcts
    from wm.planners.rollouts import random_rollouts

    if name not in OPPONENTS:
        raise UserError(f"--opponent must be one of {', '.join(OPPONENTS)}, got {name}")
    if simulations < 1:
        raise UserError(f"--simulations must be at least 1, got {simulations}")
    rules = rules_of(env.spec)
    config = greedy(MCTSConfig(simulations, "puct", statistics="bounds"))
    if name == "random":
        # Nothing is believed and everything drawn: each legal move is as likely.
        config = MCTSConfig(1, gumbel_scale=1.0, considered=env.spec.action.classes)
        nothing = lambda params, key, state: (None, state.alive * 0.0, None)
        return act_in(rules, mcts(rules, nothing, config))
    length = env.spec.time_limit or 1_000
    return act_in(rules, mcts(rules, random_rollouts(rules, length), config))


def person(folder: Path, lines: Iterable[str], first: bool, seed: int | None) -> str:
    """A game in the terminal; moves are read from `lines` as numbers.

    Args:
      folder: of the run.
      lines: what is typed, or a script; the game is left where they end.
      first: whether the person begins.
      seed: of the run's learners; the first if None.

    Returns:
      `won`, `drawn` or `lost` from the person's eyes, or `left`.

    Raises:
      UserError: a game that is not for two or shows no stones.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from wm.train.run import load

    run = load(folder)
    env = two_players(run.env)
    agent, actor = run.agent, run.agent.actor(run.state(seed))
    step, words = jax.jit(env.step), iter(lines)
    state, timestep = env.reset(jax.random.key(0))

    @jax.jit
    def reply(carry, timestep, key):
        rows = jax.tree.map(lambda x: jnp.asarray(x)[None], timestep)
        carry, action, _ = agent.act(actor, key, carry, rows, "eval")
        return carry, action[0]

    # The agent remembers its own moves, as in a match (`envs.versus`).
    carry, awake = agent.start(actor, 1), False
    mine, count = first, 0
    while not bool(timestep.is_last):
        print(board(np.asarray(timestep.observation), mine))
        if mine:
            move = asked(words, np.flatnonzero(np.asarray(timestep.legal)))
            if move is None:
                return "left"
        else:
            seen = timestep._replace(
                discount=jnp.abs(timestep.discount), is_first=jnp.asarray(not awake)
            )
            carry, move = reply(carry, seen, jax.random.key(count))
            move, awake = int(move), True
            print(f"wm plays {move}")
        state, timestep = step(state, np.int32(move))
        reward = float(timestep.reward) * (1 if mine else -1)
        mine, count = mine ^ bool(timestep.discount < 0), count + 1
    # After the end the other one would be to move, and sees the board so.
    print(board(np.asarray(timestep.observation), not mine))
    result = {1: "won", 0: "drawn", -1: "lost"}[int(np.sign(reward))]
    print(f"you have {result}" if result != "drawn" else "a draw")
    return result


def asked(words: Any, legal: Any) -> int | None:
    """The next legal move that is typed; None where nothing more is."""
    allowed = {str(move) for move in legal}
    print(f"your move ({', '.join(sorted(allowed, key=int))}):", flush=True)
    for word in words:
        if word.strip() in allowed:
            return int(word)
        if word.strip():
            print(f"{word.strip()} is no legal move", flush=True)
    return None


def board(observation: Any, mine: bool) -> str:
    """Stones as text: X is the person, O the agent.

    Args:
      observation: `[H, W, C]`, plane 0 of who is to move, plane 1 of the other.
      mine: whether that is the person.

    Raises:
      UserError: other observations.
    """
    if observation.ndim != 3 or observation.dtype != bool or observation.shape[-1] < 2:
        raise UserError(
            "wm play shows boards of stones: pgx/tic_tac_toe, connect_four, othello "
            "or go_9x9"
        )
    here, there = observation[..., 0], observation[..., 1]
    signs = ("X", "O") if mine else ("O", "X")
    cell = lambda a, b: signs[0] if a else signs[1] if b else "."
    rows = [" ".join(map(cell, a, b)) for a, b in zip(here, there, strict=True)]
    return "\n".join(["", *rows])
