"""The mazes: walls, shortest paths, the clock of walls that move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm import envs
from wm.envs import batch, grid


def distance(name, scale=1, late=False):
    """Length of the shortest path by breadth-first search over the layout."""
    layout = grid.LAYOUTS[name]
    rows, columns = grid.ROWS * scale, grid.COLUMNS * scale
    small = layout.later if late else layout.walls
    blocked = {(r, c) for r in range(rows) for c in range(columns)}
    blocked = {x for x in blocked if (x[0] // scale, x[1] // scale) in small}
    place = tuple(x * scale for x in layout.start)
    reached, count = {place}, 0
    while not any((r // scale, c // scale) == layout.goal for r, c in reached):
        around = {(r + dr, c + dc) for r, c in reached for dr, dc in grid.MOVES}
        inside = {x for x in around if 0 <= x[0] < rows and 0 <= x[1] < columns}
        reached, count = reached | (inside - blocked), count + 1
    return count


@pytest.mark.parametrize(
    ("name", "late", "length"),
    [
        ("dyna_maze", False, 14),
        ("blocking", False, 10),
        ("blocking", True, 16),
        ("shortcut", False, 16),
        ("shortcut", True, 10),
    ],
)
def test_shortest_paths_are_those_of_the_book(name, late, length):
    assert distance(name, late=late) == length


def play(env, moves):
    """Cells after each of the moves (udlr), and the records."""
    state, timestep = env.reset(jax.random.key(0))
    step, found = jax.jit(env.step), [timestep]
    for move in moves:
        state, timestep = step(state, jnp.int32("udlr".index(move)))
        found.append(timestep)
    return state, found


def test_walls_and_edges_stop_a_move():
    _, found = play(envs.make("grid/dyna_maze"), "lrr")
    cells = [int(x.observation) for x in found]
    assert cells == [18, 18, 19, 19]  # column 0 is the edge, column 2 a wall


def test_the_goal_earns_one_and_ends_the_episode():
    path = "dd" + "rrrr" + "u" + "rrrr" + "uuu"
    _, found = play(envs.make("grid/dyna_maze"), path)
    *before, end = found
    assert all(x.reward == 0 and x.discount == 1 for x in before)
    assert int(end.observation) == 8
    assert (end.reward, end.discount, end.is_last) == (1.0, 0.0, True)


def test_the_walls_move_after_a_thousand_steps_over_all_episodes():
    env = batch(envs.make("grid/blocking", time_limit=100))

    def body(state, action):
        state, timestep = env.step(state, action)
        return state, (state.env.clock[0], timestep.is_first[0], timestep.observation)

    state, _ = env.reset(jax.random.key(0), 1)
    up = jnp.zeros((1_200, 1), jnp.int32)
    _, (clock, first, seen) = jax.lax.scan(body, state, up)
    assert int(clock[-1]) == 1_200 - int(first.sum())
    assert int(first.sum()) == 1_200 // 101
    # Straight up from the start is row 4 under the wall, before and after.
    assert set(np.asarray(seen)[np.asarray(clock) > 5, 0].tolist()) <= {39, 48}
    short = "rrrrr" + "u" * 5
    state, _ = env.env.reset(jax.random.key(0))
    for clock, opened in ((0, True), (1_000, False)):
        now = state.replace(clock=jnp.int32(clock))
        for move in short:
            now, timestep = env.env.step(now, jnp.int32("udlr".index(move)))
        assert bool(timestep.is_last) == opened


def test_a_scaled_maze_has_the_same_shape():
    env = envs.make("grid/dyna_maze", scale=2)
    assert env.spec.observation.classes == 4 * 54
    assert int(env._walls[0].sum()) == 4 * 7
    assert int(env._goal.sum()) == 4
    assert 24 <= distance("dyna_maze", 2) <= 28


@pytest.mark.parametrize("options", [{"scale": 0}, {"time_limit": 0}])
def test_impossible_values_are_refused(options):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        envs.make("grid/shortcut", **options)


def test_moves_slip_as_often_as_told():
    env = grid.make("dyna_maze", slip=0.4)
    state, _ = env.reset(jax.random.key(0))
    states = jax.vmap(lambda k: state.replace(key=k))(
        jax.random.split(jax.random.key(1), 4_000)
    )
    _, moved = jax.vmap(env.step, (0, None))(states, jnp.int32(3))
    right = np.mean(np.asarray(moved.observation) == int(state.cell) + 1)
    # The wall to the right of the start column is two cells away.
    assert abs(right - (0.6 + 0.4 / 4)) < 0.03
