"""`wm.envs.check`: each fault is named."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from wm.envs import check_or_raise, make
from wm.envs.check import check
from wm.envs.timesteps import first, following
from wm.errors import UserError
from wm.types import ArraySpec, EnvSpec


class Good:
    """A point that moves by its action; 8 steps."""

    spec = EnvSpec(observation=ArraySpec((1,)), action=ArraySpec((1,)), time_limit=8)

    def reset(self, key):
        state = {"x": jax.random.uniform(key, (1,)), "time": jnp.zeros((), jnp.int32)}
        return state, first(state["x"])

    def step(self, state, action):
        x = state["x"] + self.push(action)
        state = {"x": x, "time": state["time"] + 1}
        return state, following(x, x[0], truncated=state["time"] >= 8)

    def push(self, action):
        return jnp.clip(action, -1.0, 1.0)


def step_with(**changes):
    class Bad(Good):
        def step(self, state, action):
            state, timestep = super().step(state, action)
            return state, timestep._replace(**changes)

    return Bad()


class Growing(Good):
    def step(self, state, action):
        state, timestep = super().step(state, action)
        return {**state, "x": state["x"].astype(jnp.float16)}, timestep


class Endless(Good):
    def step(self, state, action):
        state, timestep = super().step(state, action)
        return state, timestep._replace(is_last=jnp.zeros((), bool))


class Unclipped(Good):
    def push(self, action):
        return action


class Diverging(Good):
    def push(self, action):
        return jnp.where(action > -2, 1e38, 0.0)


class Impure(Good):
    def __init__(self):
        self.calls = 0

    def step(self, state, action):
        self.calls += 1
        state, timestep = super().step(state, action)
        return state, timestep._replace(reward=jnp.float32(self.calls))


class Raising(Good):
    def step(self, state, action):
        raise KeyError("wheel")


class NoReset(Good):
    reset = property(lambda self: self.missing)


def with_spec(**changes):
    env = Good()
    env.spec = dataclasses.replace(Good.spec, **changes)
    return env


FAULTS = [
    (object(), "it has no `spec`"),
    (NoReset(), "it has no `reset`"),
    (with_spec(action=ArraySpec((), "int32")), "discrete ones need classes"),
    (with_spec(observation=ArraySpec((2,))), r"has shape \(1,\), expected \(2,\)"),
    (with_spec(observation={"x": ArraySpec((1,))}), "the spec says PyTreeDef"),
    (with_spec(observation=ArraySpec((1,), "uint8")), "is float32, expected uint8"),
    (with_spec(legal=True), "legal is missing"),
    (with_spec(time_limit=4), "an episode went on after 4 steps"),
    (step_with(reward=1.0), "reward is a float, not an array"),
    (step_with(discount=jnp.float32(0.9)), "discount must be 0, 1 or -1"),
    (step_with(discount=jnp.float32(0.0)), "discount is 0 in a step that is not"),
    (step_with(is_first=jnp.ones((), bool)), "an Env never resets itself"),
    (Growing(), "state.*float32.* after reset and .*float16.* after step"),
    (Endless(), "an episode went on after 8 steps"),
    (Unclipped(), "action 3 differs from action 1"),
    (Diverging(), "NaN or infinite"),
    (Impure(), "different results for the same state and action"),
    (Raising(), "KeyError while playing: 'wheel'"),
]


@pytest.mark.parametrize(
    ("env", "words"), FAULTS, ids=[words[:30] for _, words in FAULTS]
)
def test_the_fault_is_named(env, words):
    with pytest.raises(UserError, match=words):
        check_or_raise(env)


def test_nothing_is_found_wrong_with_a_good_one():
    assert check(Good()) == []
    check_or_raise(make("pixels/catch"))
