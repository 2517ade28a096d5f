"""`wm.agents.muzero`: targets, losses, priorities and Reanalyse by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.agents.readied import IN_LATENTS, KEY, SCHEDULE, Ready, small
from wm.agents.muzero import Config, MuZero, Windows
from wm.data.priority import PrioritizedReplay
from wm.data.replay import Replay
from wm.errors import UserError
from wm.models.value_equivalent import LatentState
from wm.planners.mcts import MCTSConfig
from wm.types import ArraySpec, EnvSpec

RENEWED = {"reanalyse": 0.5, "fresh_values": True, "target_updates": 3}
RENEWED |= {"reanalyse_batch": 2}
agent_of = small(
    "muzero", {**IN_LATENTS, "search.simulations": 3, "priority_exponent": 1.0}
)


def ready_with(**settings):
    env = wm.env("gymnax/Catch-bsuite")
    return Ready(agent_of(env, **settings), env)


@pytest.fixture(scope="module")
def ready():
    return ready_with()


@pytest.fixture(scope="module")
def renewed():
    return ready_with(**RENEWED)


def test_the_loss_is_the_papers_by_hand(ready):
    """Step by step in a plain loop, from the model's own logits; and its gradient, with
    half of it into every step of dynamics."""
    agent, batch, params = ready.agent, ready.batch, ready.params
    goals = ready.goals({}, KEY, batch)
    weight = jnp.array([1.0, 0.5, 0.25, 0.125])
    action = batch.action[:, :2]
    given = dataclasses.replace(agent.config, value_scale=0.25, weight_decay=0.01)
    other = MuZero(agent.spec, given)
    seen, model = agent.seen(batch, 1), agent.model
    entropy = lambda label, logits: -jnp.sum(label * jax.nn.log_softmax(logits), -1)

    def by_hand(params):
        latent, total = (
            model.represent(params, jax.tree.map(lambda x: x[:, 0], seen)),
            0,
        )
        for k in range(3):
            if k:
                half = latent / 2 + jax.lax.stop_gradient(latent) / 2
                latent = model.advance(params, half, action[:, k - 1])
            said = model.predict(params, latent)
            terms = goals.acting[:, k] * entropy(goals.policy[:, k], said["policy"])
            label = model.value_code.label(goals.value[:, k])
            terms += 0.25 * goals.known[:, k] * entropy(label, said["value"])
            if k:
                label = model.reward_code.label(goals.reward[:, k])
                earned = model.reward_logits(params, latent)
                terms += goals.known[:, k] * entropy(label, earned)
            else:
                guess = model.value_code.mean(said["value"])
                error = jnp.abs(guess - goals.value[:, 0])
            total += weight * terms * (1 if k == 0 else 0.5)
        squares = sum((x**2).sum() for x in jax.tree.leaves(params))
        return total.mean() + 0.01 * squares, error

    rows = Windows(seen, action, goals, weight)
    ours = lambda params: other.loss(params, rows)
    found = jax.jit(jax.value_and_grad(ours, has_aux=True))(params)
    expected = jax.jit(jax.value_and_grad(by_hand, has_aux=True))(params)
    (total, (metrics, said)), gradient = found
    error = jnp.abs(said.value - goals.value)[:, 0]
    np.testing.assert_allclose(total, expected[0][0], rtol=1e-4)
    np.testing.assert_allclose(error, expected[0][1], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(
        *map(jax.tree.leaves, (gradient, expected[1])), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    assert metrics["loss/policy"] > 0


def test_priorities_of_windows_are_the_first_errors_and_ends_are_not_drawn(ready):
    state = dataclasses.replace(ready.state.agent, params=ready.params)
    batch = ready.batch
    last = batch.timestep.is_last.at[0, 0].set(True)
    batch = batch._replace(timestep=batch.timestep._replace(is_last=last))
    _, feedback, _ = ready.update(state, KEY, batch)
    given = feedback["replay"]
    assert given.index.time.shape == given.fields["priority"].shape == (4, 1)
    np.testing.assert_array_equal(given.index.time[:, 0], batch.index.time[:, 0])
    assert given.mask.all()
    goals = ready.goals({}, KEY, batch)
    first = jax.tree.map(lambda x: x[:, 0], ready.agent.seen(batch, 1))
    latent = ready.agent.model.represent(ready.params, first)
    value = ready.agent.model.heads(ready.params, KEY, LatentState(latent))[1]
    expected = np.abs(value - goals.value[:, 0]) + 1e-6
    expected = np.where(goals.usable > 0, expected, 0.0)
    np.testing.assert_allclose(given.fields["priority"][:, 0], expected, rtol=1e-4)
    assert expected[0] == 0


def test_windows_drawn_often_weigh_less(ready):
    """Twice the chance is half the weight, so the same batch has another loss."""
    state = dataclasses.replace(ready.state.agent, params=ready.params)
    even = ready.batch._replace(probability=jnp.full(4, 0.1))
    uneven = ready.batch._replace(probability=jnp.array([0.1, 0.1, 0.2, 0.4]))
    losses = [ready.update(state, KEY, b)[2]["loss/value"] for b in (even, uneven)]
    assert losses[1] < losses[0]
    # By hand, from losses of one window each.
    one = lambda n: jax.tree.map(lambda x: x[n : n + 1].repeat(4, 0), even)
    alone = [float(ready.update(state, KEY, one(n))[2]["loss/value"]) for n in range(4)]
    expected = np.dot(alone, [1, 1, 0.5, 0.25]) / 4
    np.testing.assert_allclose(losses[1], expected, rtol=1e-4)
    halved = ready.batch._replace(probability=jnp.full(4, 0.05))
    np.testing.assert_allclose(
        ready.update(state, KEY, halved)[2]["loss/value"], losses[0]
    )


def test_stored_values_end_the_returns(ready):
    """By hand: with gamma 0.9 and n = 3, from records in the middle of an episode."""
    shape = ready.batch.timestep.reward.shape
    reward, value = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    batch = ready.batch._replace(
        extras={**ready.batch.extras, "value": jnp.array(value)},
        timestep=ready.batch.timestep._replace(reward=jnp.array(reward)),
    )
    goals = ready.goals({}, KEY, batch)
    last = np.asarray(batch.timestep.is_last)
    checked = 0
    for row in range(4):
        if last[row].any():
            continue
        for k in range(3):
            sums = sum(0.9**i * reward[row, k + 1 + i] for i in range(3))
            z = sums + 0.9**3 * value[row, k + 3]
            np.testing.assert_allclose(goals.value[row, k], z, atol=1e-5)
            checked += 1
    assert checked


def test_the_target_net_is_copied_now_and_then_and_alone_says_what_is_fresh(renewed):
    """Fresh targets do not change with the net until the copy."""
    state, batch = renewed.state.agent, renewed.batch
    moved = dataclasses.replace(state, params=renewed.params)
    before = renewed.goals(state.target, KEY, batch)
    for count in (1, 2, 3):
        moved, _, _ = renewed.update(moved, KEY, batch)
        after = renewed.goals(moved.target, KEY, batch)
        same = all(map(np.array_equal, jax.tree.leaves(before), jax.tree.leaves(after)))
        assert same == (count < 3)
    jax.tree.map(np.testing.assert_array_equal, moved.target, moved.params)


def test_a_share_of_the_policies_is_fresh_and_all_values_are(renewed):
    """Each row that is searched anew gets its own policy: without noise that is the
    same in any company."""
    batch, config = renewed.batch, renewed.agent.config
    still = dataclasses.replace(config.search, gumbel_scale=0.0)
    agent = MuZero(renewed.agent.spec, dataclasses.replace(config, search=still))
    goals = jax.jit(agent.goals)(renewed.params, KEY, batch)
    stored = np.asarray(batch.extras["policy"][:, :3])
    changed = (np.abs(goals.policy - stored) > 1e-4).any((1, 2))
    assert changed.sum() == 2  # half of four
    own = jax.jit(agent.fresh)(renewed.params, KEY, batch)["policy"][:, :3]
    np.testing.assert_allclose(goals.policy[changed], own[changed], atol=1e-5)
    np.testing.assert_allclose(goals.policy[~changed], stored[~changed])
    values = jax.jit(agent.values)(renewed.params, batch)
    assert values.shape == (4, agent.window)
    given = batch._replace(extras={**batch.extras, "value": values})
    off = dataclasses.replace(agent.config, reanalyse=0.0, fresh_values=False)
    expected = jax.jit(MuZero(agent.spec, off).goals)({}, KEY, given)
    np.testing.assert_allclose(goals.value, expected.value, rtol=1e-5)


def test_a_sweep_stores_what_a_search_from_those_records_finds(renewed):
    """The stored value after it is that of a direct search with the same key."""
    loop, agent = renewed.loop, renewed.agent
    state = renewed.state.replace(
        agent=dataclasses.replace(renewed.state.agent, target=renewed.params)
    )
    N, L = agent.batches(SCHEDULE)["reanalyse"]
    assert (2, agent.window) == (N, L)
    _, key_sample, key_agent = jax.random.split(state.key, 3)
    batch = loop.buffer.sample(state.buffer, key_sample, N, L)[1]
    after, _ = jax.jit(lambda s: loop.reanalyse(None, s))(state)
    assert after.reanalyses == 1
    stored = loop.buffer.read(after.buffer, batch.index).extras
    found = jax.jit(agent.fresh)(renewed.params, key_agent, batch)
    policy, value = found["policy"], found["value"]
    times = set()
    for n in reversed(range(N)):  # of two windows over one record the later one wins
        for t in range(L):
            place = (int(batch.index.row[n, t]), int(batch.index.time[n, t]))
            if place in times:
                continue
            times.add(place)
            np.testing.assert_allclose(stored["value"][n, t], value[n, t], atol=1e-5)
            np.testing.assert_allclose(stored["policy"][n, t], policy[n, t], atol=1e-5)
    assert np.abs(stored["value"] - batch.extras["value"]).max() > 1e-3


def test_priorities_are_on_unless_told_otherwise(ready):
    """Replay that is silently uniform, or without room for the returns, shows in no
    score."""
    buffer = ready.agent.buffer(SCHEDULE)
    assert isinstance(buffer, PrioritizedReplay)
    assert (buffer.exponent, buffer.length) == (1.0, 2 + 3 + 1)
    stacked = agent_of(ready.env, **{"model.stack": 4, "priority_exponent": 0.0})
    uniform = stacked.buffer(SCHEDULE)
    assert isinstance(uniform, Replay)
    assert (uniform.newest_first, uniform.length) == (False, 3 + 2 + 3 + 1)
    paper = wm.agent("muzero", ready.env.spec, preset="atari", **{"model.form": "mlp"})
    assert paper.config.priority_exponent == 1.0


def test_evaluation_has_three_forms(ready):
    spec = ready.env.spec
    played = lambda config: MuZero(spec, config).acting.policies["eval"].policy
    quiet = played(Config(search=MCTSConfig(4, "puct")))
    assert (quiet.config.noise, quiet.config.temperature) == (0, 0)
    alone = played(Config(eval_simulations=0))
    assert not hasattr(alone, "config")
    policy = played(Config(eval_guided=False, eval_simulations=9))
    assert policy.config.simulations == 9
    logits, value, _ = policy.heads({}, KEY, LatentState(jnp.ones((2, 4))))
    assert logits is None
    assert (value == 0).all()


def test_actions_cool_down(ready):
    """Temperatures are those of the updates made."""
    config = Config(
        search=MCTSConfig(4, "puct"),
        temperatures=(1.0, 0.5, 0.25),
        temperature_updates=(10, 20),
    )
    agent = MuZero(ready.env.spec, config)
    state = ready.state.agent
    said = [
        float(
            agent.actor(dataclasses.replace(state, updates=jnp.int32(n)))["temperature"]
        )
        for n in (0, 9, 10, 19, 20, 99)
    ]
    assert said == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_what_does_not_fit_is_one_line():
    with pytest.raises(UserError, match="actions must be one index, or numbers"):
        MuZero(EnvSpec(ArraySpec((2,)), ArraySpec((2,), "int32", 3)))
    coded = Config(codes=2, search=MCTSConfig(4, "stochastic"))
    with pytest.raises(UserError, match=r"--agent\.codes needs actions that are one"):
        MuZero(EnvSpec(ArraySpec((2,)), ArraySpec((2,))), coded)
    for field, value in {
        "optimizer": "rmsprop", "eval_simulations": -1, "unroll": 0, "steps": 0,
        "learning_rate": 0.0, "value_scale": -1.0, "decay_updates": (3, 2),
        "reanalyse": 1.5, "importance": (0.4, 2.0), "temperatures": (0.0,),
        "temperature_updates": (5,), "random_actions": -0.1, "max_norm": -1.0,
        "codes": -1, "commitment_scale": -1.0,
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"^--agent.{field} must be"):
            Config(**{field: value})
    with pytest.raises(UserError, match=r"--agent\.codes must be at least 2 where"):
        Config(search=MCTSConfig(4, "stochastic"))
    with pytest.raises(UserError, match=r"--agent\.codes must be 0 unless search"):
        Config(codes=2)
