"""Open-loop prediction with a model whose every number is known."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.envs.pixels import Catch
from wm.train import dream
from wm.types import (
    ArraySpec,
    Batch,
    EnvSpec,
    Index,
    Prediction,
    Step,
    TimeStep,
)

SPEC = EnvSpec(ArraySpec((1,)), ArraySpec((), "int32", classes=10), name="sum")


class Sum(NamedTuple):
    """State: the observed number, plus the actions since."""

    drift: float = 0.0

    @property
    def spec(self):
        return SPEC

    def init(self, key):
        return {"model": {}, "policy": {}}

    def start(self, params, batch):
        return {"sum": jnp.full((batch, 1), -100.0)}

    def encode(self, params, timestep):
        return timestep

    def observe(self, params, key, state, action, evidence):
        return {"sum": evidence.observation}

    def step(self, params, key, state, action):
        total = state["sum"] + action[:, None] + self.drift
        return {"sum": total}, Prediction(total[:, 0], jnp.ones(len(total)))

    def decode(self, params, state):
        return state["sum"]


class Blind(NamedTuple):
    """A model without a decoder."""

    spec: EnvSpec = SPEC


class Uniform(NamedTuple):
    """An agent that plays the same action for ever."""

    spec: EnvSpec
    action: int = 1

    def actor(self, state):
        return state

    def start(self, actor, batch):
        return jnp.zeros(batch)

    def act(self, actor, key, carry, timestep, mode):
        rows = timestep.is_first.shape[0]
        return carry, jnp.full(rows, self.action, jnp.int32), {}


def sequence(actions, is_last=None):
    """A stream whose observation is the sum of the actions before it."""
    actions = jnp.asarray(actions, jnp.int32)
    rows, frames = actions.shape
    before = jnp.cumsum(actions, 1) - actions
    last = jnp.zeros((rows, frames), bool) if is_last is None else jnp.asarray(is_last)
    timestep = TimeStep(
        observation=before[..., None].astype(jnp.float32),
        reward=before.astype(jnp.float32),
        discount=jnp.ones((rows, frames)),
        is_first=jnp.zeros((rows, frames), bool).at[:, 0].set(True),
        is_last=last,
    )
    return Step(timestep, actions, {})


def test_a_perfect_model_has_no_error_after_the_context():
    steps = sequence([[1, 2, 3, 4, 5, 6], [9, 0, 9, 0, 9, 0]])
    result = dream.open_loop_dream(Sum(), {}, jax.random.key(0), steps, context=2)
    np.testing.assert_array_equal(result.imagined, steps.timestep.observation)
    np.testing.assert_array_equal(result.error, np.zeros((2, 6)))
    np.testing.assert_array_equal(
        result.imagined_reward[:, 2:], steps.timestep.reward[:, 2:]
    )
    assert np.isnan(result.imagined_reward[:, :2]).all()


def test_errors_start_after_the_context_and_add_up():
    steps = sequence([[1, 1, 1, 1, 1, 1]])
    result = dream.open_loop_dream(Sum(0.5), {}, jax.random.key(0), steps, context=3)
    np.testing.assert_allclose(result.error, [[0, 0, 0, 0.5, 1.0, 1.5]])


def test_a_replay_batch_goes_as_well():
    steps = sequence([[1, 2, 3, 4]])
    index = Index(jnp.zeros((1, 4), jnp.int32), jnp.arange(4)[None])
    batch = Batch(steps.timestep, steps.action, {}, index, jnp.ones(1))
    result = dream.open_loop_dream(Sum(), {}, jax.random.key(0), batch, context=1)
    assert float(result.error.sum()) == 0


def test_frames_after_the_end_of_an_episode_are_not_valid():
    steps = sequence([[1, 1, 1, 1]], [[False, False, True, False]])
    result = dream.open_loop_dream(Sum(), {}, jax.random.key(0), steps, context=1)
    np.testing.assert_array_equal(result.valid, [[True, True, True, False]])


@pytest.mark.parametrize("context", [0, 4])
def test_a_context_that_leaves_nothing_to_imagine_is_refused(context):
    with pytest.raises(ValueError, match="context must be in"):
        dream.open_loop_dream(
            Sum(), {}, jax.random.key(0), sequence([[1] * 4]), context
        )


def test_a_model_without_decode_is_refused_in_words():
    with pytest.raises(ValueError, match="Blind has no decode"):
        dream.open_loop_dream(Blind(), {}, jax.random.key(0), sequence([[1] * 4]), 2)


def test_bytes_and_unit_floats_are_the_same_image():
    truth = jnp.full((2, 3, 4, 4, 1), 51, jnp.uint8)
    assert float(dream._error(truth, jnp.full(truth.shape, 0.2)).max()) < 1e-6
    as_bytes = dream._float(jnp.full((4, 4, 1), 51, jnp.uint8), truth)
    np.testing.assert_allclose(as_bytes, 0.2, rtol=1e-6)


def test_play_stops_being_valid_when_the_episode_ends():
    env = Catch()
    steps, valid = dream.play(Uniform(env.spec), env, {}, jax.random.key(1), 3, 9)
    assert steps.timestep.observation.shape == (3, 9, 16, 16, 1)
    np.testing.assert_array_equal(valid.sum(1), [6, 6, 6])
    assert bool(steps.timestep.is_first[:, 0].all())
    cut = dream.window(steps, valid, frames=8, rows=2)
    assert cut.action.shape == (2, 6)


def test_window_takes_the_middle_of_long_episodes():
    steps = sequence(np.ones((3, 20), int))
    valid = jnp.arange(20)[None] < jnp.array([20, 4, 16])[:, None]
    cut = dream.window(steps, valid, frames=8, rows=2)
    np.testing.assert_array_equal(cut.timestep.reward[:, 0], [8, 8])
    assert cut.action.shape == (2, 8)


class Counter:
    """A host environment that hands out the same memory every time."""

    num_envs = 2
    spec = SPEC

    def reset(self):
        self.observation = np.zeros((2, 1), np.float32)
        return self._timestep(True)

    def step(self, action):
        self.observation += action[:, None]
        return self._timestep(False)

    def _timestep(self, first):
        flags = np.full(2, first), np.zeros(2, bool)
        ones = np.ones(2, np.float32)
        return TimeStep(self.observation, 0 * ones, ones, *flags)


def test_play_copies_what_a_host_environment_hands_out():
    agent = Uniform(SPEC, action=2)
    steps, valid = dream.play(agent, Counter(), {}, jax.random.key(0), 2, 4)
    np.testing.assert_array_equal(steps.timestep.observation[0, :, 0], [0, 2, 4, 6])
    assert bool(valid.all())
