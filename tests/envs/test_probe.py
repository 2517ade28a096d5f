"""`wm.envs.probe`: the reference values that learning tests are judged by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.envs.play import episode_returns, feedback, random_policy
from wm.envs import make

PROBES = (
    "probe/hidden_point",
    "probe/sparse_point",
    "probe/catch",
    "probe/recall",
    "probe/constant",
    "probe/observed",
    "probe/delayed",
    "probe/choice",
    "probe/matched",
)


@pytest.mark.parametrize("name", PROBES)
def test_random_play_scores_what_the_spec_says(name):
    env = make(name)
    returns, lengths = episode_returns(env, random_policy(env.spec))
    error = max(5 * float(np.std(returns)) / np.sqrt(1000), 1e-6)
    assert abs(float(returns.mean()) - env.spec.random_return) < error
    assert (lengths == env.spec.time_limit).all()


def test_hidden_point_needs_the_velocity():
    blind = feedback(3.0, 0.0, lambda now, before: 0.0)
    returns, _ = episode_returns("probe/hidden_point", blind)
    assert 14.0 < returns.mean() < 16.0
    memory = feedback(10.0, 10.0, lambda now, before: 2.0 * (now - before))
    returns, _ = episode_returns("probe/hidden_point", memory)
    assert 28.0 < returns.mean() < 29.2
    rest = feedback(0.0, 0.0, lambda now, before: 0.0)
    returns, _ = episode_returns("probe/hidden_point", rest)
    assert abs(returns.mean() - 6.4) < 0.5


def test_hidden_point_shows_the_velocity_on_request():
    env = make("probe/hidden_point", velocity=True)
    assert env.spec.observation.shape == (2,)
    seen = feedback(10.0, 10.0, lambda now, before: now[:, 1:])
    returns, _ = episode_returns(env, seen)
    assert abs(returns.mean() - 28.9) < 0.3


def test_points_stop_at_the_wall():
    env = make("probe/hidden_point", velocity=True)
    state, _ = env.reset(jax.random.key(0))
    for _ in range(30):
        state, timestep = env.step(state, jnp.ones(1))
    np.testing.assert_array_equal(timestep.observation, [2.0, 0.0])


def test_sparse_point_is_solved_by_feedback():
    policy = feedback(5.0, 5.0, lambda now, before: now[:, 1:] / 3)
    returns, _ = episode_returns("probe/sparse_point", policy)
    assert abs(returns.mean() - 42.5) < 0.3


def test_recall_pays_for_the_cue_at_the_query_only():
    env = make("probe/recall")
    state, timestep = env.reset(jax.random.key(3))
    cue = int(timestep.observation[1])
    seen = [np.asarray(timestep.observation)]
    for action in (1 - cue, 1 - cue, cue):
        state, timestep = env.step(state, jnp.asarray(action))
        seen.append(np.asarray(timestep.observation))
    assert timestep.reward == 1.0
    assert timestep.discount == 0.0
    expected = [[1 - cue, cue, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_array_equal(seen, expected)


def test_chain20_is_hardly_ever_crossed_by_chance():
    # Exact: distribution over cells, the right end absorbing.
    cells = np.zeros(20)
    cells[0] = 1.0
    for _ in range(24):
        moved = np.zeros(20)
        moved[1:] += 0.5 * cells[:-1]
        moved[:-1] += 0.5 * cells[1:]
        moved[0] += 0.5 * cells[0]
        moved[18] -= 0.5 * cells[19]
        moved[19] += cells[19]
        cells = moved
    assert cells[19] == pytest.approx(5e-5, rel=0.2)


def test_chain20_moves_by_the_action_and_truncates():
    env = make("probe/chain20")
    state, timestep = env.reset(jax.random.key(0))
    for _ in range(24):
        state, timestep = env.step(state, jnp.asarray(1))
    assert timestep.observation.argmax() == 19
    assert timestep.is_last
    assert timestep.discount == 1.0


def test_matched_is_solved_by_looking():
    policy = lambda key, now, before: (now[:, 0] > 0).astype(jnp.int32)
    returns, _ = episode_returns("probe/matched", policy)
    assert returns.mean() == 1.0


def test_trace_counter_counts_compilations_not_steps():
    env = make("probe/trace_counter")

    @jax.jit
    def play(env, key):
        state, _ = env.reset(key)
        return jax.lax.scan(env.step, state, jnp.zeros(5, jnp.int32))[1].reward

    play(env, jax.random.key(0))
    traced = env.traces
    assert traced >= 1
    play(env, jax.random.key(1))
    assert env.traces == traced
    assert make("probe/trace_counter").traces == 0


def test_step_counter_stamps_every_record():
    env = make("probe/step_counter", shortest=3, longest=3)
    state, timestep = env.reset(jax.random.key(0))
    stamp = timestep.observation[0]
    for step in range(1, 4):
        state, timestep = env.step(state, jnp.asarray(0))
        np.testing.assert_array_equal(timestep.observation, [stamp, 3, step])
        assert timestep.reward == step
        assert timestep.is_last == (step == 3)
    assert timestep.discount == (0.0 if stamp % 2 == 0 else 1.0)
