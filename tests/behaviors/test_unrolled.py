"""`wm.behaviors.unrolled`: against plain loops over episodes, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.behaviors import unrolled as lib
from wm.types import TimeStep

KEY = jax.random.key(0)


def window(reward, discount, is_last, is_first=None):
    """One row of records without observations."""
    row = lambda x, kind: jnp.asarray(x, kind)[None]
    first = [False] * len(reward) if is_first is None else is_first
    return TimeStep(
        observation=None,
        reward=row(reward, jnp.float32),
        discount=row(discount, jnp.float32),
        is_first=row(first, bool),
        is_last=row(is_last, bool),
    )


def expected(reward, discount, first, last, value, K, n, gamma):
    """Value, reward, known, acting of one row, episode by episode, in float64."""
    e = next((t for t in range(len(last)) if last[t]), None)
    terminal = e is not None and discount[e] == 0
    rows = []
    for k in range(K + 1):
        if e is not None and k > e:
            rows.append((0.0, 0.0, terminal and e > 0, False))
            continue
        total, product = 0.0, 1.0
        for q in range(k, k + n + 1):
            if q > k:
                total += product * reward[q]
                product *= gamma * discount[q]
            if q == e:
                total += 0.0 if terminal else product * value[q]
                break
            if q == k + n:
                total += product * value[q]
        if k == e and terminal:
            total = 0.0
        rows.append((total, reward[k], e != 0, k != e))
    return [np.array(column) for column in zip(*rows, strict=True)]


def histories(generator, rows, length):
    """Records of random episodes with terminals, time limits, and other players."""
    shape = (rows, length)
    last = generator.random(shape) < 0.2
    first = np.roll(last, 1, 1)
    first[:, 0] = False
    discount = np.where(generator.random(shape) < 0.5, 1.0, -1.0)
    discount = np.where(last & (generator.random(shape) < 0.5), 0.0, discount)
    reward = np.where(first, 0.0, generator.normal(size=shape))
    return reward, discount, first, last, generator.normal(size=shape)


@pytest.mark.parametrize(("K", "n"), [(5, 1), (3, 4), (1, 12)])
def test_targets_are_those_of_plain_loops_over_random_histories(K, n):
    generator = np.random.default_rng(K)
    rows, length = 400, K + 1 + n
    reward, discount, first, last, value = histories(generator, rows, length)
    policy = generator.dirichlet(np.ones(3), (rows, length))
    timestep = TimeStep(None, *map(jnp.asarray, (reward, discount, first, last)))
    args = timestep, jnp.asarray(policy), jnp.asarray(value), K, n, 0.9
    found = jax.tree.map(np.asarray, lib.unrolled(*args))
    ends = {"terminal": 0, "limit": 0}
    for row in range(rows):
        records = (x[row] for x in (reward, discount, first, last, value))
        total, earned, known, acting = expected(*records, K, n, 0.9)
        np.testing.assert_array_equal(found.known[row], known)
        np.testing.assert_array_equal(found.acting[row], acting)
        given = known.astype(bool)
        np.testing.assert_allclose(found.value[row][given], total[given], atol=1e-5)
        np.testing.assert_allclose(found.reward[row][given], earned[given], atol=1e-6)
        np.testing.assert_array_equal(found.over[row], ~acting)
        assert found.usable[row] == (not last[row, 0])
        for t in np.flatnonzero(last[row, : K + 1])[:1]:
            ends["limit" if discount[row, t] else "terminal"] += 1
    np.testing.assert_allclose(found.policy, policy[:, : K + 1], rtol=1e-6)
    assert min(ends.values()) > 20


def test_an_end_after_one_step_is_learned_from():
    """The first transition ends the episode: its reward counts, what follows is worth
    nothing and asks for no policy (a mask that begins with 1 - done would lose it)."""
    timestep = window(
        [0, 1, 0, 5, 5, 5], [1, 0, 1, 1, 1, 1], [0, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0]
    )
    policy, value = jnp.ones((1, 6, 2)) / 2, jnp.full((1, 6), 9.0)
    found = lib.unrolled(timestep, policy, value, 3, 2, 0.5)
    np.testing.assert_array_equal(found.value[0], [1, 0, 0, 0])
    np.testing.assert_array_equal(found.reward[0, 1:], [1, 0, 0])
    np.testing.assert_array_equal(found.known[0], [1, 1, 1, 1])
    np.testing.assert_array_equal(found.acting[0], [1, 0, 0, 0])
    assert found.usable[0] == 1


def test_a_time_limit_is_bootstrapped_and_nothing_is_said_beyond_it():
    timestep = window(
        [0, 1, 2, 0, 5, 5], [1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0]
    )
    policy, value = jnp.ones((1, 6, 2)) / 2, jnp.full((1, 6), 8.0)
    found = lib.unrolled(timestep, policy, value, 3, 2, 0.5)
    np.testing.assert_allclose(found.value[0, :3], [1 + 0.5 * 2 + 0.25 * 8, 2 + 4, 8])
    np.testing.assert_array_equal(found.known[0], [1, 1, 1, 0])
    np.testing.assert_array_equal(found.acting[0], [1, 1, 0, 0])


def test_signs_are_of_the_player_who_moves():
    """Two players; the third move wins: good for who made it, bad for the other."""
    timestep = window([0, 0, 0, 1, 0, 0], [1, -1, -1, 0, 1, 1], [0, 0, 0, 1, 0, 0])
    policy, value = jnp.ones((1, 6, 2)) / 2, jnp.zeros((1, 6))
    found = lib.unrolled(timestep, policy, value, 3, 9, 1.0)
    np.testing.assert_array_equal(found.value[0], [1, -1, 1, 0])
    found = lib.unrolled(timestep, policy, value + 0.25, 1, 1, 1.0)
    np.testing.assert_array_equal(found.value[0], [-0.25, -0.25])


def test_actions_are_drawn_where_the_episode_is_over():
    timestep = window([0, 1, 0, 0, 0], [1, 0, 1, 1, 1], [0, 1, 0, 0, 0])
    policy, value = jnp.ones((1, 5, 2)) / 2, jnp.zeros((1, 5))
    goals = lib.unrolled(timestep, policy, value, 3, 1, 1.0)
    action = jnp.array([[7, 7, 7, 7, 7]], jnp.int32)
    drawn = np.concatenate(
        [lib.taken(key, action, goals, 4) for key in jax.random.split(KEY, 40)]
    )
    assert drawn.shape == (40, 3)
    assert (drawn[:, 0] == 7).all()
    assert set(drawn[:, 1:].ravel()) == {0, 1, 2, 3}


def test_gradients_are_halved_into_every_step_and_whole_at_the_heads():
    """s_k = w s_(k-1): d(s_0 + s_1 + s_2)/d s_0 = 1 + w/2 + w²/4."""
    advance = lambda latent, action: 3.0 * latent
    total = lambda x: lib.latents(advance, x, jnp.zeros((1, 2))).sum()
    np.testing.assert_allclose(
        lib.latents(advance, jnp.ones(1), jnp.zeros((1, 2)))[:, 0], [1, 3, 9]
    )
    np.testing.assert_allclose(jax.grad(total)(jnp.ones(1)), [1 + 3 / 2 + 9 / 4])


def test_weights_are_the_pseudocodes_and_schauls():
    np.testing.assert_allclose(lib.step_weights(5), [1, 0.2, 0.2, 0.2, 0.2, 0.2])
    chance = jnp.array([0.1, 0.2, 0.4])
    np.testing.assert_allclose(lib.importance(chance, 1.0), [1, 0.5, 0.25])
    np.testing.assert_allclose(lib.importance(chance, 0.5), [1, 0.5**0.5, 0.5])
    np.testing.assert_allclose(lib.importance(chance, 0.0), [1, 1, 1])


def test_certainty_has_no_entropy():
    policy = jnp.array([[0.0, 1.0], [0.5, 0.5]])
    np.testing.assert_allclose(lib.entropy(policy), [0, np.log(2)], rtol=1e-6)
