"""Planning on the rules, and DreamerV3 acting by a planner: by name, from the command
line, and refused where it cannot work."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import pytest

import wm
from tests.models.tiny import CONFIG, SPEC, VECTOR_ACTION, fresh, random_like, timesteps
from wm import cli
from wm.agents.dreamer_v3 import DreamerV3
from wm.agents.mpc import MPC
from wm.api import configure
from wm.errors import UserError
from wm.planners.cem import ICEM, PETS, PLANET
from wm.planners.choice import Planning, TreeConfig
from wm.planners.mppi import MBRL_LIB, TD_MPC
from wm.planners.shooting import GRBAL, MB_MF
from wm.presets import compose, of
from wm.train.evaluate import evaluator


def test_closed_rules_and_wrong_planners_are_one_line():
    with pytest.raises(UserError, match=r"--env\.rules true"):
        wm.agent("mpc", wm.env("classic/pendulum").spec)
    spec = wm.env("grid/dyna_maze", rules=True).spec
    with pytest.raises(ValueError, match=r"planner must be .* got gradient"):
        wm.agent("mpc", spec, planner="gradient")
    with pytest.raises(UserError, match=r"--agent.gamma must be in .* got 0"):
        MPC.Config(gamma=0.0)


@pytest.mark.parametrize(
    ("preset", "planner", "settings"),
    [
        ("pets", "cem", PETS),
        ("planet", "cem", PLANET),
        ("icem", "icem", ICEM),
        ("icem_white", "icem", dataclasses.replace(ICEM, beta=0.0)),
        ("mbrl_lib", "mppi", MBRL_LIB),
        ("td_mpc", "mppi", TD_MPC),
        ("mb_mf", "shooting", MB_MF),
        ("grbal", "shooting", GRBAL),
    ],
)
def test_presets_are_the_published_forms(preset, planner, settings):
    config = configure(MPC.Config, dict(compose("mpc", preset).agent), "agent")
    assert config.planner == planner
    assert getattr(config.plan, planner) == settings
    assert of("mpc")[preset].source


def test_a_run_from_the_command_line(tmp_path):
    """Trains nothing, evaluates, reports; the run opens again with its settings."""
    out = tmp_path / "run"
    words = ["train", "mpc", "--env", "probe/double_integrator", "--out", str(out)]
    words += ["--env.size", "2", "--agent.planner", "icem", "--steps", "8"]
    words += ["--train.eval_episodes", "2", "--agent.plan.icem.horizon", "4"]
    words += ["--agent.plan.icem.samples", "8", "--agent.plan.icem.elites", "3"]
    assert cli.main(words) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["agent"]["config"]["plan"]["icem"]["samples"] == 8
    run = wm.load(out)
    assert run.scores.shape == (1, 2)
    # 2 points idle at −50 or so each, at random −344.
    assert run.scores.mean() > -60
    assert run.agent.config.plan.icem.elites == 3
    assert run.agent.spec.rules is not None


def test_wrong_settings_name_the_option(capsys):
    words = ["train", "mpc", "--env", "classic/pendulum"]
    assert cli.main([*words, "--agent.plan.cem.elites", "9999"]) == 2
    error = capsys.readouterr().err
    assert "--agent.plan.cem.elites must be in [1, samples], got 9999" in error
    words = ["train", "mpc", "--env", "classic/cartpole"]
    assert cli.main([*words, "--agent.planner", "gradient"]) == 2
    assert "--agent.planner must be cem" in capsys.readouterr().err
    words = ["train", "mpc", "--env", "classic/pendulum"]
    assert cli.main([*words, "--agent.planner", "mcts"]) == 2
    assert "--agent.planner must be cem, icem, mppi or shooting" in (
        capsys.readouterr().err
    )


def test_a_tree_on_the_rules_catches_every_ball():
    """Random playouts as values; at random it loses 0.6 on average."""
    env = wm.env("gymnax/Catch-bsuite", rules=True)
    agent = wm.agent("mpc", env.spec, planner="mcts")
    key = jax.random.key(0)
    scores = evaluator(agent, env, 8)(agent.init(key), key)
    assert scores.returns.tolist() == [1.0] * 8


@functools.cache
def dreamer(spec, **changes):
    icem = dataclasses.replace(ICEM, horizon=3, samples=10, elites=4)
    plan = Planning(icem=icem, mcts=TreeConfig(6, draws=3))
    config = dataclasses.replace(CONFIG, plan=plan, **changes)
    agent = DreamerV3(spec, config)
    return agent, fresh(agent)


@pytest.mark.parametrize("spec", [SPEC, VECTOR_ACTION], ids=["classes", "numbers"])
@pytest.mark.parametrize("planner", ["icem", "mcts"])
def test_a_planner_acts_in_the_dream_of_dreamer(spec, planner):
    agent, state = dreamer(spec, planner=planner)
    actor = agent.actor(state)
    read = {"critic", "actor"} if planner == "mcts" else {"critic"}
    assert set(actor["policy"]) == read
    carry, seen = agent.start(actor, 4), timesteps(jax.random.key(1), 4)
    act = lambda mode: jax.jit(
        lambda key, carry: agent.act(actor, key, carry, seen, mode)
    )
    after, action, extras = act("eval")(jax.random.key(2), carry)
    assert action.shape == (4, *spec.action.shape)
    assert set(extras) == {"latent"}
    assert after[2].known.all() if planner == "icem" else (after[2] == 1).all()
    noisy = act("train")(jax.random.key(2), carry)[1]
    assert (action != noisy).any()
    assert jnp.abs(noisy).max() <= (3 if spec.action.discrete else 1)


def test_plans_of_dreamer_count_the_critic_beyond_the_horizon():
    """A critic that pays for nothing else than some state changes the plan."""
    agent, state = dreamer(VECTOR_ACTION, planner="icem")
    actor = agent.actor(state)
    carry, seen = agent.start(actor, 4), timesteps(jax.random.key(1), 4)
    act = jax.jit(
        lambda actor: agent.act(actor, jax.random.key(2), carry, seen, "eval")
    )
    shaken = jax.tree.map(
        lambda x: x + jax.random.normal(jax.random.key(5), x.shape),
        actor["policy"]["critic"],
    )
    other = actor | {"policy": {"critic": shaken}}
    assert (act(actor)[1] != act(other)[1]).any()


@pytest.mark.parametrize("spec", [SPEC, VECTOR_ACTION], ids=["classes", "numbers"])
def test_a_tree_in_dreamer_is_guided_by_its_actor_and_critic(spec):
    agent, state = dreamer(spec, planner="mcts")
    params = random_like(state.params)
    key, there = jax.random.key(1), agent.model.start(params, 2)
    leaf = agent._player.look(params, key, there)
    prior = agent.behavior.actor.distribution(params, there)
    critic = params["policy"]["critic"]
    logits = agent.behavior.critic.apply(critic, agent.model.features(there))
    assert leaf.value.tolist() == agent.behavior.code.mean(logits).tolist()
    assert agent._player.config.gamma == 1 - 1 / agent.config.horizon
    if spec.action.discrete:
        assert leaf.logits.tolist() == prior.log_probs.tolist()
        assert leaf.actions is None
    else:
        assert leaf.actions.shape == (2, 3, 2)
        assert len(set(leaf.actions.ravel().tolist())) == 12


def test_without_a_planner_dreamer_acts_by_its_actor():
    agent, state = dreamer(SPEC)
    assert set(agent.actor(state)["policy"]) == {"actor"}
    assert agent._player is agent._explorer is agent.behavior.actor


def test_dreamer_refuses_gradients_through_classes():
    with pytest.raises(ValueError, match=r"planner must be .* got gradient"):
        dreamer(SPEC, planner="gradient")
    with pytest.raises(UserError, match="plan_noise"):
        dataclasses.replace(CONFIG, plan_noise=-1.0)
