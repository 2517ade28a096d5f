"""A model as an environment, planning on its private state, open-loop actions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.imagine import Draws, act_in, grounded, imagine, open_loop
from wm.types import ArraySpec, EnvSpec, Prediction


class Counter(NamedTuple):
    """Counts up by the action; the discount is constant."""

    discount: float

    @property
    def spec(self):
        return EnvSpec(observation=ArraySpec((1,)), action=ArraySpec((1,)))

    def init(self, key):
        return {"model": {}}

    def start(self, params, batch):
        return jnp.zeros((batch, 1))

    def encode(self, params, timestep):
        return timestep

    def observe(self, params, key, state, action, evidence):
        return jnp.where(evidence.is_first[:, None], 0.0, state + action)

    def step(self, params, key, state, action):
        state = state + action
        return state, Prediction(state[:, 0], jnp.full(state.shape[0], self.discount))


def rollout(env, key, steps):
    state, timestep = env.reset(key)
    found = []
    for _ in range(steps):
        state, timestep = env.step(state, jnp.ones(1))
        found.append(timestep)
    return found


def dream(discount):
    starts = jnp.arange(4.0)[:, None] * 10
    return wm.as_env(Counter(discount), {"model": {}}, starts)


def test_a_dream_begins_in_its_starts_and_adds_up_rewards():
    firsts = {
        float(dream(1.0).reset(jax.random.key(i))[1].observation[0]) for i in range(40)
    }
    assert firsts == {0.0, 10.0, 20.0, 30.0}
    steps = rollout(dream(1.0), jax.random.key(0), 3)
    rewards = np.array([float(step.reward) for step in steps])
    np.testing.assert_allclose(np.diff(rewards), 1.0)
    assert not any(step.is_last or step.is_first for step in steps)


@pytest.mark.parametrize(("discount", "share"), [(0.5, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_discounts_become_ends_with_their_probability(discount, share):
    env = dream(discount)

    def end(key):
        state, _ = env.reset(key)
        return env.step(state, jnp.ones(1))[1].is_last

    ends = jax.vmap(end)(jax.random.split(jax.random.key(0), 1000))
    assert abs(float(ends.mean()) - share) < 0.05


def test_the_sign_of_the_other_player_is_kept():
    values = {float(x.discount) for x in rollout(dream(-1.0), jax.random.key(0), 3)}
    assert values == {-1.0}


def test_a_dream_repeats_from_the_same_key_and_runs_as_a_batch():
    first, second = (rollout(dream(0.7), jax.random.key(3), 5) for _ in range(2))
    assert [bool(x.is_last) for x in first] == [bool(x.is_last) for x in second]
    env = wm.batch(dream(0.5))
    state, timestep = env.reset(jax.random.key(0), 8)
    assert timestep.observation.shape == (8, 1)
    _, timestep = env.step(state, jnp.ones((8, 1)))
    assert timestep.reward.shape == (8,)


def test_a_grounded_model_takes_the_state_it_is_shown():
    env = wm.batch(dream(1.0))
    _, timestep = env.reset(jax.random.key(1), 5)
    model = grounded(Counter(1.0))
    state = model.observe({}, None, jnp.full((5, 1), 99.0), None, timestep)
    np.testing.assert_allclose(state, timestep.observation)


def test_open_loop_plays_actions_in_order_and_repeats_the_last():
    actions = jnp.arange(6.0).reshape(3, 2, 1)
    policy = open_loop(actions)
    draws = Draws(jnp.zeros(4), jnp.zeros(4))
    carry = policy.start({}, 2)
    _, _, trajectory = imagine(
        Counter(1.0), policy, {}, draws, jnp.zeros((2, 1)), carry, 4
    )
    np.testing.assert_allclose(
        trajectory.action[:, :, 0], [[0, 1], [2, 3], [4, 5], [4, 5]]
    )
    np.testing.assert_allclose(
        trajectory.state[:, :, 0], [[0, 0], [0, 1], [2, 4], [6, 9]]
    )


def test_acting_in_a_model_forgets_everything_where_an_episode_begins():
    model, policy = Counter(1.0), open_loop(jnp.ones((9, 2, 1)))
    acting = act_in(model, policy)
    carry = acting.start({}, 2)
    step = wm.batch(dream(1.0)).reset(jax.random.key(0), 2)[1]
    for first in ([True, True], [False, False], [False, True]):
        now = step._replace(is_first=jnp.array(first))
        carry, _, _ = acting.act({}, jax.random.key(0), carry, now)
    state, _, position = carry
    np.testing.assert_allclose(state[:, 0], [2.0, 0.0])
    np.testing.assert_array_equal(position, [3, 1])
