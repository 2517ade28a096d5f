"""The tabular systems in the mazes of Sutton & Barto, 20 seeds in one program.

`make test-learning` runs them. Thresholds are of the specification; figures were
measured with 30 seeds on 21 November 2026 unless a line says otherwise.
"""

import numpy as np
import pytest

import wm
from tests.learning import mazes

pytestmark = pytest.mark.slow
SEEDS = 20


@pytest.mark.parametrize(
    ("planning", "steps", "third"), [(5, 3_000, 80), (50, 2_500, 25)]
)
def test_dyna_q_learns_the_maze_in_three_episodes(planning, steps, third):
    """Steps of episodes 2, 3, 5 and the mean of 41 to 50: without planning 648, 370,
    297, 17.5 (so no plan fails both); 5 planned steps 159, 58, 23, 16.8; 50 planned
    steps 41, 16, 17, 17.2. The shortest path takes 14. Drawing from all pairs in place
    of those known gave 66 in episode 3 with 5 planned steps: no test of anything."""
    course = mazes.run(
        "dyna_q", "grid/dyna_maze", steps, SEEDS, planning_steps=planning
    )
    lengths = np.nanmean(mazes.episode_lengths(course, 50), 0)
    assert lengths[2] <= third
    assert lengths[40:].mean() <= 18.5


def test_without_planning_the_third_episode_is_long():
    """370 steps."""
    course = mazes.run("q_learning", "grid/dyna_maze", 5_000, SEEDS)
    assert np.nanmean(mazes.episode_lengths(course, 3)[:, 2]) >= 250


@pytest.mark.parametrize(
    ("task", "steps", "planning", "least"),
    [("grid/blocking", 3_000, 10, 120), ("grid/shortcut", 6_000, 50, 340)],
)
def test_dyna_q_plus_finds_the_way_when_walls_move(task, steps, planning, least):
    """Reward by step 3000 of `blocking` and by step 6000 of `shortcut`: kappa 1e-3
    gives 140 and 366; kappa 0, all else equal, 105 and 290; Dyna-Q 69 and 291."""
    common = {"planning_steps": planning, "rate": 1.0, "all_actions": True}
    records = steps + steps // 8  # those that begin an episode are no steps
    course = mazes.run("dyna_q", task, records, SEEDS, bonus=1e-3, **common)
    assert mazes.reward_by(course, steps) >= least
    course = mazes.run("dyna_q", task, records, SEEDS, bonus=0.0, **common)
    assert mazes.reward_by(course, steps) < least


def test_prioritized_sweeping_needs_few_backups():
    """Backups until the greedy path is at most 1.2 times the shortest, 5 seeds: 980,
    790, 1050, 895, 1110. Backing up known entries at random in place of the most urgent
    ones: 6010, 3705, 5835, 13605, 5310."""
    moves = mazes.moves_of(wm.env("grid/dyna_maze"))
    options = {"seeds": 5, "keep_q": True}
    task = "grid/dyna_maze"
    course = mazes.run("prioritized_sweeping", task, 3_000, **options)
    assert mazes.backups_to_solve(course, moves, 14).mean() <= 1_500
    course = mazes.run("prioritized_sweeping", task, 3_000, **options, urgent=False)
    assert mazes.backups_to_solve(course, moves, 14).mean() > 3_000


def test_counts_plan_better_than_the_newest_where_moves_slip():
    """Reward by step 4000 where three moves of ten slip, 20 seeds: counted 123, newest
    30 (with rate 0.1: 75), Q-learning 27; without slips 187 and 187."""
    options = {"seeds": SEEDS, "env_slip": 0.3}
    task, steps = "grid/dyna_maze", 4_000
    counted = mazes.run("prioritized_sweeping", task, steps, **options, model="counted")
    newest = mazes.run("prioritized_sweeping", task, steps, **options)
    assert mazes.reward_by(counted, steps) >= 100
    assert mazes.reward_by(newest, steps) < 50
