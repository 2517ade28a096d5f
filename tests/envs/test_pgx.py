"""`wm.envs.pgx`: signs, masks and ends of games played by hand."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.errors import UserError

pytest.importorskip("pgx")
KEY = jax.random.key(0)


def played(name, moves):
    """The records of one game from its start, stacked."""
    env = wm.env(name)
    state, timestep = env.reset(KEY)
    step, records = jax.jit(env.step), [timestep]
    for move in moves:
        state, timestep = step(state, jnp.int32(move))
        records.append(timestep)
    return jax.tree.map(lambda *x: np.stack(x), *records)


def test_the_winner_gets_the_reward_and_signs_alternate():
    record = played("pgx/tic_tac_toe", (0, 3, 1, 4, 2, 8))
    np.testing.assert_array_equal(record.discount, [1, -1, -1, -1, -1, 0, 0])
    np.testing.assert_array_equal(record.reward, [0, 0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(record.is_last, [0, 0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(record.is_first, [1, 0, 0, 0, 0, 0, 0])
    # Nothing happens after the end.
    np.testing.assert_array_equal(record.observation[-1], record.observation[-2])


def test_a_draw_ends_with_nothing_and_a_fault_loses():
    record = played("pgx/tic_tac_toe", (0, 4, 8, 1, 7, 6, 2, 5, 3))
    assert record.is_last[-1]
    assert (record.reward[-1], record.discount[-1]) == (0, 0)
    record = played("pgx/tic_tac_toe", (4, 4))
    assert record.is_last[-1]
    assert (record.reward[-1], record.discount[-1]) == (-1, 0)


def test_positions_are_seen_by_who_moves_and_legal_moves_are_free_cells():
    record = played("pgx/tic_tac_toe", (0, 4, 8))
    seen = record.observation.reshape(4, 9, 2)
    assert seen.dtype == bool
    np.testing.assert_array_equal(np.flatnonzero(seen[1, :, 1]), [0])
    np.testing.assert_array_equal(np.flatnonzero(seen[2, :, 0]), [0])
    np.testing.assert_array_equal(np.flatnonzero(seen[2, :, 1]), [4])
    np.testing.assert_array_equal(np.flatnonzero(~record.legal[3]), [0, 4, 8])
    finished = played("pgx/tic_tac_toe", (0, 3, 1, 4, 2))
    assert finished.legal[-1].all()


def test_who_begins_in_pgx_shows_nowhere():
    env = wm.env("pgx/connect_four")
    keys = jax.random.split(KEY, 8)
    state, timestep = jax.vmap(env.reset)(keys)
    assert len(set(np.asarray(state.inner.current_player))) == 2
    for move in (3, 3, 2, 2, 1, 1, 0):
        state, timestep = jax.jit(jax.vmap(env.step))(state, jnp.full(8, move))
        assert len({row.tobytes() for row in np.asarray(timestep.observation)}) == 1
    np.testing.assert_array_equal(timestep.reward, 1)
    np.testing.assert_array_equal(timestep.discount, 0)


@pytest.mark.slow
def test_2048_is_one_player_and_its_chance_is_in_the_key():
    record = played("pgx/2048", (0, 1, 0, 1))
    assert set(record.discount) <= {0.0, 1.0}
    env = wm.env("pgx/2048")
    assert env.spec.players == 1
    state, _ = env.reset(KEY)
    after = [env.step(state.replace(key=jax.random.key(i)), 0)[1] for i in range(8)]
    assert len({np.asarray(x.observation).tobytes() for x in after}) > 1
    assert wm.env("pgx/tic_tac_toe").reset(KEY)[0].key is None


slow = pytest.mark.slow  # 40 s of compiling between them


@pytest.mark.parametrize(("name", "reached"), [
    ("tic_tac_toe", True), ("connect_four", True),
    pytest.param("othello", False, marks=slow),
    pytest.param("go_9x9", True, marks=slow),
    pytest.param("gardner_chess", False, marks=slow),
])  # fmt: skip
def test_no_game_is_longer_than_the_spec_says(name, reached):
    """Random legal play of 256 games. The bound is met, in Go as long as nobody passes;
    in Othello it counts passes, which are rare, and in chess it is pgx's own."""
    env = wm.env(f"pgx/{name}")
    batched, limit = wm.batch(env, "off"), env.spec.time_limit
    actions = env.spec.action.classes
    keep = jnp.arange(actions) != actions - 1 if name == "go_9x9" else True

    def body(loop, key):
        state, timestep, count = loop
        chance = jax.random.uniform(key, (256, actions)) * jnp.where(keep, 1, 1e-6)
        chance = jnp.where(timestep.legal, chance, -1)
        state, after = batched.step(state, jnp.argmax(chance, -1))
        return (state, after, count + ~timestep.is_last), after.is_last.all()

    start = (*batched.reset(KEY, 256), jnp.zeros(256, jnp.int32))
    keys = jax.random.split(KEY, limit + 3)
    loop, over = jax.jit(lambda s, k: jax.lax.scan(body, s, k))(start, keys)
    if name == "gardner_chess":
        assert (
            limit == importlib.import_module("pgx.gardner_chess").MAX_TERMINATION_STEPS
        )
    assert over[limit - 1 :].all()
    assert loop[2].max() == limit if reached else loop[2].max() < limit


def test_an_unknown_game_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean pgx/connect_four"):
        wm.env("pgx/connect4")
