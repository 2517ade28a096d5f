"""Presets compose, fit their classes, and build and trace at full size."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from wm.agents.dreamer_v3 import DreamerV3
from wm.errors import UserError
from wm.presets import compose, of
from wm.train.schedule import Schedule
from wm.types import ArraySpec, Batch, EnvSpec, Index, TimeStep

NAMES = tuple(of("dreamer_v3"))
IMAGE = ArraySpec((64, 64, 3), "uint8")
DISCRETE = ArraySpec((), "int32", 18)
VECTORS = {"orientations": ArraySpec((14,)), "velocity": ArraySpec((9,))}


def spec_for(name: str) -> EnvSpec:
    """Observations and actions of the preset's benchmark."""
    if name == "demo":
        return EnvSpec(ArraySpec((16, 16, 1), "uint8"), ArraySpec((), "int32", 3))
    if name in ("dmc_proprio", "v1_2023_dmc"):
        return EnvSpec(VECTORS, ArraySpec((6,)))
    if name in ("atari", "procgen"):
        return EnvSpec(ArraySpec((96, 96, 1), "uint8"), DISCRETE)
    return EnvSpec(IMAGE, DISCRETE)


def batch_for(agent: DreamerV3, state, N: int, L: int) -> Batch:
    """Shapes of a batch, from those of one step of acting."""
    spec = agent.spec
    given = lambda *lead: TimeStep(
        observation=jax.tree.map(
            lambda x: jnp.zeros((*lead, *x.shape), x.dtype), spec.observation
        ),
        reward=jnp.zeros(lead),
        discount=jnp.ones(lead),
        is_first=jnp.zeros(lead, bool),
        is_last=jnp.zeros(lead, bool),
    )

    def made(state):
        actor = agent.actor(state)
        carry = agent.start(actor, N)
        key = jax.random.key(0)
        _, action, extras = agent.act(actor, key, carry, given(N), "train")
        column = lambda x: jnp.broadcast_to(x[:, None], (N, L, *x.shape[1:]))
        zeros = jnp.zeros((N, L), jnp.int32)
        return Batch(
            timestep=given(N, L),
            action=column(action),
            extras=jax.tree.map(column, extras),
            index=Index(zeros, zeros),
            probability=jnp.ones(N),
        )

    return jax.eval_shape(made, state)


@pytest.mark.parametrize("name", NAMES)
def test_preset_builds_and_traces_one_update_at_full_size(name):
    preset = compose("dreamer_v3", name)
    config = dataclasses.replace(DreamerV3.Config(), **preset.agent)
    schedule = dataclasses.replace(Schedule(), **preset.schedule)
    agent = DreamerV3(spec_for(name), config)
    state = jax.eval_shape(agent.init, jax.random.key(0))
    ((batch_name, (N, L)),) = agent.batches(schedule).items()
    batch = batch_for(agent, state, N, L)
    new, feedback, metrics = jax.eval_shape(
        agent.update, state, jax.random.key(0), {batch_name: batch}
    )
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert shapes(new) == shapes(state)
    stored = shapes(batch.extras["latent"])
    assert shapes(feedback[batch_name].fields["latent"]) == stored
    assert all(x.shape == () and x.dtype == jnp.float32 for x in metrics.values())


def test_later_presets_win():
    preset = compose("dreamer_v3", "atari100k+size12m+bfloat16")
    assert preset.agent["deter"] == 2048
    assert preset.agent["dtype"] == "bfloat16"
    assert preset.schedule["train_ratio"] == 256
    assert preset.env == {"protocol": "atari100k"}


def test_no_name_is_no_values():
    preset = compose("dreamer_v3", "")
    assert (preset.agent, preset.schedule, preset.env) == ({}, {}, {})


def test_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean atari100k"):
        compose("dreamer_v3", "atari10k")


def test_a_preset_named_twice_is_refused():
    with pytest.raises(UserError, match=r"demo\+size1m\+demo names demo twice"):
        compose("dreamer_v3", "demo+size1m+demo")


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_says_its_source(name):
    assert of("dreamer_v3")[name].source


@pytest.mark.parametrize(
    ("name", "envs", "every", "updates"),
    [
        ("atari", 16, 2, 1),
        ("atari100k", 1, 4, 1),
        ("dmc_proprio", 16, 1, 16),
        ("dmc_vision", 16, 1, 4),
        ("crafter", 1, 2, 1),
        ("procgen", 16, 1, 1),
        ("demo", 16, 1, 1),
        ("v1_2023_atari100k", 1, 1, 1),
        ("v1_2023_dmc", 4, 1, 2),
    ],
)
def test_updates_per_decision_are_the_published_ones(name, envs, every, updates):
    preset = compose("dreamer_v3", name)
    schedule = dataclasses.replace(Schedule(), **preset.schedule)
    assert schedule.envs == envs
    assert schedule.chunk_updates() == (every, updates)


@pytest.mark.parametrize(
    ("name", "total", "replay", "tier"),
    [
        ("atari", 51_000_000, 5_000_000, "host"),
        ("atari100k", 110_000, 110_000, "device"),
        ("dmc_proprio", 1_100_000, 1_100_000, "device"),
        ("dmc_vision", 1_100_000, 1_100_000, "host"),
        ("crafter", 1_100_000, 1_100_000, "device"),
        ("procgen", 110_000_000, 5_000_000, "host"),
        ("dmlab", 26_000_000, 5_000_000, "host"),
        ("minecraft", None, 5_000_000, "host"),
        ("v1_2023_atari100k", 100_000, 100_000, "device"),
    ],
)
def test_budgets_are_published_and_replay_drops_nothing_within_them(
    name, total, replay, tier
):
    schedule = compose("dreamer_v3", name).schedule
    assert schedule.get("total") == total
    assert schedule["replay"] == replay
    assert schedule.get("replay_tier", "device") == tier


def test_the_agent_of_2023_has_its_published_values():
    """danijar/dreamerv3 8fa35f8, configs.yaml."""
    agent = compose("dreamer_v3", "v1_2023_medium").agent
    published = {"deter": 1024, "units": 640, "depth": 48, "classes": 32}
    published |= {"actor_layers": 3, "critic_layers": 3, "vector_layers": 3}
    published |= {"dyn_scale": 0.5, "actor_unimix": 0.01, "learning_rate": 1e-4}
    published |= {"behavior_learning_rate": 3e-5, "replay_value_scale": 0.0}
    assert published.items() <= agent.items()


def test_listing_presets_imports_no_jax():
    code = (
        "import sys; from wm.presets import of; of('dreamer_v3');"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
