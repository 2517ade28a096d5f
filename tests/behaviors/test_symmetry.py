"""`wm.behaviors.symmetry`: the rules do not notice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.behaviors.symmetry import mapped, shuffled, symmetry

KEY = jax.random.key(0)


def test_all_eight_by_hand():
    spec = wm.env("pgx/tic_tac_toe").spec
    group = symmetry("square", spec)
    assert group.points.shape == group.actions.shape == (8, 9)
    boards = {tuple(row) for row in group.points}
    assert len(boards) == 8
    assert (0, 1, 2, 3, 4, 5, 6, 7, 8) in boards
    assert (2, 1, 0, 5, 4, 3, 8, 7, 6) in boards  # left and right
    assert (0, 3, 6, 1, 4, 7, 2, 5, 8) in boards  # along the diagonal
    assert (2, 5, 8, 1, 4, 7, 0, 3, 6) in boards  # a quarter turn
    np.testing.assert_array_equal(group.points[:, 4], 4)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pgx/tic_tac_toe", "square"),
        ("pgx/connect_four", "mirror"),
        pytest.param("pgx/othello", "square", marks=pytest.mark.slow),
        pytest.param("pgx/go_9x9", "square", marks=pytest.mark.slow),
    ],
)
def test_the_rules_do_not_notice(name, kind):
    """Game g plays every move under map g: all show the same, mapped."""
    env = wm.env(name)
    group = symmetry(kind, env.spec)
    G = len(group.points)
    moved = jnp.argsort(jnp.asarray(group.actions), 1)  # where a move goes
    batched = wm.batch(env, "off")
    state, timestep = batched.reset(KEY, G)
    # Othello's first four discs are turned into one another by half the maps only.
    same = [g for g in range(G) if _alike(group, timestep.observation, g)]
    step, length = jax.jit(batched.step), min(env.spec.time_limit, 24)
    for time in range(length):
        chance = jax.random.uniform(jax.random.key(time), timestep.legal[0].shape)
        move = jnp.argmax(jnp.where(timestep.legal[0], chance, -1))
        state, timestep = step(state, moved[:, move])
        first = jax.tree.map(lambda x: jnp.repeat(x[:1], G, 0), timestep)
        seen, legal = mapped(group, jnp.arange(G), first.observation, first.legal)
        for g in same:
            np.testing.assert_array_equal(timestep.observation[g], seen[g])
            np.testing.assert_array_equal(timestep.legal[g], legal[g])
            assert timestep.reward[g] == timestep.reward[0]
    assert len(same) == (4 if name == "pgx/othello" else G)


def _alike(group, observation, g):
    seen = mapped(group, jnp.array([g]), observation[:1])[0]
    return bool((seen == observation[:1]).all())


def test_moves_go_with_their_points_and_passes_stay():
    spec = wm.env("pgx/othello").spec
    group = symmetry("square", spec)
    np.testing.assert_array_equal(group.actions[:, 64], 64)
    observation = jax.random.normal(KEY, (32, 8, 8, 2))
    policy = jnp.concatenate(
        [observation[..., 0].reshape(32, 64), jnp.ones((32, 1))], 1
    )
    seen, moves = shuffled(group, KEY, observation, policy)
    np.testing.assert_array_equal(seen[..., 0].reshape(32, 64), moves[:, :64])
    np.testing.assert_array_equal(moves[:, 64], 1)
    assert (seen != observation).any()


def test_columns_are_mirrored():
    group = symmetry("mirror", wm.env("pgx/connect_four").spec)
    np.testing.assert_array_equal(group.actions, [range(7), range(6, -1, -1)])


def test_maps_that_do_not_fit_are_errors():
    spec = wm.env("pgx/connect_four").spec
    assert symmetry("none", spec) is None
    with pytest.raises(ValueError, match=r"^symmetry must be none for pgx/conn"):
        symmetry("square", spec)
    with pytest.raises(ValueError, match=r"^symmetry must be none for gymnax/CartPole"):
        symmetry("mirror", wm.env("gymnax/CartPole-v1").spec)
    with pytest.raises(ValueError, match=r"^symmetry must be none for pgx/gardner"):
        symmetry("square", wm.env("pgx/gardner_chess").spec)  # from and to, not points
    with pytest.raises(ValueError, match=r"^symmetry must be none for pgx/2048"):
        symmetry("mirror", wm.env("pgx/2048").spec)  # directions, not columns
