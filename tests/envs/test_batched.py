"""`wm.envs.batched`: every mode of continuing a row that ended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.envs import batch, make
from wm.envs.batched import POOL_SHARE
from wm.envs.timesteps import first, following
from wm.types import ArraySpec, EnvSpec

MODES = ("exact", "lazy", "pooled", "cached", "off")


class Plain:
    """A plain object, no pytree: counts to 3, terminal; state is a Python number."""

    spec = EnvSpec(observation=ArraySpec((1,)), action=ArraySpec((), "int32", 2))

    def reset(self, key):
        return {"n": 0}, first(jnp.zeros(1))

    def step(self, state, action):
        n = state["n"] + 1
        return {"n": n}, following(jnp.full(1, n, jnp.float32), action, n >= 3)


class Noisy:
    """Shows where it started and a number drawn in the step; two steps."""

    spec = EnvSpec(observation=ArraySpec((2,)), action=ArraySpec((), "int32", 2))

    def reset(self, key):
        key, key_start = jax.random.split(key)
        start = jax.random.uniform(key_start)
        state = {"key": key, "start": start, "time": jnp.zeros((), jnp.int32)}
        return state, first(jnp.stack([start, 0.0]))

    def step(self, state, action):
        key, key_noise = jax.random.split(state["key"])
        state = {**state, "key": key, "time": state["time"] + 1}
        observation = jnp.stack([state["start"], jax.random.uniform(key_noise)])
        return state, following(observation, 0.0, truncated=state["time"] >= 2)


def stream(env, mode, rows=4, steps=60, seed=0):
    batched = batch(env, mode)

    @jax.jit
    def play(batched, key):
        key_reset, key_act = jax.random.split(key)
        state, start = batched.reset(key_reset, rows)
        actions = jax.random.randint(
            key_act, (steps, rows), 0, batched.spec.action.classes
        )
        _, rest = jax.lax.scan(batched.step, state, actions)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, rest)

    return jax.tree.map(np.asarray, play(batched, jax.random.key(seed)))


def test_unknown_mode_is_named():
    with pytest.raises(
        ValueError, match="exact, lazy, pooled, cached, own, off, got 'fast'"
    ):
        batch(Plain(), "fast")


def test_default_mode_is_the_sources_own():
    class Costly(Plain):
        autoreset = "pooled"

    assert batch(Plain()).autoreset == "exact"
    assert batch(Costly()).autoreset == "pooled"
    assert batch(Costly(), "cached").autoreset == "cached"


@pytest.mark.parametrize("mode", MODES[:4])
def test_step_after_last_is_first_with_reward_zero_and_ignores_the_action(mode):
    out = stream(Plain(), mode, rows=2, steps=8)
    np.testing.assert_array_equal(out.observation[:, 0, 0], [0, 1, 2, 3, 0, 1, 2, 3, 0])
    np.testing.assert_array_equal(
        out.is_first[:, 0], [1, 0, 0, 0, 1, 0, 0, 0, 1], strict=False
    )
    np.testing.assert_array_equal(
        out.is_last[:, 0], [0, 0, 0, 1, 0, 0, 0, 1, 0], strict=False
    )
    np.testing.assert_array_equal(out.discount[:, 0], [1, 1, 1, 0, 1, 1, 1, 0, 1])
    assert (out.reward[out.is_first] == 0).all()


def test_off_freezes_rows_that_ended():
    out = stream(Plain(), "off", rows=2, steps=6)
    np.testing.assert_array_equal(out.observation[:, 0, 0], [0, 1, 2, 3, 3, 3, 3])
    np.testing.assert_array_equal(
        out.is_last[:, 0], [0, 0, 0, 1, 1, 1, 1], strict=False
    )
    np.testing.assert_array_equal(out.reward[4:], 0)
    np.testing.assert_array_equal(out.discount[3:], 0)
    assert not out.is_first[1:].any()


def test_exact_draws_a_new_start_every_time():
    out = stream(make("probe/step_counter"), "exact")
    stamps = out.observation[..., 0][out.is_first]
    assert len(set(stamps)) == len(stamps)


def test_lazy_is_the_stream_of_exact():
    env = make("probe/step_counter")
    for a, b in zip(stream(env, "lazy"), stream(env, "exact"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_pooled_uses_a_start_once_while_episodes_are_long_enough():
    env = make("probe/step_counter", shortest=POOL_SHARE, longest=3 * POOL_SHARE)
    out = stream(env, "pooled", rows=POOL_SHARE, steps=8 * POOL_SHARE)
    stamps = out.observation[..., 0][out.is_first]
    assert len(stamps) > 3 * POOL_SHARE
    assert len(set(stamps)) == len(stamps)


def test_pooled_keeps_going_where_episodes_are_shorter_than_the_pool_allows():
    out = stream(make("probe/step_counter", shortest=1, longest=1), "pooled", rows=4)
    assert out.is_first[::2].all()
    assert out.is_last[1::2].all()


def test_cached_restarts_where_the_row_began_with_fresh_randomness():
    out = stream(Noisy(), "cached", rows=3, steps=11)
    start, noise = out.observation[::3, :, 0], out.observation[1::3, :, 1]
    assert out.is_first[::3].all()
    np.testing.assert_array_equal(start, np.broadcast_to(start[:1], start.shape))
    assert len(np.unique(start[0])) == 3
    assert len(np.unique(noise)) == noise.size


def test_rows_differ_and_do_not_depend_on_each_other():
    env = batch(make("gymnax/CartPole-v1"), "exact")
    state, start = env.reset(jax.random.key(0), 4)
    assert len(np.unique(start.observation, axis=0)) == 4
    one, other = jnp.array([0, 0, 0, 0]), jnp.array([0, 1, 1, 1])
    _, a = env.step(state, one)
    _, b = env.step(state, other)
    np.testing.assert_array_equal(a.observation[0], b.observation[0])
    assert (a.observation[1:] != b.observation[1:]).any()


@pytest.mark.parametrize("mode", MODES)
def test_vmap_over_seeds_equals_a_loop(mode):
    env = batch(make("probe/step_counter", longest=3), mode)

    def play(key):
        actions = jnp.zeros((12, 3), jnp.int32)
        return jax.lax.scan(env.step, env.reset(key, 3)[0], actions)[1].observation

    keys = jax.random.split(jax.random.key(0), 2)
    together = jax.jit(jax.vmap(play))(keys)
    for row, key in zip(together, keys, strict=True):
        np.testing.assert_array_equal(row, jax.jit(play)(key))
