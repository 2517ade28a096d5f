"""`wm eval --opponent` with several opponents: who meets, and ratings by hand."""

import json
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.test_cli_match import Cell, Rigged
from wm import cli, cli_ladder
from wm.cli_ladder import Player, ladder, named, pairs
from wm.errors import UserError


class Fault(NamedTuple):
    """Always plays the first cell, and so loses by a fault at the latest."""

    def start(self, params, batch):
        return ()

    def act(self, params, key, carry, x, mode="eval"):
        return carry, jnp.zeros(x.reward.shape, jnp.int32), {}


@pytest.fixture
def fixed(monkeypatch, tmp_path):
    """An agent that takes first cells, beside one that takes last ones and `Fault`."""
    pytest.importorskip("pgx")
    env = wm.env("pgx/tic_tac_toe", rules=True)
    monkeypatch.setattr("wm.train.run.load", lambda folder: Rigged(Cell(), env))
    kind = lambda env, name, simulations: {"random": Fault(), "mcts": Cell(True)}[name]
    monkeypatch.setattr(cli_ladder, "opponent_of", kind)
    return tmp_path


def test_ratings_are_those_of_the_games_played(fixed, capsys):
    """Both beat `Fault` 4 times of 4 (and a draw of the prior): 400 lg 9. Against each
    other they win as they begin."""
    rows = ladder(fixed, ["random", "mcts:7"], 4)
    assert [row["name"] for row in rows] == ["mcts:7", "agent", "random"]
    expected = 400 * np.log10(4.5 / 0.5)
    np.testing.assert_allclose([row["elo"] for row in rows], [expected] * 2 + [0])
    assert [row["points"] for row in rows] == [6, 6, 0]
    assert [row["games"] for row in rows] == [8, 8, 8]
    assert rows[0]["error"] == pytest.approx(rows[1]["error"])
    text = capsys.readouterr().out
    assert "agent against mcts:7: 2 won, 0 drawn, 2 lost" in text
    assert "random is at 0; ± is a standard error" in text
    stored = json.loads((fixed / "report" / "elo.json").read_text())
    assert stored == {"zero": "random", "players": rows}


def test_checkpoints_meet_after_moves_at_random(fixed, capsys):
    """Two that play the same would else play the same game again and again."""
    rows = ladder(fixed, ["past"], 40)
    assert [row["name"] for row in rows] == ["agent at 5", "agent"] or rows[0]["elo"]
    said = capsys.readouterr().out.splitlines()[0]
    won, drawn, lost = (int(x.split()[-2]) for x in said.split(":")[1].split(","))
    assert said.startswith("agent against agent at 5: ")
    assert won + drawn + lost == 40
    assert (won, lost) != (20, 20)


def test_who_meets_whom():
    player = lambda name, learned: Player(name, None, {}, learned)
    anchors = [player("random", False), player("mcts:1", False)]
    one = [player("seed 0 at 5", True), player("seed 0", True)]
    two = [player("seed 1 at 5", True), player("seed 1", True)]
    to_anchors = [(i, j) for i in range(2, 6) for j in range(2)]
    found = pairs([*anchors, *one, *two])
    assert found == [(1, 0), *to_anchors, (3, 2), (5, 4)]
    # Without anchors the seeds meet, or nothing could be compared.
    assert pairs([*one, *two]) == [(1, 0), (3, 2), (3, 1)]


def test_names_of_opponents():
    assert named("random, mcts,mcts:5", 7) == ["random", "mcts:7", "mcts:5"]
    assert named("anchors,past", 7) == [*cli_ladder.ANCHORS, "past"]
    assert named("mcts:10,anchors", 7).count("mcts:10") == 1
    for wrong in ("stockfish", "mcts:", "mcts:0", "mcts:-1", "random:3"):
        with pytest.raises(UserError, match=r"^--opponent takes mcts, mcts:N, random"):
            named(f"random,{wrong}", 7)


def test_options_of_several_opponents(tmp_path, capsys):
    words = ["eval", str(tmp_path), "--opponent", "random,past", "--simulations", "5"]
    assert cli.main(words) == 2
    assert "--simulations is of the opponent" in capsys.readouterr().err
