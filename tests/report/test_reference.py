"""Published numbers: known cells, aliases, aggregates that the papers print."""

import numpy as np
import pytest

from wm.errors import UserError
from wm.report import reference, statistics, tasks

GAMES = reference.tasks("atari100k")


def test_every_benchmark_has_rows_with_sources():
    for name in reference.benchmarks():
        rows = reference.lookup(name)
        assert rows
        assert all(row.source and np.isfinite(row.value) for row in rows)


def test_rows_are_unique_within_a_benchmark():
    for name in reference.benchmarks():
        rows = reference._table(name)
        keys = {(r.task, r.method, r.metric, r.env_steps) for r in rows}
        assert len(keys) == len(rows)


def test_pong_references():
    assert reference.lookup("atari100k", "Pong", "random")[0].value == -20.7
    assert reference.lookup("atari100k", "Pong", "human")[0].value == 14.6
    assert reference.human_normalized("Pong", 14.6) == pytest.approx(1.0)
    assert reference.human_normalized("Pong", [-20.7]) == pytest.approx([0.0])


def test_alias_gives_the_agents_latest_published_numbers():
    assert reference.method_name("dreamer_v3") == "DreamerV3 (2024)"
    assert reference.method_name("td-mpc2") == "TD-MPC2"
    assert reference.lookup("crafter", "reward", "dreamer_v3")[0].value == 11.7


def test_alias_known_elsewhere_gives_no_rows():
    assert reference.lookup("procgen_hard", method="planet") == []
    assert reference.curve("dmc_vision", "walker_walk", "muzero") is None


def test_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match="DreamerPro"):
        reference.lookup("atari100k", "Pong", "DreamrPro")


def test_printed_cells_only_where_nothing_was_recomputed():
    rows = reference.lookup("dmc_proprio", "walker_walk", "dreamer_v3")
    assert [row.metric for row in rows] == ["episode_score"]
    printed = reference.lookup(
        "dmc_proprio", "walker_walk", "dreamer_v3", "episode_score_paper"
    )
    assert len(printed) == 1


@pytest.mark.parametrize(
    ("method", "mean", "median"),
    [("dreamer_v3", 1.25, 0.49), ("iris", 1.046, 0.289), ("DIAMOND", 1.459, 0.373)],
)
def test_atari_aggregates_agree_with_the_papers(method, mean, median):
    scores = [
        reference.human_normalized(
            game, reference.lookup("atari100k", game, method)[0].value
        )
        for game in GAMES
    ]
    assert np.mean(scores) == pytest.approx(mean, abs=0.006)
    assert np.median(scores) == pytest.approx(median, abs=0.006)


def test_diamond_interquartile_mean_over_runs_is_the_printed_one():
    runs = reference.seed_scores("diamond")
    scores = [reference.human_normalized(game, runs[game]) for game in GAMES]
    assert statistics.iqm(scores) == pytest.approx(0.641, abs=0.0006)


def test_dreamer_curves_cover_both_overlaid_benchmarks():
    for game in GAMES:
        assert reference.curve("atari100k", game, "dreamer_v3").env_steps[-1] == 400_000
    for task in reference.tasks("dmc_proprio"):
        if reference.lookup("dmc_proprio", task, "dreamer_v3"):
            curve = reference.curve("dmc_proprio", task, "dreamer_v3")
            assert curve.values.shape == curve.env_steps.shape == curve.spreads.shape


def test_environment_names_find_their_published_task():
    find = lambda *args: tasks.published(*args)[:3]
    assert find("atari/Pong", True, 400_000) == ("atari100k", "Pong", "episode_score")
    assert find("atari/UpNDown", True, int(2e8))[:2] == ("atari_200m", "up_n_down")
    assert find("dmc/walker_walk", False)[:2] == ("dmc_proprio", "walker_walk")
    assert find("dmc/walker_walk", True)[:2] == ("dmc_vision", "walker_walk")
    assert find("playground/BallInCup", False)[1] == "ball_in_cup_catch"
    assert find("gymnax/SpaceInvaders-MinAtar", True)[1] == "space_invaders"
    classic = tasks.published("craftax/classic-pixels", True)
    assert classic.scale * 22 == pytest.approx(100)
    assert tasks.published("crafter/reward", True).benchmark == "crafter"
    assert tasks.published("pixels/catch", True) is None
    assert tasks.published("dmc/no_such", True) is None
    assert tasks.published("custom", False) is None


def test_every_atari_game_has_a_published_task():
    for game in GAMES:
        assert tasks.published(f"atari/{game}", True, 400_000)
        assert tasks.published(f"atari/{game}", True, int(2e8)), game
