"""`wm.agents.efficientzero`: the loss by hand, ages, gradients, V2's targets."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.agents.readied import IN_LATENTS, KEY, SCHEDULE, Ready, small
from wm.agents.efficientzero import Config, EfficientZero
from wm.data.priority import PrioritizedReplay
from wm.errors import UserError
from wm.ops import losses
from wm.planners.mcts import MCTSConfig
from wm.types import ArraySpec, EnvSpec, Index

SMALL = {
    **IN_LATENTS,
    "search.simulations": 2,
    "model.memory": 4,
    "model.projection": 6,
    "model.bottleneck": 4,
    "reanalyse": 0.5,
    "horizon_interval": 10,
    "pad": 1,
    "intensity": 0.05,
    "mixed_updates": 7,
    "mixed_age": 5,
}


@pytest.fixture(scope="module")
def ready():
    env = wm.env("pixels/catch", size=6)
    return Ready(small("efficientzero", SMALL)(env), env)


def test_the_loss_is_the_papers_by_hand(ready):
    """Step by step in a plain loop, from the model's own outputs."""
    agent, model, params = ready.agent, ready.agent.model, ready.params
    goals = ready.goals(ready.state.agent, KEY, ready.batch)
    views = agent.views(KEY, ready.batch)
    weight = jnp.array([1.0, 0.5, 0.25, 0.125])
    action = ready.batch.action[:, :2]
    total, (metrics, _) = jax.jit(agent.loss)(params, views, action, goals, weight)
    state = model.at(model.start(params, 4).base)
    latent = model.represent(params, views.first)
    by_hand, sums = np.zeros(4), np.zeros(4)
    memory = state.memory
    logp = lambda x: np.asarray(jax.nn.log_softmax(x))
    goal = jax.tree.map(np.asarray, goals)
    for k in range(3):
        if k:
            latent = model.advance(params, latent, action[:, k - 1])
            memory, said = model.remember(params, memory, latent)
            sums += goal.reward[:, k]
            label = np.asarray(model.prefix_code.label(jnp.array(sums)))
            by_hand += goal.known[:, k] * -(label * logp(said)).sum(-1) * weight
            guess = np.asarray(model.guessed(params, latent))
            later = jax.tree.map(lambda x, k=k: x[k - 1], views.later)
            true = np.asarray(model.projected(params, model.represent(params, later)))
            norms = np.linalg.norm(guess, axis=-1) * np.linalg.norm(true, axis=-1)
            cosine = (guess * true).sum(-1) / norms
            by_hand += -2.0 * goal.acting[:, k - 1] * cosine * weight
        said = model.predict(params, latent)
        policy = -(goal.policy[:, k] * logp(said["policy"])).sum(-1)
        label = np.asarray(model.value_code.label(goals.value[:, k]))
        value = -(label * logp(said["value"])).sum(-1)
        by_hand += (goal.acting[:, k] * policy + 0.25 * goal.known[:, k] * value) * (
            weight
        )
    # Gradients of all steps count 1 / K (core/train.py).
    np.testing.assert_allclose(total, by_hand.mean() / 2, rtol=1e-4)
    assert metrics["loss/consistency"] != 0


def test_no_gradient_flows_through_what_was_observed(ready):
    """Latents as data: of all nets, consistency then moves projector and predictor, and
    as if what it compares with were data too."""
    agent, views = ready.agent, ready.agent.views(KEY, ready.batch)
    given = jax.tree.map(lambda x: x[:1], views.later)
    latents = agent.model.represent(ready.params, views.first)[None]
    target = agent.observed(ready.params, given)

    def found(params):
        return jnp.mean(agent.consistency(params, latents, given))

    def expected(params):
        guess = agent.model.guessed(params, latents[0])
        return jnp.mean(losses.cosine(guess, target[0]))

    both = [jax.jit(jax.grad(f))(ready.params) for f in (found, expected)]
    for ours, theirs in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-4)
    size = lambda tree: sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(tree))
    assert size(both[0]["model"]["represent"]) == 0 < size(both[0]["model"]["project"])


def test_consistency_alone_moves_dynamics_and_its_own_nets(ready):
    """Through the latents that were stepped to: h, g, projector and predictor."""
    agent, model = ready.agent, ready.agent.model
    views = agent.views(KEY, ready.batch)
    action = ready.batch.action[:, :1]

    def alone(params):
        latent = model.represent(params, views.first)
        latents = model.advance(params, latent, action[:, 0])[None]
        later = jax.tree.map(lambda x: x[:1], views.later)
        return jnp.mean(agent.consistency(params, latents, later))

    gradient = jax.jit(jax.grad(alone))(ready.params)
    size = lambda tree: sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(tree))
    moved = {name for name, tree in gradient["model"].items() if size(tree) > 0}
    assert moved == {"represent", "dynamics", "project", "predict"}
    assert size(gradient["policy"]) == 0


