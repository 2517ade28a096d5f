"""`wm.planners.playing`: what is played of what a search found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.planners.mcts import MCTSConfig, by_visits
from wm.planners.playing import Playing, unguided
from wm.types import ArraySpec, EnvSpec

KEY = jax.random.key(0)
ROWS = 2_000


class Rules:
    """Knows what is legal: the state."""

    spec = EnvSpec(ArraySpec((1,)), ArraySpec((), "int32", 3), legal=True)

    def legal(self, params, state):
        return state


class Still:
    """A search that is sure of action 0 and visited 1 and 2 as well."""

    model = Rules()
    config = MCTSConfig(method="puct", temperature=2.0, temperature_moves=5)

    def act(self, params, key, carry, x):
        visits = jnp.broadcast_to(jnp.array([0.64, 0.36, 0.0]), (ROWS, 3))
        extras = {"policy": visits, "visits": visits}
        return carry + 1, jnp.zeros(ROWS, jnp.int32), extras


def played(playing, moves=0, params=None):
    legal = jnp.broadcast_to(jnp.array([True, True, False]), (ROWS, 3))
    carry = jnp.full(ROWS, moves, jnp.int32)
    _, action, _ = playing.act(params or {}, KEY, carry, legal)
    return np.bincount(action, minlength=3) / ROWS


def test_random_actions_are_legal_ones():
    np.testing.assert_array_equal(played(Playing(Still())), [1, 0, 0])
    share = played(Playing(Still(), random_actions=0.5))
    assert share[2] == 0
    assert abs(share[1] - 0.25) < 0.05


def test_temperature_is_a_factor_until_the_game_is_late():
    """Visits 16 : 9; at temperature 2 · 0.5 they are the odds, at 2 their roots."""
    playing = Playing(Still(), scheduled=True)
    for factor, odds in ((0.5, 16 / 9), (1.0, 4 / 3)):
        share = played(playing, 0, {"temperature": jnp.float32(factor)})
        assert abs(share[0] - odds / (1 + odds)) < 0.04
    late = played(playing, 5, {"temperature": jnp.float32(1.0)})
    np.testing.assert_array_equal(late, [1, 0, 0])
    visits = jnp.array([[0.2, 0.5, 0.3]])
    assert by_visits(KEY, visits, jnp.float32(0.0)) == 1


def test_without_a_guide_nothing_is_known():
    logits, value, actions = unguided({}, KEY, {"x": jnp.ones((2, 4))})
    assert logits is None
    assert actions is None
    np.testing.assert_array_equal(value, [0, 0])


class Drawn(Still):
    """The same over three drawn numbers, of which the second is played."""

    class model:
        spec = EnvSpec(ArraySpec((1,)), ArraySpec((1,)))

    def played(self, index, actions):
        return actions[jnp.arange(ROWS), index]

    def act(self, params, key, carry, x):
        carry, index, extras = super().act(params, key, carry, x)
        actions = jnp.broadcast_to(jnp.array([[0.1], [0.2], [0.3]]), (ROWS, 3, 1))
        action = self.played(index + 1, actions)
        return carry, action, extras | {"actions": actions}


def test_drawn_actions_are_played_by_visits_or_any_number_is():
    carry = jnp.zeros(ROWS, jnp.int32)
    warm = {"temperature": jnp.float32(0.5)}
    playing = Playing(Drawn(), scheduled=True)
    action = playing.act(warm, KEY, carry, carry)[1]
    assert action.shape == (ROWS, 1)
    assert float((action == 0.1).mean()) == pytest.approx(0.64, abs=0.04)
    playing = Playing(Drawn(), random_actions=0.5)
    action = playing.act({}, KEY, carry, carry)[1]
    assert float((action == 0.2).mean()) == pytest.approx(0.5, abs=0.04)
    assert float(action.min()) < -0.9
