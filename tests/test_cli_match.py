"""`wm eval --opponent` and `wm play`: a tiny run of AlphaZero."""

import io
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm import cli, cli_match
from wm.cli_match import Match, board
from wm.errors import UserError
from wm.train.schedule import Schedule

TINY = {"net.form": "mlp", "net.layers": 1, "net.units": 4, "search.simulations": 2}
SCHEDULE = Schedule(
    total=20, envs=2, batch_size=2, chunk=3, updates=1, prefill=6, replay=48,
    log_steps=20, eval_episodes=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("pgx")
    env = wm.env("pgx/tic_tac_toe", rules=True)
    agent = wm.agent("alphazero", env.spec, **TINY)
    out = tmp_path_factory.mktemp("runs") / "tiny"
    about = {"system": "alphazero", "env_options": {"rules": True}}
    wm.train(agent, env, SCHEDULE, out=out, about=about, quiet=True)
    return out


@pytest.mark.slow  # compiles both sides of a match
def test_both_sides_play_and_a_draw_is_half(run, capsys):
    words = ["eval", str(run), "--opponent", "random", "--episodes", "20"]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("seed 0, first to move: ")
    assert lines[-2].startswith("seed 0, second to move: ")
    counts = [[int(x.split()[-2]) for x in line.split(":")[1].split(",")]
              for line in lines[-3:-1]]  # fmt: skip
    assert [sum(side) for side in counts] == [10, 10]
    won, drawn, _ = np.sum(counts, 0)
    assert f"score against random: {(won + drawn / 2) / 20:.3f}" in lines[-1]
    assert "(20 games)" in lines[-1]
    assert not any("mcts" in line for line in lines)


class Cell(NamedTuple):
    """Agent and policy: plays a free cell, the first or the last."""

    last: bool = False

    def actor(self, state):
        return {}

    def start(self, actor, batch):
        return jnp.zeros(batch, jnp.int32)

    def act(self, actor, key, carry, timestep, mode="eval"):
        cells = jnp.arange(9) * (1 if self.last else -1)
        action = jnp.argmax(jnp.where(timestep.legal, cells, -99), -1)
        return carry + 1, action.astype(jnp.int32), {}


class Third(Cell):
    """Plays the first free cell, but its third move is the last one."""

    def act(self, actor, key, carry, timestep, mode="eval"):
        carry = jnp.where(timestep.is_first, 0, carry)
        low, high = (Cell(x).act(actor, key, carry, timestep)[1] for x in (0, 1))
        return carry + 1, jnp.where(carry == 2, high, low), {}


class Rigged(NamedTuple):
    """What `load` gives, without a run."""

    agent: object
    env: object
    seeds: tuple = (0,)

    def state(self, seed=None, step=None):
        return {}

    def saved(self):
        return [5, 10]


def rigged(monkeypatch, agent):
    pytest.importorskip("pgx")
    env = wm.env("pgx/tic_tac_toe", rules=True)
    monkeypatch.setattr("wm.train.run.load", lambda folder: Rigged(agent, env))


def test_who_won_is_told_by_side(monkeypatch, capsys):
    """First free cells against last free ones: whoever begins wins, 0 1 2 or 8 7 6."""
    rigged(monkeypatch, Cell())
    opponent = lambda env, name, simulations: Cell(last=True)
    monkeypatch.setattr(cli_match, "opponent_of", opponent)
    first, second = cli_match.match(Path("run"), "random", 1, 6)
    assert (first, second) == (Match(3, 0, 0), Match(0, 0, 3))
    text = capsys.readouterr().out
    assert "seed 0, first to move: 3 won, 0 drawn, 0 lost" in text
    assert "seed 0, second to move: 0 won, 0 drawn, 3 lost" in text
    assert "score against random: 0.500" in text


def test_an_agent_with_a_memory_keeps_it_in_play(monkeypatch, capsys):
    """Its third move is another one: it would win by 0 1 2 without a memory."""
    rigged(monkeypatch, Third())
    script = [str(move) for move in (3, 4, 5)]
    assert cli_match.person(Path("run"), script, False, None) == "won"
    assert "wm plays 8" in capsys.readouterr().out
    rigged(monkeypatch, Cell())
    assert cli_match.person(Path("run"), script, False, None) == "lost"


def test_opponents_play_as_their_names_say(run):
    """Random draws all legal moves alike; a search of 60 finds both winning moves."""
    env = wm.env("pgx/tic_tac_toe", rules=True)
    batched = wm.batch(env)
    state, timestep = batched.reset(jax.random.key(0), 512)
    step = jax.jit(batched.step)
    for move in (0, 3, 1, 4):
        state, timestep = step(state, jnp.full(512, move))
    free = [2, 5, 6, 7, 8]

    def played(policy):
        carry = policy.start({}, 512)
        act = jax.jit(policy.act)
        return np.asarray(act({}, jax.random.key(1), carry, timestep)[1])

    counts = np.bincount(played(cli_match.opponent_of(env, "random", 1)), minlength=9)
    assert counts.sum() == counts[free].sum() == 512
    # Five standard deviations of a fair draw.
    assert np.abs(counts[free] - 512 / 5).max() < 5 * np.sqrt(512 * 0.16)
    assert (played(cli_match.opponent_of(env, "mcts", 60)) == 2).all()


def test_points_of_a_match():
    assert Match(2, 1, 1).score == 0.625
    assert Match(2, 1, 1).games == 4


def test_a_person_plays_from_a_script(run, capsys, monkeypatch):
    """Wrong words are refused; the first free cell is always taken."""
    script = "x\n9\n" + "\n".join(str(i) for i in range(9)) * 3
    monkeypatch.setattr("sys.stdin", io.StringIO(script.replace("80", "8\n0")))
    assert cli.main(["play", str(run)]) == 0
    text = capsys.readouterr().out
    assert "x is no legal move" in text
    assert "9 is no legal move" in text
    assert "wm plays " in text
    assert any(end in text for end in ("you have won", "you have lost", "a draw"))


def test_a_game_is_left_where_the_script_ends(run, capsys):
    assert cli_match.person(run, ["4"], True, None) == "left"
    assert "X" in capsys.readouterr().out


def test_stones_are_shown_by_who_they_belong_to():
    seen = np.zeros((2, 2, 2), bool)
    seen[0, 0, 0] = seen[1, 1, 1] = True
    assert board(seen, True) == "\nX .\n. O"
    assert board(seen, False) == "\nO .\n. X"
    with pytest.raises(UserError, match="wm play shows boards of stones"):
        board(np.zeros((5, 5, 115), np.float32), True)


def test_options_of_an_opponent_need_one(tmp_path, capsys):
    for words, message in (
        (
            ["--simulations", "5"],
            "--simulations is of the opponent: add --opponent mcts",
        ),
        (["--opponent", "random", "--simulations", "5"], "--simulations is of the"),
        (["--opponent", "mcts", "--video"], "--video is of self-play: leave out"),
    ):
        assert cli.main(["eval", str(tmp_path), *words]) == 2
        assert message in capsys.readouterr().err


def test_opponents_are_for_games_for_two_and_have_names(run):
    env = wm.env("pgx/tic_tac_toe", rules=True)
    with pytest.raises(
        UserError, match="--opponent must be one of mcts, random, got x"
    ):
        cli_match.opponent_of(env, "x", 3)
    with pytest.raises(UserError, match="--simulations must be at least 1, got 0"):
        cli_match.opponent_of(env, "mcts", 0)
    with pytest.raises(UserError, match="probe/catch is for 1: opponents need a game"):
        cli_match.two_players(wm.env("probe/catch"))
