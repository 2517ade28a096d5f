"""`wm.envs.wrappers`: each on an environment whose numbers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.envs import make, wrappers
from wm.envs.timesteps import first, following
from wm.types import ArraySpec, EnvSpec


class Counting:
    """Observation [n], reward n; the third step is terminal. Action taken is shown."""

    spec = EnvSpec(
        observation=ArraySpec((2,)),
        action=ArraySpec((), "int32", 4),
        time_limit=3,
        random_return=6.0,
    )
    autoreset = "pooled"

    def reset(self, key):
        return jnp.zeros((), jnp.int32), first(jnp.zeros(2))

    def step(self, state, action):
        n = state + 1
        observation = jnp.stack([n, action]).astype(jnp.float32)
        return n, following(observation, n, terminal=n >= 3)


class Mixed:
    """A dict of an image, a vector and a class index."""

    spec = EnvSpec(
        observation={
            "image": ArraySpec((3, 5, 1), "uint8"),
            "vector": ArraySpec((2,)),
            "index": ArraySpec((), "int32", 3),
        },
        action=ArraySpec((1,)),
    )

    def reset(self, key):
        observation = {
            "image": jnp.full((3, 5, 1), 200, jnp.uint8),
            "vector": jnp.array([1.0, 2.0]),
            "index": jnp.asarray(2, jnp.int32),
        }
        return (), first(observation)


class Vectors(Mixed):
    spec = EnvSpec(
        observation={k: v for k, v in Mixed.spec.observation.items() if k != "image"},
        action=ArraySpec((1,)),
    )

    def reset(self, key):
        state, timestep = super().reset(key)
        return state, timestep._replace(
            observation={k: timestep.observation[k] for k in self.spec.observation}
        )


KEY = jax.random.key(0)


def play(env, *actions):
    state, timestep = env.reset(KEY)
    for action in actions:
        state, timestep = env.step(state, jnp.asarray(action))
    return timestep


def test_time_limit_truncates_and_keeps_the_discount():
    env = wrappers.time_limit(Counting(), 2)
    assert env.spec.time_limit == 2
    assert not play(env, 0).is_last
    assert play(env, 0, 0).is_last
    assert play(env, 0, 0).discount == 1


def test_a_terminal_at_the_time_limit_stays_a_terminal():
    timestep = play(wrappers.time_limit(Counting(), 3), 0, 0, 0)
    assert timestep.is_last
    assert timestep.discount == 0


def test_action_repeat_sums_rewards_and_stops_at_the_end():
    env = wrappers.action_repeat(Counting(), 2)
    assert play(env, 1).reward == 1 + 2
    last = play(env, 1, 1)
    assert last.reward == 3
    assert last.is_last
    assert last.discount == 0
    np.testing.assert_array_equal(last.observation, [3, 1])


def test_action_repeat_says_its_length_and_factor():
    spec = wrappers.action_repeat(Counting(), 2).spec
    assert (spec.time_limit, spec.action_repeat) == (2, 2)
    assert wrappers.action_repeat(wrappers.time_limit(Counting(), 9), 1).steps == 9


def test_sticky_actions_repeat_as_often_as_asked():
    env = wrappers.sticky_actions(Counting(), 0.25)

    def second_action_played(key):
        state, _ = env.reset(key)
        state, one = env.step(state, jnp.asarray(1))
        state, two = env.step(state, jnp.asarray(2))
        return one.observation[1], two.observation[1]

    one, two = jax.vmap(second_action_played)(jax.random.split(KEY, 4000))
    assert abs(np.mean(one == 0) - 0.25) < 0.03
    assert abs(np.mean(two != 2) - 0.25) < 0.03
    assert env.spec.random_return is None


def test_never_sticky_changes_nothing():
    env = wrappers.sticky_actions(Counting(), 0.0)
    np.testing.assert_array_equal(play(env, 3).observation, [1, 3])


def test_flatten_joins_sorted_names_with_classes_one_hot():
    env = wrappers.flatten(Vectors())
    assert env.spec.observation == ArraySpec((5,))
    _, timestep = env.reset(KEY)
    np.testing.assert_array_equal(timestep.observation, [0, 0, 1, 1, 2])


def test_flatten_refuses_images():
    with pytest.raises(ValueError, match="image"):
        wrappers.flatten(Mixed())


def test_scale_changes_vectors_only():
    _, timestep = wrappers.scale(Mixed(), 2.0, -1.0).reset(KEY)
    np.testing.assert_array_equal(timestep.observation["vector"], [1.0, 3.0])
    assert timestep.observation["image"].max() == 200
    assert timestep.observation["index"] == 2


def test_pad_centres_and_resize_interpolates():
    padded = wrappers.pad(Mixed(), 8)
    _, timestep = padded.reset(KEY)
    image = timestep.observation["image"]
    assert padded.spec.observation["image"] == ArraySpec((8, 8, 1), "uint8")
    assert image.shape == (8, 8, 1)
    assert (image[2:5, 1:6] == 200).all()
    assert image.sum(dtype=jnp.int32) == 200 * 15
    _, timestep = wrappers.resize(Mixed(), 8).reset(KEY)
    assert (timestep.observation["image"] == 200).all()
    assert timestep.observation["image"].dtype == jnp.uint8


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: wrappers.time_limit(Counting(), 0), "time_limit must be at least 1"),
        (lambda: wrappers.action_repeat(Counting(), 0), "action_repeat must be"),
        (lambda: wrappers.sticky_actions(Counting(), 1.0), "probability must be in"),
        (lambda: wrappers.pad(Mixed(), 4), "do not fit into size 4"),
        (lambda: wrappers.resize(Mixed(), 0), "size must be at least 1"),
    ],
)
def test_impossible_values_are_named(build, match):
    with pytest.raises(ValueError, match=match):
        build()


def test_wrappers_have_no_leaves_and_pass_the_reset_mode_on():
    env = make("pixels/catch")
    wrapped = wrappers.sticky_actions(wrappers.pad(env, 32))
    wrapped = wrappers.action_repeat(wrappers.time_limit(wrapped, 4), 2)
    assert jax.tree.leaves(wrapped) == []
    assert wrapped.autoreset == "exact"
    assert wrappers.time_limit(Counting(), 2).autoreset == "pooled"