def test_old_records_have_shorter_returns(ready):
    """By hand: n falls with the age of the window's base, over all rows."""
    agent, batch = ready.agent, ready.batch
    plain = EfficientZero(
        agent.spec,
        dataclasses.replace(agent.config, mixed_updates=None, reanalyse=0.0),
    )
    newest = Index(jnp.int32(2), jnp.int32(19))  # three rows of 20 records
    state = dataclasses.replace(ready.state.agent, newest=newest, target=ready.params)
    age = (20 - np.asarray(batch.index.time[:, 0])) * 3
    np.testing.assert_array_equal(agent.age(newest, batch.index), age)
    goals = jax.jit(plain.goals)(state, KEY, batch)
    value = np.asarray(jax.jit(agent.values)(ready.params, batch))
    reward, last = (
        np.asarray(x) for x in (batch.timestep.reward, batch.timestep.is_last)
    )
    checked = 0
    for row in range(4):
        n = int(np.clip(3 - age[row] // 10, 1, 3))
        for k in range(3):
            if last[row, : k + n + 1].any():
                continue
            z = sum(0.9**i * reward[row, k + 1 + i] for i in range(n))
            z += 0.9**n * value[row, k + n]
            np.testing.assert_allclose(goals.value[row, k], z, atol=1e-5)
            checked += 1
    assert checked


def test_late_and_for_old_records_the_search_says_the_value(ready):
    """V2: not before `mixed_updates`, nor for new records, nor without a search."""
    agent, batch = ready.agent, ready.batch
    state = dataclasses.replace(ready.state.agent, target=ready.params)
    new = jax.jit(agent.renewed)(ready.params, KEY, batch)
    assert new.new.sum() == 2
    early = ready.goals(
        dataclasses.replace(state, updates=jnp.int32(7), newest=Index(2, 19)),
        KEY,
        batch,
    )
    late = ready.goals(
        dataclasses.replace(state, updates=jnp.int32(8), newest=Index(2, 19)),
        KEY,
        batch,
    )
    old = np.asarray(agent.age(Index(2, 19), batch.index)) > 5
    own = (np.asarray(new.new) & old)[:, None] & (np.asarray(early.acting) > 0)
    assert own.any()
    expected = np.where(own, new.searched, early.value)
    np.testing.assert_allclose(late.value, expected, atol=1e-5)
    assert np.abs(late.value - early.value).max() > 1e-4
    young = dataclasses.replace(state, updates=jnp.int32(8), newest=Index(0, 0))
    again = dataclasses.replace(young, updates=jnp.int32(0))
    np.testing.assert_array_equal(
        ready.goals(young, KEY, batch).value, ready.goals(again, KEY, batch).value
    )


def test_an_update_remembers_the_newest_record(ready):
    state, feedback, metrics = ready.update(ready.state.agent, KEY, ready.batch)
    index = ready.batch.index
    assert (int(state.newest.row), int(state.newest.time)) == (
        int(index.row.max()),
        int(index.time.max()),
    )
    assert -1 <= metrics["model/consistency"] <= 1
    older = ready.batch._replace(index=Index(index.row * 0, index.time * 0))
    assert ready.update(state, KEY, older)[0].newest == state.newest
    given = feedback["replay"]
    assert given.fields["priority"].shape == (4, 1)
    assert isinstance(ready.agent.buffer(SCHEDULE), PrioritizedReplay)


def test_rewards_may_count_by_their_sign(ready):
    config = dataclasses.replace(
        ready.agent.config, sign_rewards=True, reanalyse=0.0, mixed_updates=None
    )
    agent = EfficientZero(ready.env.spec, config)
    scaled = ready.batch.timestep._replace(reward=-7.0 * ready.batch.timestep.reward)
    goals = jax.jit(agent.goals)(
        ready.state.agent, KEY, ready.batch._replace(timestep=scaled)
    )
    assert set(np.unique(goals.reward)) <= {-1.0, 0.0, 1.0}
    assert np.abs(goals.reward).max() == 1


def test_what_does_not_fit_is_one_line():
    with pytest.raises(UserError, match="EfficientZero needs actions that are one"):
        EfficientZero(EnvSpec(ArraySpec((2,)), ArraySpec((2,))))
    vector = EnvSpec(ArraySpec((2,)), ArraySpec((), "int32", 2))
    with pytest.raises(UserError, match="are for pictures"):
        EfficientZero(vector, Config(pad=4))
    for field, value in {
        "consistency_scale": -1.0, "horizon_interval": -1, "pad": -1,
        "intensity": -0.1, "mixed_updates": -1, "mixed_age": -1, "warmup_updates": -1,
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"^--agent.{field} must be"):
            Config(**{field: value})
    with pytest.raises(UserError, match="reanalyse must be above 0"):
        Config(mixed_updates=3, reanalyse=0.0, search=MCTSConfig(2))
