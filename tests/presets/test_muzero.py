"""Presets of MuZero build, trace at full size, and hold the paper's values."""

import jax
import pytest

import wm
from tests.presets.traced import one_update, shapes
from wm.presets import compose, of
from wm.types import ArraySpec, EnvSpec

BOARD = EnvSpec(ArraySpec((9, 9, 17), "bool"), ArraySpec((), "int32", 82), players=2)
VECTOR = EnvSpec(ArraySpec((4,)), ArraySpec((), "int32", 3))
GAMES = {
    "boards": BOARD,
    "2048": EnvSpec(ArraySpec((4, 4, 31), "bool"), ArraySpec((), "int32", 4)),
    "pendulum": EnvSpec(ArraySpec((3,)), ArraySpec((1,))),
    "dmc_state": EnvSpec(ArraySpec((24,)), ArraySpec((6,))),
    "atari": EnvSpec(ArraySpec((96, 96, 3), "uint8"), ArraySpec((), "int32", 18)),
    "atari100k": EnvSpec(ArraySpec((96, 96, 3), "uint8"), ArraySpec((), "int32", 18)),
}
SIZES = {"boards": 20_000_000, "atari": 20_000_000, "atari100k": 400_000}


@pytest.mark.parametrize("name", [*of("muzero"), "cartpole+reanalyse"])
def test_preset_builds_and_traces_one_update_at_full_size(name):
    agent = wm.agent("muzero", GAMES.get(name, VECTOR), preset=name)
    state, new, metrics = one_update(agent)
    assert shapes(new) == shapes(state)
    assert all(x.shape == () for x in metrics.values())
    count = sum(x.size for x in jax.tree.leaves(state.params))
    assert count > SIZES.get(name, 1_000)


def test_the_published_values_of_drawn_actions():
    dmc = compose("muzero", "dmc_state")
    published = {"search.simulations": 50, "sampled.draws": 20, "model.latent": 512}
    published |= {"sampled.entropy_scale": 5e-3, "learning_rate": 1e-4}
    assert published.items() <= dmc.agent.items()
    assert dmc.schedule["batch_size"] == 1_024


def test_the_published_values_of_2048():
    agent = compose("muzero", "2048").agent
    published = {"search.simulations": 100, "codes": 32, "search.gamma": 0.999}
    published |= {"search.method": "stochastic", "steps": 10, "learning_rate": 3e-3}
    assert published.items() <= agent.items()


def test_every_preset_says_its_source():
    assert all(preset.source for preset in of("muzero").values())


def test_the_papers_values():
    atari, boards = (compose("muzero", name).agent for name in ("atari", "boards"))
    both = {"model.layers": 16, "model.units": 256, "weight_decay": 1e-4}
    both |= {"optimizer": "sgd", "search.method": "puct", "search.statistics": "tree"}
    published = {"search.simulations": 50, "search.gamma": 0.997, "steps": 10}
    published |= {"model.stack": 32, "learning_rate": 0.05, "priority_exponent": 1.0}
    published |= {"temperatures": (1.0, 0.5, 0.25), "search.noise_alpha": 0.25}
    assert (both | published).items() <= atari.items()
    published = {"search.simulations": 800, "search.gamma": 1.0, "learning_rate": 0.1}
    published |= {"search.temperature_moves": 30, "priority_exponent": 0.0}
    assert (both | published).items() <= boards.items()
    spec = GAMES["atari"]
    config = wm.agent("muzero", spec, preset="atari").config
    assert (config.unroll, config.value_scale) == (5, 1.0)
    assert (config.model.value_bins, config.model.value_limit) == (601, 300)
    renewed = wm.agent("muzero", spec, preset="atari+reanalyse").config
    assert (renewed.steps, renewed.value_scale, renewed.reanalyse) == (5, 0.25, 0.8)
