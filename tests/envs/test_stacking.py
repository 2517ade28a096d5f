"""`wm.envs.stacking`: on the device and on the host, frame by frame."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.envs.batched import batch
from wm.envs.registry import make
from wm.envs.stacking import stacked
from wm.envs.timesteps import first, following
from wm.train.host_env import AsHost
from wm.types import ArraySpec, EnvSpec


class Counting:
    """Observations [n, -n]; the third step is terminal."""

    spec = EnvSpec(
        observation=ArraySpec((2,)),
        action=ArraySpec((), "int32", 2),
        reward_fn=lambda s, a, t: 0.0,
    )
    autoreset = "exact"

    def reset(self, key):
        return jnp.ones((), jnp.int32), first(jnp.array([1.0, -1.0]))

    def step(self, state, action):
        n = state + 1
        seen = n * jnp.array([1.0, -1.0])
        return n, following(seen, n.astype(jnp.float32), terminal=n >= 4)


EXPECTED = [[1, 1, 1], [1, 1, 2], [1, 2, 3], [2, 3, 4], [1, 1, 1], [1, 1, 2]]
"""n of the three newest, the fifth after a reset."""


def rows_of(reset, step):
    seen = [reset()] + [step() for _ in range(5)]
    return np.stack([np.asarray(timestep.observation) for timestep in seen])


def expected(n):
    return np.stack([np.array(EXPECTED), -np.array(EXPECTED)], -1).reshape(6, 6)


def test_on_the_device_and_on_the_host():
    env = stacked(Counting(), 3)
    assert env.spec.observation == ArraySpec((6,))
    assert env.spec.reward_fn is None  # a function of the last frame alone
    many, holder = batch(env), {}

    def reset():
        holder["state"], timestep = many.reset(jax.random.key(0), 2)
        return timestep

    def step():
        action = jnp.zeros(2, jnp.int32)
        holder["state"], timestep = many.step(holder["state"], action)
        return timestep

    seen = rows_of(reset, step)
    np.testing.assert_array_equal(seen[:, 0], expected(3))
    np.testing.assert_array_equal(seen[:, 1], expected(3))

    host = stacked(AsHost(Counting(), 2, jax.random.key(0)), 3)
    found = rows_of(host.reset, lambda: host.step(np.zeros(2, np.int32)))
    np.testing.assert_array_equal(found, seen)


def test_images_keep_their_type_and_one_changes_nothing():
    env = make("pixels/catch", stack=4)
    plain = make("pixels/catch")
    height, width, channels = plain.spec.observation.shape
    assert env.spec.observation == ArraySpec((height, width, 4 * channels), "uint8")
    timestep = env.reset(jax.random.key(0))[1]
    assert timestep.observation.dtype == jnp.uint8
    assert make("pixels/catch", stack=1).spec == plain.spec


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(ValueError, match="stack must be at least 1, got 0"):
        make("pixels/catch", stack=0)
    with pytest.raises(ValueError, match="stack must be 1, got 2: grid/dyna_maze"):
        make("grid/dyna_maze", stack=2)


def test_presets_of_atari_see_four_frames():
    from wm.presets import compose

    assert compose("dqn", "nature").env["stack"] == 4
    assert compose("ppo", "atari").env["stack"] == 4
    spec = EnvSpec(ArraySpec((84, 84, 4), "uint8"), ArraySpec((), "int32", 4))
    params = jax.eval_shape(
        wm.agent("dqn", spec, preset="nature").init, jax.random.key(0)
    )
    assert any(x.shape[-2:-1] == (4,) for x in jax.tree.leaves(params) if x.ndim == 4)
