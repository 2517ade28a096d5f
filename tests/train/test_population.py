"""Hyperparameters as rows: a population equals separate runs."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.agents.streams import newest
from wm import cli, envs
from wm.agents.q_learning import QLearning
from wm.agents.reinforce import Reinforce
from wm.agents.sac import SAC
from wm.envs.probe import make_hidden_point
from wm.errors import UserError
from wm.train import introduce, recipes
from wm.train.population import Population, member, numbers
from wm.train.results import Run
from wm.train.run import train
from wm.train.schedule import Schedule

MAZE = Schedule(total=3_000, prefill=0, log_steps=1_000, eval_episodes=2)


def maze(**settings):
    env = envs.make("grid/dyna_maze")
    config = dataclasses.replace(QLearning.Config(), **settings)
    return QLearning(env.spec, config), env


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    agent, env = maze()
    out = tmp_path_factory.mktemp("population") / "run"
    rates = {"rate": (0.1, 0.5), "gamma": (0.9,)}
    return train(agent, env, MAZE, seeds=2, seed=5, out=out, hypers=rates, quiet=True)


def test_a_population_equals_separate_runs(run, tmp_path):
    # Rows: rate 0.1 with seeds 5 and 6, rate 0.5 with seeds 7 and 8.
    agent, env = maze(rate=0.5, gamma=0.9)
    one = train(agent, env, MAZE, seed=7, out=tmp_path / "one", quiet=True)
    ours, alone = run.state(7), one.state()
    assert float(ours.hypers["rate"]) == 0.5
    tables = [jax.tree.leaves(x.params) for x in (ours, alone)]
    assert max(float(jnp.abs(x).max()) for x in tables[1]) > 0.4
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *tables
    )
    np.testing.assert_array_equal(run.scores[2], one.scores[0])


def test_rows_carry_their_values(run):
    rows = run.metrics()
    values = {row["seed"]: row["hypers/rate"] for row in rows}
    assert values == {5: 0.1, 6: 0.1, 7: 0.5, 8: 0.5}
    assert {row["hypers/gamma"] for row in rows} == {0.9}
    assert json.loads((run.path / "config.json").read_text())["hypers"] == {
        "rate": [0.1, 0.5],
        "gamma": [0.9],
    }


def test_a_population_is_opened_and_continued(run, tmp_path):
    again = Run(run.path)
    assert isinstance(again.agent, Population)
    assert again.agent.members[2] == {"rate": 0.5, "gamma": 0.9}
    assert again.scores.shape == (4, 2)
    agent, env = maze()
    with pytest.raises(UserError, match=r"--hypers.rate"):
        train(agent, env, MAZE, seeds=2, seed=5, out=run.path, quiet=True,
              hypers={"rate": (0.1, 0.6), "gamma": (0.9,)})  # fmt: skip


def test_the_end_says_every_value(run):
    scores = np.array([[1.0], [3.0], [5.0], [5.0]])
    assert introduce.members(run.agent, scores) == [
        "  gamma 0.9, rate 0.1: 2.00 ± 1.00",
        "  gamma 0.9, rate 0.5: 5.00 ± 0.00",
    ]
    assert introduce.members(run.agent.base, scores) == []
    assert member(run.agent.base, 0) == {}


def test_updates_of_rows_are_those_of_agents_with_these_settings():
    env = make_hidden_point()
    sac = lambda **settings: SAC(env.spec, SAC.Config(layers=(4,), **settings))
    values = {"actor_rate": (1e-3, 1e-2), "alpha": (0.5, 0.2)}
    both = Population(sac(), values)
    _, batches = newest(both, env)
    keys = jax.random.split(jax.random.key(3), 5)

    def learnt(agent, state):
        step = lambda state, key: (agent.update(state, key, batches)[0], None)
        return jax.lax.scan(step, state, keys)[0]

    def all_rows(rows):
        init = lambda row: learnt(both, both.init(jax.random.key(0), row))
        return jax.vmap(init)(rows)

    rows = jax.jit(all_rows)(both.rows)
    assert rows.hypers["alpha"].tolist() == both.rows["alpha"].tolist()
    one = sac(**both.members[3])
    alone = jax.jit(lambda: learnt(one, one.init(jax.random.key(0))))()
    jax.tree.map(
        lambda rows, b: np.testing.assert_allclose(rows[3], b, rtol=2e-4, atol=2e-6),
        rows.agent,
        alone,
    )
    actors = jax.tree.leaves(rows.agent.actor)
    assert max(np.abs(x[0] - x[2]).max() for x in actors) > 1e-3


def test_settings_are_named_and_checked():
    agent, _ = maze()
    assert numbers(agent.config) == ["rate", "gamma", "epsilon"]
    with pytest.raises(UserError, match=r"no such number. Did you mean rate\?"):
        Population(agent, {"rat": (0.1,)})
    with pytest.raises(UserError, match=r"--hypers.gamma 7: --agent.gamma must be"):
        Population(agent, {"gamma": (0.9, 7.0)})
    with pytest.raises(UserError, match="needs values"):
        Population(agent, {"rate": ()})
    with pytest.raises(UserError, match=r"--hypers.rate has 0.1 twice; .*--seeds"):
        Population(agent, {"rate": (0.1, 0.2, 0.1)})


def test_what_decides_the_program_cannot_be_a_row():
    spec = envs.make("gymnax/CartPole-v1").spec
    agent = Population(
        Reinforce(spec, Reinforce.Config(layers=(4,), max_norm=0.5)),
        {"max_norm": (0.5, 1.0)},
    )
    with pytest.raises(UserError, match=r"--hypers.max_norm: Reinforce builds its"):
        jax.eval_shape(agent.init, jax.random.key(0))


def test_rows_are_the_same_whichever_way_round_they_were_named():
    agent, _ = maze()
    one = {"rate": (0.1, 0.5), "gamma": (0.9, 0.8)}
    other = {"gamma": (0.9, 0.8), "rate": (0.1, 0.5)}
    assert Population(agent, one).members == Population(agent, other).members


def test_methods_that_an_agent_lacks_stay_away():
    agent, _ = maze()
    population = Population(agent, {"rate": (0.1,)})
    assert not hasattr(population, "fit")
    assert hasattr(population, "update") == hasattr(agent, "update")
    assert population.config is agent.config
    assert recipes.target_of(population.base).endswith(":QLearning")


def test_hypers_of_the_command_line(tmp_path, capsys):
    words = ["train", "q_learning", "--env", "grid/dyna_maze", "--dry"]
    assert cli.main([*words, "--hypers.rate", "0.1,0.5", "--seeds", "3"]) == 0
    assert "× 6 seeds" in capsys.readouterr().out
    assert cli.main([*words, "--hypers.rate", "fast"]) == 2
    assert "--hypers.rate needs numbers" in capsys.readouterr().err
