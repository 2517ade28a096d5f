"""Presets of EfficientZero build, trace at full size, and hold published values."""

import jax
import pytest

import wm
from tests.presets.traced import one_update, shapes
from wm.presets import compose, of
from wm.types import ArraySpec, EnvSpec

VECTOR = EnvSpec(ArraySpec((4,)), ArraySpec((), "int32", 3))
ATARI = EnvSpec(ArraySpec((96, 96, 3), "uint8"), ArraySpec((), "int32", 6))
SMALL = EnvSpec(ArraySpec((16, 16, 1), "uint8"), ArraySpec((), "int32", 3))
SPECS = {"atari100k": ATARI, "atari100k+v2": ATARI, "pixels": SMALL}
ALONE = [name for name in of("efficientzero") if name != "v2"]


@pytest.mark.parametrize("name", [*ALONE, "atari100k+v2"])
def test_preset_builds_and_traces_one_update_at_full_size(name):
    agent = wm.agent("efficientzero", SPECS.get(name, VECTOR), preset=name)
    state, new, metrics = one_update(agent)
    assert shapes(new) == shapes(state)
    assert all(x.shape == () for x in metrics.values())


def test_every_preset_says_its_source():
    assert all(preset.source for preset in of("efficientzero").values())


def test_nets_of_atari_have_the_published_sizes():
    """8.43M parameters in all, projector 4.47M, predictor 1.05M (counted in theirs)."""
    agent = wm.agent("efficientzero", ATARI, preset="atari100k")
    params = jax.eval_shape(agent.model.init, jax.random.key(0))
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree)) / 1e6
    model = params["model"]
    assert size(params) == pytest.approx(8.43, rel=0.03)
    assert size(model["project"]) == pytest.approx(4.47, rel=0.01)
    assert size(model["predict"]) == pytest.approx(1.05, rel=0.01)
    both = size(model["dynamics"]) + size(model["prefix"])
    assert both == pytest.approx(2.46, rel=0.05)


def test_the_papers_values():
    given = compose("efficientzero", "atari100k").agent
    published = {"search.simulations": 50, "steps": 5, "unroll": 5, "pad": 4}
    published |= {"consistency_scale": 2.0, "value_scale": 0.25, "reanalyse": 0.99}
    published |= {"horizon_interval": 30_000, "priority_exponent": 0.6}
    published |= {"model.memory": 512, "model.prefix_horizon": 5, "max_norm": 5.0}
    published |= {"learning_rate": 0.2, "target_updates": 200, "model.stack": 4}
    assert published.items() <= given.items()
    assert given["search.gamma"] == pytest.approx(0.997**4, abs=1e-3)
    second = compose("efficientzero", "atari100k+v2").agent
    published = {"search.method": "gumbel", "search.simulations": 16, "steps": 5}
    published |= {"consistency_scale": 5.0, "value_scale": 0.5, "importance": (1, 1)}
    published |= {"mixed_updates": 30_000, "mixed_age": 5_000}
    assert published.items() <= second.items()
