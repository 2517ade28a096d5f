"""Elo of a trained agent: `wm eval --opponent` with several opponents."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

from wm.cli_match import Match, opponent_of, two_players
from wm.errors import UserError

ANCHORS = ("random", "mcts:1", "mcts:10", "mcts:100", "mcts:1000")
"""What `anchors` stands for: searches with random playouts, each ten times another."""
PAST = "past"
OPENING = 2
"""Random moves before a game of two checkpoints, which would always be the same."""
PRIOR = 1.0
"""Draws that every two who met are thought to have played besides, so that who won all
games gets a rating."""


class Player(NamedTuple):
    """Somebody who is rated."""

    name: str
    policy: Any
    """Over time steps, with the parameters below."""
    params: Any
    learned: bool


class Seat(NamedTuple):
    """A policy over time steps in the place of an agent."""

    policy: Any

    def actor(self, state: Any) -> Any:
        """The policy's parameters."""
        return state

    def start(self, actor: Any, batch: int) -> Any:
        """The policy's own."""
        return self.policy.start(actor, batch)

    def act(self, actor: Any, key: Any, carry: Any, timestep: Any, mode: str) -> Any:
        """The policy's own."""
        return self.policy.act(actor, key, carry, timestep)


class Quiet(NamedTuple):
    """An agent in `eval`, as a policy over time steps."""

    agent: Any

    def start(self, params: Any, batch: int) -> Any:
        """The agent's own."""
        return self.agent.start(params, batch)

    def act(self, params: Any, key: Any, carry: Any, x: Any) -> Any:
        """The agent's own."""
        return self.agent.act(params, key, carry, x, "eval")


def named(words: str, simulations: int) -> list[str]:
    """Opponents of a comma-separated list, written out.

    Args:
      words: `random`, `mcts` or `mcts:N` (of N simulations), `anchors`, `past`.
      simulations: of `mcts` without a number.

    Raises:
      UserError: other names.
    """
    found: list[str] = []
    for word in filter(None, (word.strip() for word in words.split(","))):
        word = f"mcts:{simulations}" if word == "mcts" else word
        number = word.removeprefix("mcts:")
        if word not in ("random", "anchors", PAST) and not (
            word.startswith("mcts:") and number.isdecimal() and int(number) > 0
        ):
            raise UserError(
                "--opponent takes mcts, mcts:N, random, past (earlier checkpoints) and "
                f"anchors, separated by commas, got {word}"
            )
        found += ANCHORS if word == "anchors" else (word,)
    return list(dict.fromkeys(found))


def ladder(folder: Path, names: list[str], games: int) -> list[dict[str, Any]]:
    """Play everybody who is to be compared, and print ratings.

    Learners (the newest checkpoint of every seed, and with `past` earlier ones) meet
    all anchors; anchors meet their neighbours in the list, checkpoints the newest one.

    Args:
      folder: of the run.
      names: from `named`.
      games: of every two who meet, half of them with either to begin; rounded up to
        an even number.

    Returns:
      A row per player, as in `report/elo.json`: name, elo, error, games, points.

    Raises:
      UserError: a game that is not for two, or no opponent.
    """
    import numpy as np

    from wm.report.elo import ratings
    from wm.train.run import load

    run = load(folder)
    env = two_players(run.env)
    anchors = [anchor(env, name) for name in names if name != PAST]
    rest = learners(run, PAST in names)
    players = anchors + rest
    if len(players) < 2:
        raise UserError("--opponent past: there is one checkpoint only; add anchors")
    arena = Arena(env, -(-games // 2))
    points = np.zeros((len(players), len(players)))
    for i, j in pairs(players):
        result = arena.play(players[i], players[j])
        points[i, j] += result.won + result.drawn / 2
        points[j, i] += result.lost + result.drawn / 2
        print(f"{players[i].name} against {players[j].name}: {result.won} won, "
              f"{result.drawn} drawn, {result.lost} lost", flush=True)  # fmt: skip
    zero = next((i for i, p in enumerate(players) if p.name == "random"), 0)
    found = ratings(points, {zero: 0.0}, PRIOR)
    rows = [
        {"name": player.name, "elo": float(found.elo[i])}
        | {"error": float(found.error[i]), "points": float(points[i].sum())}
        | {"games": int((points[i] + points[:, i]).sum())}
        for i, player in enumerate(players)
    ]
    rows.sort(key=lambda row: -row["elo"])
    print(table(rows, players[zero].name))
    out = folder / "report" / "elo.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"zero": players[zero].name, "players": rows}, indent=1))
    return rows


def anchor(env: Any, name: str) -> Player:
    """`random` or `mcts:N`."""
    kind, _, number = name.partition(":")
    return Player(name, opponent_of(env, kind, int(number or 1)), {}, False)


def learners(run: Any, past: bool) -> list[Player]:
    """The newest checkpoint of every seed; before it earlier ones, oldest first."""
    players = []
    for seed in run.seeds:
        label = f"seed {seed}" if len(run.seeds) > 1 else "agent"
        for step in run.saved()[:-1] if past else ():
            actor = run.agent.actor(run.state(seed, step))
            players.append(
                Player(f"{label} at {step:,}", Quiet(run.agent), actor, True)
            )
        actor = run.agent.actor(run.state(seed))
        players.append(Player(label, Quiet(run.agent), actor, True))
    return players


def pairs(players: list[Player]) -> list[tuple[int, int]]:
    """Who meets, later ones first; see `ladder`."""
    count = sum(not player.learned for player in players)
    found = [(i + 1, i) for i in range(count - 1)]
    for i in range(count, len(players)):
        found += [(i, j) for j in range(count)]
    newest = [i for i, p in enumerate(players) if p.learned and " at " not in p.name]
    for begin, end in zip([count - 1, *newest], newest, strict=False):
        found += [(end, j) for j in range(begin + 1, end)]
    if not count:
        found += [(j, i) for i, j in itertools.pairwise(newest)]
    return found


class Arena:
    """Plays matches; one program serves all checkpoints."""

    def __init__(self, env: Any, half: int):
        """Of `half` games on either side."""
        self.env, self.half = env, half
        self.programs: dict[Any, Any] = {}

    def play(self, player: Player, other: Player) -> Match:
        """The result of both sides together, as `player` sees it."""
        import jax
        import numpy as np

        from wm.envs.versus import versus
        from wm.train.evaluate import evaluator

        opening = OPENING if player.learned and other.learned else 0
        returns = []
        for first in (True, False):
            game = versus(self.env, other.policy, other.params, first, opening)
            key = (player.policy, other.policy, first, opening)
            if key not in self.programs:
                seat = Seat(player.policy)
                self.programs[key] = evaluator(seat, game, self.half)
            scores = self.programs[key](player.params, jax.random.key(first), game)
            returns.append(np.sign(scores.returns))
        return Match(*(int((np.stack(returns) == x).sum()) for x in (1, 0, -1)))


def table(rows: list[dict[str, Any]], zero: str) -> str:
    """Ratings, best first."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'':<{width}}    Elo     ±  games  score"]
    lines += [
        f"{row['name']:<{width}} {row['elo']:6.0f} {row['error']:5.0f} "
        f"{row['games']:6} {row['points'] / row['games']:6.3f}"
        for row in rows
    ]
    return "\n".join([*lines, f"{zero} is at 0; ± is a standard error"])
