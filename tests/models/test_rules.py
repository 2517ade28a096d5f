"""`wm.models.rules`: the environment as a model of itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.envs import wrappers
from wm.envs.timesteps import first, following
from wm.errors import UserError
from wm.imagine import imagine, open_loop
from wm.models.rules import rules, rules_of
from wm.nodes import Node
from wm.types import ArraySpec, EnvSpec


class DiceState(Node):
    """A key, and what was thrown."""

    key: jax.Array
    sum: jax.Array


class Dice(Node):
    """Every step adds a throw; above 10 it is over."""

    @property
    def spec(self):
        return EnvSpec(ArraySpec((1,)), ArraySpec((1,)), name="dice")

    def reset(self, key):
        state = DiceState(key, jnp.zeros(()))
        return state, first(state.sum[None])

    def step(self, state, action):
        key, throw = jax.random.split(state.key)
        value = jax.random.randint(throw, (), 1, 7).astype(jnp.float32)
        total = state.sum + value
        return DiceState(key, total), following(total[None], value, terminal=total > 10)


def observed(env, rows=3, seed=0):
    model = rules(env)
    opened = wm.batch(wrappers.with_rules(env), "off")
    state, timestep = opened.reset(jax.random.key(seed), rows)
    key = jax.random.key(9)
    believed = model.observe({}, key, model.start({}, rows), None, timestep)
    return model, opened, state, believed


@pytest.mark.parametrize(
    "name", ["classic/cartpole_swingup", "classic/cartpole", "grid/dyna_maze"]
)
def test_a_plan_in_the_rules_comes_true(name):
    env = wm.env(name)
    model, opened, state, believed = observed(env)
    shape = (12, 3, *env.spec.action.shape)
    if env.spec.action.discrete:
        actions = jax.random.randint(jax.random.key(1), shape, 0, 2)
    else:
        actions = jax.random.uniform(jax.random.key(1), shape, minval=-1.0)
    policy = open_loop(actions)
    last, _, found = imagine(
        model, policy, {}, jax.random.key(2), believed, policy.start({}, 3), 12
    )
    for t in range(12):
        state, timestep = opened.step(state, actions[t])
        np.testing.assert_allclose(found.reward[t], timestep.reward, rtol=1e-5)
        np.testing.assert_allclose(found.discount[t], timestep.discount)
    np.testing.assert_allclose(
        model.decode({}, last), timestep.observation, rtol=1e-4, atol=1e-5
    )


def test_after_an_end_nothing_happens():
    env = wm.env("classic/cartpole")
    model, _, _, state = observed(env, 1)
    rewards = []
    for _ in range(20):
        state, prediction = model.step({}, jax.random.key(0), state, jnp.array([1]))
        rewards.append((float(prediction.reward[0]), float(prediction.discount[0])))
    fall = rewards.index((1.0, 0.0))
    assert 5 < fall < 15
    assert rewards[:fall] == [(1.0, 1.0)] * fall
    assert rewards[fall + 1 :] == [(0.0, 0.0)] * (19 - fall)


def test_a_time_limit_is_no_end():
    env = wm.env("classic/pendulum", time_limit=1)
    model, _, _, state = observed(env, 1)
    for _ in range(3):
        state, prediction = model.step({}, jax.random.key(0), state, jnp.zeros((1, 1)))
        assert prediction.discount == 1
        assert prediction.reward != 0


def test_chance_is_drawn_from_the_key_of_the_step_and_not_foreseen():
    model, opened, state, believed = observed(Dice(), 64)
    keys = [x for x in jax.tree.leaves(believed) if x.dtype == state.key.dtype]
    assert not keys
    step = lambda key: model.step({}, jax.random.key(key), believed, jnp.zeros((64, 1)))
    one, again, other = (step(key)[1].reward for key in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert set(np.unique(one)) == {1, 2, 3, 4, 5, 6}
    _, real = opened.step(state, jnp.zeros((64, 1)))
    assert (real.reward != one).any()


def test_environments_open_their_rules_on_request():
    closed, opened = wm.env("classic/pendulum"), wm.env("classic/pendulum", rules=True)
    assert closed.spec.rules is None
    assert closed.reset(jax.random.key(0))[1].private is None
    assert opened.spec.rules == closed
    state, timestep = opened.reset(jax.random.key(0))
    assert timestep.private is state
    assert wm.check(opened) == []
    assert hash(opened.spec) == hash(closed.spec)
    assert rules_of(opened.spec).env == closed


def test_closed_rules_say_how_to_open_them():
    env = wm.env("classic/pendulum")
    with pytest.raises(UserError, match=r"classic/pendulum: .* --env.rules true"):
        rules_of(env.spec)
    _, timestep = wm.batch(env).reset(jax.random.key(0), 2)
    model = rules(env)
    with pytest.raises(ValueError, match="private is missing"):
        model.observe({}, jax.random.key(0), model.start({}, 2), None, timestep)


def test_the_host_has_no_rules_to_open():
    spec = EnvSpec(ArraySpec((1,)), ArraySpec((1,)), name="mujoco/Swimmer")
    with pytest.raises(UserError, match="mujoco/Swimmer runs on the host") as caught:
        rules_of(spec)
    assert "--env.rules" not in str(caught.value)


@pytest.mark.parametrize("wrap", [wrappers.sticky_actions, wrappers.action_repeat])
def test_wrappers_that_change_the_dynamics_close_them(wrap):
    opened = wm.env("classic/pendulum", rules=True)
    arguments = (2,) if wrap is wrappers.action_repeat else ()
    assert wrap(opened, *arguments).spec.rules is None
    assert wrappers.time_limit(opened, 5).spec.rules is not None
