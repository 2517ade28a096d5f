"""Presets of AlphaGo: they build on their games and reach the fit of the value net."""

import dataclasses

import jax
import pytest

import wm
from wm.presets import compose, of
from wm.train.schedule import Schedule

pytest.importorskip("pgx")


@pytest.mark.parametrize("name", of("alphago"))
def test_preset_builds_on_its_game(name):
    env = wm.env(f"pgx/{'go_9x9' if name == 'default' else name}", rules=True)
    preset = compose("alphago", name)
    agent = wm.agent("alphago", env.spec, preset=name)
    schedule = dataclasses.replace(Schedule(), **preset.schedule)
    buffer = agent.buffer(schedule)
    _, W = agent.batches(schedule)["newest"]
    assert W == env.spec.time_limit + schedule.chunk + 1 == buffer.window.T + 1
    params = jax.eval_shape(agent.init, jax.random.key(0)).params["policy"]
    assert sum(x.size for x in jax.tree.leaves(params)) > 5_000
    assert preset.env == {"rules": True}


def test_the_papers_values():
    spec = wm.env("pgx/go_9x9", rules=True).spec
    config = wm.agent("alphago", spec, preset="go_9x9").config
    assert (config.net.layers, config.net.units, config.net.value_units) == (
        6,
        192,
        256,
    )
    assert (config.mixing, config.prior_temperature, config.prior) == (
        0.5, 0.67, "supervised",
    )  # fmt: skip
    assert config.symmetry == "square"
