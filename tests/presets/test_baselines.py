"""Presets of the model-free systems build, trace at full size and keep their counts."""

import jax
import jax.numpy as jnp
import pytest

import wm
from wm.presets import compose, of
from wm.train.loop import loop_of
from wm.train.schedule import Schedule
from wm.types import ArraySpec, EnvSpec, TimeStep

ALL = [
    (system, name)
    for system in ("dqn", "reinforce", "a2c", "ppo", "sac")
    for name in of(system)
]


def spec_for(system: str, name: str) -> EnvSpec:
    """What the preset is for."""
    discrete = ArraySpec((), "int32", 6)
    if name in ("atari", "nature"):
        return EnvSpec(ArraySpec((84, 84, 1), "uint8"), discrete)
    vectors = {"joints": ArraySpec((11,)), "speed": ArraySpec((2,))}
    continuous = system == "sac" or name in ("brax", "pendulum", "cleanrl_continuous")
    return EnvSpec(vectors, ArraySpec((3,)) if continuous else discrete)


@pytest.mark.parametrize(("system", "name"), ALL)
def test_preset_builds_and_traces_one_update_at_full_size(system, name):
    agent = wm.agent(system, spec_for(system, name), preset=name)
    loop = loop_of(agent, Schedule(**agent.schedule))
    state = jax.eval_shape(agent.init, jax.random.key(0))
    zeros = lambda *lead: TimeStep(
        observation=jax.tree.map(
            lambda x: jnp.zeros((*lead, *x.shape), x.dtype), agent.spec.observation
        ),
        reward=jnp.zeros(lead),
        discount=jnp.ones(lead),
        is_first=jnp.zeros(lead, bool),
        is_last=jnp.zeros(lead, bool),
    )
    first = jax.eval_shape(lambda: zeros(loop.schedule.envs))
    buffer = jax.eval_shape(loop.buffer.init, loop.example(state, first))
    key = jax.random.key(0)
    draw = lambda buffer, key: loop.draw(buffer, loop.update_keys(key)[1])[1]
    batches = jax.eval_shape(draw, buffer, key)
    new, _, metrics = jax.eval_shape(agent.update, state, key, batches)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert shapes(new) == shapes(state)
    assert all(x.shape == () for x in metrics.values())


@pytest.mark.parametrize(("system", "name"), ALL)
def test_every_preset_says_its_source(system, name):
    assert of(system)[name].source


@pytest.mark.parametrize(
    ("system", "name", "envs", "every", "updates"),
    [
        ("ppo", "default", 5, 100, 1),
        ("ppo", "atari", 8, 128, 1),
        ("a2c", "sb3", 8, 5, 1),
        ("dqn", "cleanrl", 1, 10, 1),
        ("dqn", "sb3", 1, 4, 1),
        ("dqn", "default", 10, 1, 5),
        ("sac", "cleanrl", 1, 1, 1),
        ("sac", "brax", 128, 1, 64),
    ],
)
def test_updates_per_step_are_the_published_ones(system, name, envs, every, updates):
    schedule = Schedule(**compose(system, name).schedule)
    assert schedule.envs == envs
    assert schedule.chunk_updates() == (every, updates)


@pytest.mark.parametrize("name", ["cleanrl", "cleanrl_continuous", "atari"])
def test_the_step_size_reaches_zero_with_the_budget(name):
    preset = compose("ppo", name)
    schedule, agent = preset.schedule, preset.agent
    iterations = schedule["total"] // (schedule["envs"] * schedule["chunk"])
    steps = iterations * agent["epochs"] * agent["minibatches"]
    assert agent["anneal_updates"] == steps
