"""The tabular model: what it remembers, what it draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.errors import UserError
from wm.models import counted, table
from wm.types import ArraySpec, EnvSpec


def after(*transitions, **options):
    """A table of 4 states and 3 actions after (s, a, r, d, s') each."""
    known = table.empty(4, 3)
    for state, action, reward, discount, following in transitions:
        numbers = jnp.int32(state), jnp.int32(action), reward, discount
        known = table.record(known, *numbers, jnp.int32(following), **options)
    return known


def test_the_newest_transition_replaces_the_one_before():
    known = after((1, 0, 0.0, 1.0, 2), (1, 0, 5.0, 0.0, 3))
    assert known.following[1, 0] == 3
    assert known.reward[1, 0] == 5.0
    assert known.discount[1, 0] == 0.0
    assert (known.last[1, 0], known.clock) == (2, 2)
    assert (known.seen, known.order[0]) == (1, 1)


def test_states_count_once_and_actions_within_them():
    """State 2 has one action, state 0 three: pairs are not drawn uniformly."""
    known = after(*[(0, a, 0.0, 1.0, 2) for a in range(3)], (2, 1, 0.0, 1.0, 0))
    draw = jax.vmap(lambda key: table.draw(known, key))
    states, actions = draw(jax.random.split(jax.random.key(0), 6_000))
    share = np.mean(np.asarray(states) == 2)
    assert abs(share - 0.5) < 0.03
    assert set(np.asarray(actions)[np.asarray(states) == 2]) == {1}
    first = np.asarray(actions)[np.asarray(states) == 0]
    np.testing.assert_allclose(np.bincount(first) / len(first), 1 / 3, atol=0.04)


def test_with_all_actions_untried_ones_stay_where_they_are():
    known = after((1, 0, 0.0, 1.0, 2), (2, 0, 0.0, 1.0, 1), all_actions=True)
    assert known.tried[1].all()
    np.testing.assert_array_equal(known.following[1], [2, 1, 1])
    np.testing.assert_array_equal(known.last[1], [1, 1, 1])
    # State 2 was met at clock 2: its untried actions carry the stamp 1.
    np.testing.assert_array_equal(known.last[2], [2, 1, 1])


def test_unknown_pairs_are_not_drawn():
    known = after((3, 2, 1.0, 0.0, 0))
    states, actions = jax.vmap(lambda key: table.draw(known, key))(
        jax.random.split(jax.random.key(1), 50)
    )
    assert (states == 3).all()
    assert (actions == 2).all()


@pytest.mark.parametrize(
    "spec",
    [
        EnvSpec(ArraySpec((3,)), ArraySpec((), "int32", 2)),
        EnvSpec(ArraySpec((), "int32", 2), ArraySpec((1,))),
        EnvSpec({"a": ArraySpec((), "int32", 2)}, ArraySpec((), "int32", 2)),
    ],
)
def test_anything_but_indices_is_refused(spec):
    with pytest.raises(UserError, match="one discrete observation"):
        table.sizes(spec)


def test_counts_are_drawn_as_often_as_they_came():
    spec = EnvSpec(ArraySpec((), "int32", 4), ArraySpec((), "int32", 3))
    model = counted.CountedModel(spec)
    known = model.init(jax.random.key(0))["model"]
    for following, reward, discount in [(1, 4.0, 1.0)] * 3 + [(2, 0.0, 0.0)]:
        numbers = jnp.int32(0), jnp.int32(1), reward, discount
        known = counted.record(known, *numbers, jnp.int32(following))
    params, rows = {"model": known}, 8_000
    start, action = model.start(params, rows), jnp.ones(rows, jnp.int32)
    after, prediction = model.step(params, jax.random.key(1), start, action)
    ended = np.asarray(after.state) == 2
    assert abs(ended.mean() - 0.25) < 0.02
    np.testing.assert_array_equal(np.asarray(prediction.discount) == 0, ended)
    np.testing.assert_allclose(prediction.reward, 3.0)
    unknown, prediction = model.step(params, jax.random.key(1), start, 0 * action)
    np.testing.assert_array_equal(unknown.state, 0)
    np.testing.assert_array_equal(prediction.discount, 1.0)
    assert known.seen == 1
