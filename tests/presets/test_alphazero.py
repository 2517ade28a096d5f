"""Presets of AlphaZero: they build on their games and hold the longest one."""

import dataclasses

import jax
import pytest

import wm
from wm.presets import compose, of
from wm.train.schedule import Schedule

pytest.importorskip("pgx")
GAMES = {
    "default": "gardner_chess",
    "paper": "go_9x9",
    "connect_four_hour": "connect_four",
}


@pytest.mark.parametrize("name", of("alphazero"))
def test_preset_builds_on_its_game(name):
    env = wm.env(f"pgx/{GAMES.get(name, name)}", rules=True)
    preset = compose("alphazero", name)
    agent = wm.agent("alphazero", env.spec, preset=name)
    schedule = dataclasses.replace(Schedule(), **preset.schedule)
    buffer = agent.buffer(schedule)
    _, W = agent.batches(schedule)["label"]
    longest = env.spec.time_limit or agent.config.game_moves
    assert buffer.capacity // schedule.envs >= W == longest + schedule.chunk
    params = jax.eval_shape(agent.init, jax.random.key(0)).params["policy"]
    assert sum(x.size for x in jax.tree.leaves(params)) > 5_000
    assert preset.env == {"rules": True}


def test_the_papers_values():
    preset = compose("alphazero", "paper")
    published = {"search.simulations": 800, "net.layers": 19, "net.units": 256}
    published |= {"learning_rate": 0.2, "weight_decay": 1e-4, "optimizer": "sgd"}
    published |= {"search.temperature_moves": 30, "search.method": "puct"}
    published |= {"search.statistics": "bounds"}
    assert published.items() <= preset.agent.items()
    assert preset.schedule["batch_size"] == 4_096
