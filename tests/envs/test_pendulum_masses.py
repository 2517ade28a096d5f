"""`wm.envs.pendulum_masses`: when masses change, and what shows it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.envs.play import episode_returns, random_policy
from wm.envs import batch, make
from wm.errors import UserError

NAME = "classic/pendulum_masses"


def masses(env, rows=200, seed=0):
    """Index of the mass in every step of an episode, `[T, rows]`."""
    batched = batch(env, "off")
    state, _ = batched.reset(jax.random.key(seed), rows)
    still = jnp.zeros((rows, 1))

    @jax.jit
    def play(state):
        step = lambda state, _: (batched.step(state, still)[0], state.env.mass)
        return jax.lax.scan(step, state, None, env.spec.time_limit)[1]

    return np.asarray(play(state))


def test_a_mass_is_replaced_by_another_one_when_it_is_time():
    found = masses(make(NAME, switch_steps=30, time_limit=100))
    changes = found[1:] != found[:-1]
    assert changes[[29, 59, 89]].all()
    assert changes.sum(0).max() == 3
    for at in (0, 30, 60):
        share = np.bincount(found[at], minlength=3) / 200
        np.testing.assert_allclose(share, 1 / 3, 0.3)
    after_first = found[30][found[0] == 1]
    assert set(after_first) == {0, 2}


def test_one_mass_stays():
    assert (masses(make(NAME, masses=(2.0,), switch_steps=5, time_limit=20)) == 0).all()


@pytest.mark.parametrize(("mass", "gain"), [(0.5, 30.0), (1.0, 15.0), (2.0, 7.5)])
def test_a_torque_turns_a_light_pendulum_faster(mass, gain):
    """Upright and at rest 5 Nm turn 1 kg and 1 m by 3 · 5 / m per s²."""
    env = make(NAME, masses=(mass,))
    state, _ = env.reset(jax.random.key(0))
    state = state.replace(body=jnp.zeros(2))
    _, timestep = env.step(state, jnp.array([1.0]))
    speed = float(timestep.observation[2])
    assert speed == pytest.approx(0.05 * gain, rel=0.01)


def test_without_a_torque_all_masses_swing_as_the_plain_pendulum():
    plain = make("classic/pendulum")
    start, _ = plain.reset(jax.random.key(1))
    _, expected = plain.step(start, jnp.zeros(1))
    for mass in (0.5, 2.0):
        env = make(NAME, masses=(mass,))
        state, _ = env.reset(jax.random.key(0))
        _, timestep = env.step(state.replace(body=start.body), jnp.zeros(1))
        np.testing.assert_allclose(timestep.observation, expected.observation)
        np.testing.assert_allclose(timestep.reward, expected.reward)


def test_random_play_scores_what_the_spec_says():
    env = make(NAME)
    returns, lengths = episode_returns(env, random_policy(env.spec))
    error = 5 * float(np.std(returns)) / np.sqrt(1000)
    assert abs(float(returns.mean()) - env.spec.random_return) < error
    assert (lengths == 200).all()
    assert make(NAME, switch_steps=20).spec.random_return is None


def test_impossible_options_are_named():
    with pytest.raises(UserError, match="masses must be at least one factor above 0"):
        make(NAME, masses=(1.0, 0.0))
    with pytest.raises(UserError, match="switch_steps must be at least 1, got 0"):
        make(NAME, switch_steps=0)
