"""`wm.envs.versus`: signs, sides and replies."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.envs.versus import versus
from wm.nodes import Node
from wm.types import ArraySpec, EnvSpec, TimeStep

KEY = jax.random.key(0)


class Scripted(NamedTuple):
    """Plays the free cell that comes first in its list."""

    order: tuple = (3, 4, 5, 8, 7, 6, 2, 1, 0)

    def start(self, params, batch):
        return ()

    def act(self, params, key, carry, x):
        order = jnp.array(self.order)
        first = jnp.argmax(x.legal[:, order], 1)
        return carry, order[first], {}


def played(env, moves):
    state, timestep = env.reset(KEY)
    records, step = [timestep], jax.jit(env.step)
    for move in moves:
        state, timestep = step(state, jnp.int32(move))
        records.append(timestep)
    return records


def test_a_game_is_won_before_the_reply_and_lost_by_it():
    pytest.importorskip("pgx")
    env = versus(wm.env("pgx/tic_tac_toe"), Scripted(), {})
    assert env.spec.players == 1
    won = played(env, (0, 1, 2))
    assert [float(x.reward) for x in won] == [0, 0, 0, 1]
    assert [float(x.discount) for x in won] == [1, 1, 1, 0]
    lost = played(env, (0, 1, 7))
    assert [float(x.reward) for x in lost] == [0, 0, 0, -1]
    assert [bool(x.is_last) for x in lost] == [False, False, False, True]
    # What is seen is mine: my stones in the first plane.
    np.testing.assert_array_equal(won[2].observation[0, :, 0], [1, 1, 0])
    np.testing.assert_array_equal(won[2].observation[1, :, 1], [1, 1, 0])
    assert won[1].private.inner.current_player.shape == ()


def test_the_opponent_can_begin():
    pytest.importorskip("pgx")
    env = versus(wm.env("pgx/tic_tac_toe"), Scripted(), {}, first=False)
    record = played(env, (0, 1))
    assert bool(record[0].is_first)
    assert (float(record[0].reward), float(record[0].discount)) == (0, 1)
    np.testing.assert_array_equal(record[0].observation[1, :, 1], [1, 0, 0])
    assert float(record[2].reward) == -1


class Twice(Node):
    """After move 1 the same player goes on; every move pays its number to its mover."""

    @property
    def spec(self):
        action = ArraySpec((), "int32", 3)
        return EnvSpec(ArraySpec((1,)), action, "twice", players=2, legal=True)

    def reset(self, key):
        one = jnp.ones(())
        timestep = TimeStep(
            jnp.zeros(1), 0 * one, one, one > 0, one < 0, jnp.ones(3, bool)
        )
        return jnp.zeros((), jnp.int32), timestep

    def step(self, state, action):
        discount = jnp.where(action == 1, 1.0, -1.0)
        seen = jnp.full(1, state + 1.0)
        false = jnp.zeros((), bool)
        reward = action.astype(jnp.float32)
        legal = jnp.ones(3, bool)
        return state + 1, TimeStep(seen, reward, discount, false, false, legal)


class Counting(NamedTuple):
    """Goes on once, then hands over."""

    def start(self, params, batch):
        return ()

    def act(self, params, key, carry, x):
        return carry, jnp.where(x.observation[:, 0] == 1, 1, 2), {}


def test_who_moves_again_is_followed_and_rewards_are_summed():
    env = versus(Twice(), Counting(), {})
    state, _ = env.reset(KEY)
    # I pay myself 2; the opponent 1, goes on, and 2 more.
    state, timestep = env.step(state, jnp.int32(2))
    assert float(timestep.reward) == 2 - 1 - 2
    assert float(timestep.discount) == 1
    assert int(state.inner) == 3
    # I move again: no reply.
    state, timestep = env.step(state, jnp.int32(1))
    assert (float(timestep.reward), int(state.inner)) == (1, 4)


def test_openings_are_drawn_and_both_sides_have_moved():
    pytest.importorskip("pgx")
    game = wm.env("pgx/tic_tac_toe")
    with pytest.raises(
        ValueError, match=r"^opening must be even and at least 0, got 3"
    ):
        versus(game, Scripted(), {}, opening=3)
    for first, stones in ((True, [1, 1]), (False, [1, 2])):
        env = versus(game, Scripted(), {}, first, opening=2)
        keys = jax.random.split(KEY, 64)
        _, timestep = jax.jit(jax.vmap(env.reset))(keys)
        seen = np.asarray(timestep.observation).reshape(64, 9, 2)
        np.testing.assert_array_equal(seen.sum(1), np.tile(stones, (64, 1)))
        assert len({row.tobytes() for row in seen}) > 20
        assert timestep.is_first.all()
        np.testing.assert_array_equal(timestep.discount, 1)


class Remembering(NamedTuple):
    """Plays 2 plus ten times the calls since its first, as far as it remembers."""

    def start(self, params, batch):
        return jnp.full(batch, -100)

    def act(self, params, key, carry, x):
        carry = jnp.where(x.is_first, 0, carry + 1)
        return carry, 2 + 10 * carry, {}


@pytest.mark.parametrize("first", [True, False])
def test_the_opponent_remembers_its_own_moves(first):
    env = versus(Twice(), Remembering(), {}, first)
    state, _ = env.reset(KEY)
    paid, step = [], jax.jit(env.step)
    for _ in range(3):
        state, timestep = step(state, jnp.int32(0))
        paid.append(float(timestep.reward))
    # Its first reply came before the player's first move where it began.
    assert paid == ([-2, -12, -22] if first else [-12, -22, -32])


def test_games_for_one_are_refused():
    with pytest.raises(ValueError, match=r"^players must be 2 .* got 1 \(probe/catch"):
        versus(wm.env("probe/catch"), Scripted(), {})
