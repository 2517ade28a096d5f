"""`wm.envs.gymnax`: what our side adds to the library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.envs.play import episode_returns, random_policy
from wm.envs import make
from wm.envs.gymnax import rescale
from wm.errors import UserError
from wm.types import ArraySpec


def test_cartpole_steps_are_the_librarys():
    import gymnax

    env, params = gymnax.make("CartPole-v1")
    ours = make("gymnax/CartPole-v1")
    state, timestep = ours.reset(jax.random.key(0))
    _, theirs, reward, _, _ = env.step_env(
        jax.random.key(1), state.inner, jnp.asarray(1), params
    )
    state, timestep = ours.step(state, jnp.asarray(1))
    assert timestep.observation[0] == theirs.x
    assert timestep.reward == reward == 1.0


def test_falling_over_is_terminal_and_the_limit_is_not():
    env = make("gymnax/CartPole-v1")
    state, _ = env.reset(jax.random.key(0))
    for _ in range(20):
        state, timestep = env.step(state, jnp.asarray(1))
        if timestep.is_last:
            break
    assert timestep.is_last
    assert timestep.discount == 0
    env = make("gymnax/CartPole-v1", time_limit=2)
    state, _ = env.reset(jax.random.key(0))
    for _ in range(2):
        state, timestep = env.step(state, jnp.asarray(1))
    assert timestep.is_last
    assert timestep.discount == 1


def test_cartpole_can_be_balanced_for_500_steps():
    def policy(key, now, before):
        return (now @ jnp.array([0.1, 0.5, 5.0, 1.0]) > 0).astype(jnp.int32)

    returns, _ = episode_returns("gymnax/CartPole-v1", policy, rows=32)
    assert returns.min() == make("gymnax/CartPole-v1").spec.optimal_return == 500


def test_cartpole_at_random():
    env = make("gymnax/CartPole-v1")
    returns, _ = episode_returns(env, random_policy(env.spec))
    assert abs(returns.mean() - env.spec.random_return) < 2.0


def test_continuous_actions_reach_the_tasks_own_bounds():
    assert make("gymnax/Pendulum-v1").spec.action == ArraySpec((1,))
    np.testing.assert_allclose(
        rescale(jnp.array([-2.0, -1.0, 0.0, 1.0]), -3.0, 5.0), [-3, -3, 1, 5]
    )


def test_class_indices_stay_integers():
    spec = make("gymnax/FrozenLake-misc").spec.observation
    assert spec == ArraySpec((), "int32", classes=16)


def test_a_changed_limit_forgets_the_known_returns():
    assert make("gymnax/CartPole-v1", time_limit=100).spec.optimal_return is None


def test_an_impossible_limit_is_refused():
    with pytest.raises(UserError, match="time_limit must be at least 1"):
        make("gymnax/CartPole-v1", time_limit=0)
