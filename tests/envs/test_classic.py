"""`wm.envs.classic` and `probe_control`: constants, hand numbers, known returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.envs.play import episode_returns, random_policy
from tests.planners.regret import least_costs, quadratic
from wm.envs import batch, classic, make
from wm.envs.gymnax import make as make_gymnax
from wm.envs.probe_control import A, B, Q, R
from wm.errors import UserError
from wm.ops.riccati import finite_horizon

NAMES = tuple(f"classic/{name}" for name in classic.TASKS)
KNOWN = (*NAMES, "probe/double_integrator", "probe/lqr")


def slope_of_gymnax(task, state, action):
    """Accelerations that one step of gymnax makes of a state, by its own step size."""
    env, params = make_gymnax(task), None
    from wm.envs.gymnax import _load

    inner, params = _load(task)
    begun = env.reset(jax.random.key(0))[0].inner
    names = ("x", "x_dot", "theta", "theta_dot")
    names = names if task == "CartPole-v1" else ("theta", "theta_dot")
    values = dict(zip(names, map(jnp.asarray, state), strict=True))
    _, new, reward, *_ = inner.step_env(
        jax.random.key(0), begun.replace(**values), action, params
    )
    dt = params.tau if task == "CartPole-v1" else params.dt
    found = [(getattr(new, name) - values[name]) / dt for name in names]
    return np.asarray(found), float(reward)


@pytest.mark.parametrize("state", [(0.4, -0.3), (2.9, 1.2), (-1.0, 0.0)])
@pytest.mark.parametrize("torque", [-2.0, 0.7])
def test_the_pendulum_has_the_constants_of_gym(state, torque):
    slope, reward = slope_of_gymnax("Pendulum-v1", state, jnp.asarray(torque))
    action = jnp.array([torque / 2])
    ode = classic.pendulum_ode(jnp.array(state), action)
    # gym moves the angle by the new speed; the acceleration is the equation's.
    np.testing.assert_allclose(ode[1], slope[1], rtol=2e-4)
    seen = jnp.array([np.cos(state[0]), np.sin(state[0]), state[1]])
    ours = classic.pendulum_reward(seen, action, seen)
    np.testing.assert_allclose(ours, reward, rtol=1e-5)


@pytest.mark.parametrize("state", [(0.1, 0.5, 0.1, -0.4), (-1.0, 0.0, -0.2, 2.0)])
@pytest.mark.parametrize("action", [0, 1])
def test_the_cart_pole_has_the_constants_of_gym(state, action):
    slope, _ = slope_of_gymnax("CartPole-v1", state, action)
    ode = classic.cartpole_ode(jnp.array(state), jnp.asarray(action))
    np.testing.assert_allclose(ode, slope, rtol=1e-3, atol=1e-3)


def test_the_pole_falls_where_gym_says():
    terminal = lambda x, angle: classic.cartpole_terminal(
        jnp.zeros(4), jnp.asarray(0), jnp.array([x, 0.0, angle, 0.0])
    )
    assert not terminal(2.39, 0.209)
    assert terminal(-2.41, 0.0)
    assert terminal(0.0, -0.2095)


def test_the_swing_up_rests_hanging_and_upright():
    for angle in (0.0, np.pi):
        rest = classic.swingup_ode(jnp.array([0.3, 0.0, angle, 0.0]), jnp.zeros(1))
        np.testing.assert_allclose(rest, 0.0, atol=1e-5)


def test_the_swing_up_by_hand():
    """Pole level: v' = 2 m l w² + 4 u over 4 (M + m), at w = 2 and 10 N: 42 / 4;
    turning by −6 (M + m) g over 4 l (M + m)."""
    ode = classic.swingup_ode(jnp.array([0.0, 0.0, np.pi / 2, 2.0]), jnp.ones(1))
    np.testing.assert_allclose(ode, [0.0, 10.5, 2.0, -29.46], rtol=1e-5)


def test_energy_is_kept_without_friction_and_force(monkeypatch):
    """Of cart and pole: ½ (M + m) v² + ½ m l w v cos + m l² w² / 6 − m g l cos / 2."""
    monkeypatch.setitem(classic.SWINGUP, "friction", 0.0)
    M, m, length, _, g = classic.SWINGUP.values()

    def energy(state):
        _, v, angle, w = np.asarray(state, np.float64)
        moving = (M + m) * v**2 / 2 + m * length * w * v * np.cos(angle) / 2
        return moving + m * length**2 * w**2 / 6 - m * g * length * np.cos(angle) / 2

    state = begin = jnp.array([0.0, 0.4, 2.0, 1.0])
    for _ in range(20):
        state = classic.rk4(classic.swingup_ode, state, jnp.zeros(1), 0.05, 4)
    assert energy(state) == pytest.approx(energy(begin), rel=1e-3)
    assert abs(float(state[2]) - 2.0) > 0.5


@pytest.mark.parametrize(
    ("state", "reward"),
    [((0.0, 0.0, np.pi, 0.0), 0.99), ((0.0, 0.0, 0.0, 0.0), np.exp(-4.0) - 0.01)],
)
def test_the_swing_up_pays_for_the_tip(state, reward):
    found = classic.swingup_reward(jnp.zeros(4), jnp.ones(1), jnp.array(state))
    np.testing.assert_allclose(found, reward, rtol=1e-5)


@pytest.mark.parametrize(
    ("angle", "reward"), [(np.pi, 0.0), (0.0, np.exp(-8.0) - 1), (2 * np.pi, -0.99966)]
)
def test_the_pendulum_swing_up_costs_what_pilco_says(angle, reward):
    found = classic.pendulum_swingup_reward(None, None, jnp.array([angle, 0.0]))
    np.testing.assert_allclose(found, reward, atol=1e-5)


def test_the_rod_accelerates_by_hand():
    """3 (2.5 − 0.01 · 2 − 9.82 / 2) at the level, turning at 2."""
    found = classic.pendulum_swingup_ode(jnp.array([np.pi / 2, 2.0]), jnp.ones(1))
    np.testing.assert_allclose(found, [2.0, 3 * (2.5 - 0.02 - 4.91)], rtol=1e-6)


@pytest.mark.parametrize("name", KNOWN)
def test_random_play_scores_what_the_spec_says(name):
    env = make(name)
    returns, lengths = episode_returns(env, random_policy(env.spec))
    error = 5 * float(np.std(returns)) / np.sqrt(1000)
    assert abs(float(returns.mean()) - env.spec.random_return) < error
    if name != "classic/cartpole":
        assert (lengths == env.spec.time_limit).all()


@pytest.mark.parametrize("name", KNOWN)
def test_rewards_are_those_of_the_function_in_the_spec(name):
    env = make(name)
    state, timestep = env.reset(jax.random.key(3))
    for turn in range(3):
        before = timestep.observation
        action = jnp.zeros(env.spec.action.shape, env.spec.action.dtype) + turn % 2
        state, timestep = env.step(state, action)
        expected = env.spec.reward_fn(before, action, timestep.observation)
        np.testing.assert_allclose(timestep.reward, expected, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_time_limit_truncates(name):
    env = make(name, time_limit=2)
    state, _ = env.reset(jax.random.key(0))
    action = jnp.zeros(env.spec.action.shape, env.spec.action.dtype)
    state, timestep = env.step(state, action)
    assert not timestep.is_last
    _, timestep = env.step(state, action)
    assert timestep.is_last
    assert timestep.discount == 1
    assert env.spec.random_return is None


def test_impossible_options_are_named():
    with pytest.raises(UserError, match="time_limit must be at least 1, got 0"):
        make("classic/pendulum", time_limit=0)
    with pytest.raises(UserError, match="size must be at least 1, got 0"):
        make("probe/double_integrator", size=0)


def test_the_best_feedback_reaches_the_known_return_of_lqr():
    gains, P = finite_horizon(A, B, Q, R, 30)
    env = batch(make("probe/lqr"), "off")
    state, timestep = env.reset(jax.random.key(0), 400)
    begin, total, largest = np.asarray(timestep.observation), np.zeros(400), 0.0
    for K in gains:
        action = -timestep.observation @ K.T.astype(np.float32)
        largest = max(largest, float(jnp.abs(action).max()))
        state, timestep = env.step(state, action)
        total += np.asarray(timestep.reward)
    assert largest < 1
    value = -np.einsum("bi,ij,bj->b", begin, P, begin)
    np.testing.assert_allclose(total, value, rtol=1e-3, atol=1e-6)
    known = env.spec.optimal_return
    assert abs(value.mean() - known) < 5 * value.std() / np.sqrt(400)


def test_the_known_return_of_the_integrator_is_that_of_the_quadratic_program():
    starts = np.random.default_rng(0).uniform(-1, 1, (1000, 2)) * [1, 0.5]
    known = make("probe/double_integrator").spec.optimal_return
    assert -least_costs(starts, 1000).mean() == pytest.approx(known, abs=1e-3)
    three = make("probe/double_integrator", size=3).spec
    assert three.optimal_return == pytest.approx(3 * known)
    assert (three.observation.shape, three.action.shape) == ((6,), (3,))


def test_the_program_costs_what_the_environment_pays():
    env = make("probe/double_integrator")
    state, timestep = env.reset(jax.random.key(4))
    x = np.asarray(timestep.observation, np.float64)
    actions = np.asarray(jax.random.uniform(jax.random.key(5), (50,), minval=-1.0))
    total = 0.0
    step = jax.jit(env.step)
    for action in actions:
        state, timestep = step(state, action[None])
        total -= float(timestep.reward)
    H, G, C = quadratic()
    cost = actions @ H @ actions + 2 * actions @ G @ x + x @ C @ x
    assert total == pytest.approx(cost, rel=1e-4)
