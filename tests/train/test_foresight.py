"""What a known model with a known error is found to see."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.models.table import TableModel, record
from wm.train import foresight
from wm.types import ArraySpec, Belief, EnvSpec, Prediction, Step, TimeStep

SPEC = EnvSpec(ArraySpec((2,)), ArraySpec((2,)))
N, L = 3, 12


class Adder(NamedTuple):
    """Adds the action, and an error, to where it is."""

    error: float

    @property
    def spec(self):
        return SPEC

    def start(self, params, batch):
        return jnp.zeros((batch, 2))

    def encode(self, params, timestep):
        return timestep

    def observe(self, params, key, state, action, evidence):
        return evidence.observation

    def step(self, params, key, state, action):
        state = state + action + jnp.array([self.error, 0.0])
        return state, Prediction(state[:, 0], jnp.ones(state.shape[0]))

    def decode(self, params, state):
        return state

    def predictive(self, params, state, action):
        return Belief(state + action, jnp.full_like(state, 0.25))


def episodes(lengths=(L, L, L)):
    """Sums of random actions; rows end after their length."""
    action = jax.random.normal(jax.random.key(0), (N, L, 2))
    before = jnp.concatenate([jnp.zeros((N, 1, 2)), action[:, :-1]], 1)
    frames = np.arange(L) < np.array(lengths)[:, None]
    flag = jnp.broadcast_to(jnp.arange(L) == 0, (N, L))
    number = jnp.zeros((N, L))
    observation = jnp.cumsum(before, 1)
    timestep = TimeStep(observation, number, number + 1, flag, ~flag & False)
    return Step(timestep, action, {}), frames


def seen(model, steps, valid, horizon=5, most=100):
    begin = foresight.windows(valid, horizon, most)
    observation = steps.timestep.observation
    weights = foresight.weights_of(SPEC.observation, [(observation, valid)])
    ahead = np.arange(len(begin.inside))
    found = foresight.foresee(model, SPEC.observation)(
        {}, jax.random.key(1), steps, begin.row, begin.time, ahead, weights
    )
    return begin, weights, jax.device_get(found)


def test_windows_stay_inside_their_episodes():
    _, valid = episodes((4, 12, 1))
    begin = foresight.windows(valid, 20, 100)
    assert list(zip(begin.row, begin.time, strict=True)) == [
        *((0, t) for t in range(3)),
        *((1, t) for t in range(11)),
    ]
    assert begin.inside.shape == (11, 14)
    np.testing.assert_array_equal(begin.inside.sum(0)[:3], [3, 2, 1])
    few = foresight.windows(valid, 20, 5)
    assert len(few.row) == 5
    assert few.inside.any(1).all()


def test_errors_of_a_known_model_grow_as_they_must():
    """0.1 more in one of two entries with every step."""
    steps, valid = episodes()
    begin, _, found = seen(Adder(0.1), steps, valid)
    spread = np.asarray(steps.timestep.observation).reshape(-1, 2).std(0)[0]
    expected = 0.1 * np.arange(1, 6) / spread / np.sqrt(2)
    inside = np.where(begin.inside, found.distance, np.nan)
    np.testing.assert_allclose(np.nanmean(inside, 1), expected, rtol=1e-4)
    np.testing.assert_allclose(np.nanstd(inside, 1), 0, atol=1e-5)
    exact = seen(Adder(0.0), steps, valid)[2].distance
    assert np.where(begin.inside, exact, 0).max() < 1e-5


def test_beliefs_are_of_the_next_observation():
    steps, valid = episodes()
    begin, _, found = seen(Adder(0.1), steps, valid)
    truth = np.asarray(steps.timestep.observation)[begin.row, begin.time + 1]
    np.testing.assert_allclose(found.belief.mean, truth, atol=1e-5)
    assert (found.belief.variance == 0.25).all()


def test_standing_still_is_measured_in_the_same_units():
    steps, valid = episodes()
    begin, weights, _ = seen(Adder(0.0), steps, valid)
    observation = np.asarray(steps.timestep.observation)
    still = foresight.standing(SPEC.observation, weights, observation, begin)
    moved = observation[begin.row, begin.time + 1] - observation[begin.row, begin.time]
    spread = observation.reshape(-1, 2).std(0)
    expected = np.sqrt(np.square(moved / spread).mean(-1))
    np.testing.assert_allclose(still[0], expected, rtol=1e-4)


def test_the_mean_of_the_data_is_one_spread_away():
    generator = np.random.default_rng(0)
    data = generator.normal(3.0, [2.0, 0.1], (40, 50, 2)).astype(np.float32)
    weights = foresight.weights_of(ArraySpec((2,)), [(data, np.ones((40, 50), bool))])
    rows = data.reshape(-1, 2)
    guess = np.broadcast_to(rows.mean(0), rows.shape)
    found = foresight.distance(ArraySpec((2,)), weights, rows, guess)
    assert np.square(found).mean() == pytest.approx(1.0, rel=1e-4)


def test_constants_do_not_count_and_images_count_as_a_whole():
    data = np.stack([np.arange(6.0), np.full(6, 2.0)], -1)[None].astype(np.float32)
    mask = np.ones((1, 6), bool)
    weights = foresight.weights_of(ArraySpec((2,)), [(data, mask)])
    np.testing.assert_allclose(weights, [1 / np.arange(6).var(), 0.0], rtol=1e-6)
    image = np.zeros((1, 4, 2, 2, 1), np.uint8)
    image[0, 2:, 0, 0] = 255  # one of four pixels has a variance of 1/4
    spec = ArraySpec((2, 2, 1), "uint8")
    weights = foresight.weights_of(spec, [(image, mask[:, :4])])
    np.testing.assert_allclose(weights, np.full((2, 2, 1), 16 / 4))
    # A decoder may answer in bytes or in [0, 1].
    half = np.full((1, 2, 2, 1), 0.5, np.float32)
    for guess in (half, np.round(half * 255).astype(np.uint8)):
        found = foresight.distance(spec, weights, image[0, :1], guess)
        np.testing.assert_allclose(found, 2.0, rtol=0.01)


def test_indices_are_right_or_wrong():
    env = wm.env("grid/dyna_maze")
    model = TableModel(env.spec)
    steps, valid = foresight.play_random(env, jax.random.key(0), 2, 9)
    valid = np.asarray(valid)
    cells, acts = steps.timestep.observation, steps.action
    known = model.init(jax.random.key(0))["model"]
    for t in range(8):
        step = (cells[0, t], acts[0, t], 0.0, 1.0, cells[0, t + 1])
        known = record(known, *step)
    spec = env.spec.observation
    begin = foresight.windows(valid[:1], 4, 100)
    weights = foresight.weights_of(spec, [(cells, valid)])
    found = foresight.foresee(model, spec)(
        {"model": known}, jax.random.key(1), steps, *begin[:2], np.arange(4), weights
    )
    assert found.belief is None
    # The maze is deterministic, and everything on the way was met.
    assert not np.where(begin.inside, found.distance, 0).any()
    still = foresight.standing(spec, weights, cells, begin)
    assert set(np.unique(still)) == {0.0, 1.0}


def test_random_actions_are_legal():
    spec = EnvSpec(ArraySpec((1,)), ArraySpec((), "int32", 4), legal=True)
    agent = foresight.RandomAgent(spec)
    legal = jnp.array([[True, False, False, True]] * 50)
    flag = jnp.zeros(50, bool)
    timestep = TimeStep(jnp.zeros((50, 1)), jnp.zeros(50), flag, flag, flag, legal)
    _, action, _ = agent.act((), jax.random.key(0), (), timestep, "eval")
    assert set(np.unique(action)) == {0, 3}
    assert action.dtype == jnp.int32
