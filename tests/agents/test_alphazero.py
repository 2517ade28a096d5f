"""`wm.agents.alphazero`: labels, losses and searches by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.agents.readied import IN_GAMES, KEY, SCHEDULE, prefilled, small
from wm.agents.alphazero import AlphaZero, Config
from wm.errors import UserError
from wm.models.rules import RulesState
from wm.planners.mcts import MCTSConfig
from wm.types import Batch, Index, TimeStep

pytest.importorskip("pgx")
agent_of = small("alphazero", {**IN_GAMES, "search.considered": 2})


@pytest.fixture(scope="module")
def env():
    return wm.env("pgx/tic_tac_toe", rules=True)


@pytest.fixture(scope="module")
def collected(env):
    """A run's state after its prefill and four chunks."""
    loop, batched, state = prefilled(agent_of(env), env, SCHEDULE, 3)
    prefill = state
    chunk = jax.jit(lambda s: loop.one_chunk(batched, s))
    for _ in range(4):
        state = chunk(state)
    return loop, prefill, state


def test_every_position_of_a_finished_game_knows_its_outcome(collected):
    """Recomputed game by game from what is stored, prefill included."""
    loop, prefill, state = collected
    assert prefill.buffer.ring.columns.extras["finished"].any()
    data = loop.buffer.dataset(state.buffer).steps
    count = int(state.buffer.ring.count)
    assert count == 28
    stamped = jax.tree.map(lambda x: np.asarray(x)[:, :count], data)
    timestep, extras = stamped.timestep, stamped.extras
    games = 0
    for row in range(3):
        ends = np.flatnonzero(timestep.is_last[row])
        starts = np.flatnonzero(timestep.is_first[row])
        games += len(ends)
        for start, end in zip(starts, ends, strict=False):
            won = timestep.reward[row, end]
            for t in range(start, end):
                sign = 1 if (end - 1 - t) % 2 == 0 else -1
                assert extras["outcome"][row, t] == sign * won
                assert extras["finished"][row, t]
            assert not extras["finished"][row, end]
        assert not extras["finished"][row, ends[-1] :].any()
    assert games >= 6
    assert set(np.unique(extras["outcome"])) <= {-1.0, 0.0, 1.0}


def test_targets_are_those_of_the_search_and_legal(collected):
    loop, _, state = collected
    data = loop.buffer.dataset(state.buffer).steps
    count = int(state.buffer.ring.count)
    policy = np.asarray(data.extras["policy"])[:, :count]
    legal = np.asarray(data.timestep.legal)[:, :count]
    np.testing.assert_allclose(policy.sum(-1), 1, rtol=1e-5)
    assert (policy[~legal] == 0).all()
    ended = np.asarray(data.timestep.is_last)[:, :count]
    chosen = np.asarray(data.action)[:, :count]
    assert np.take_along_axis(legal, chosen[..., None], -1)[..., 0][~ended].all()


def test_labels_are_discounted_as_the_search_discounts(env):
    """Two moves: the second wins, so the first is worth minus gamma."""
    flag = lambda *values: jnp.array([values], bool)
    timestep = TimeStep(
        observation=jnp.zeros((1, 3, 3, 3, 2)),
        reward=jnp.array([[0.0, 0.0, 1.0]]),
        discount=jnp.array([[1.0, -1.0, 0.0]]),
        is_first=flag(True, False, False),
        is_last=flag(False, False, True),
    )
    index = jnp.arange(3)[None]
    batch = Batch(timestep, index, {}, Index(0 * index, index), jnp.ones(1))
    agent = agent_of(env, **{"search.gamma": 0.5})
    said = agent.label(agent.init(KEY), batch)
    np.testing.assert_allclose(said.fields["outcome"][0, :2], [-0.5, 1.0])


def test_replay_on_the_host_is_one_line(env):
    host = dataclasses.replace(SCHEDULE, replay_tier="host")
    with pytest.raises(UserError, match="replay_tier must be device: states of the"):
        agent_of(env).buffer(host)


def positions(env, finished=(True, False, True), last=(False, False, True)):
    """Three records: of a finished game, of one going on, and an end."""
    seen = jax.random.bernoulli(KEY, 0.3, (3, 1, 3, 3, 2))
    shape = (3, 1)
    policy = jnp.zeros((3, 1, 9)).at[..., 0].set(0.25).at[..., 5].set(0.75)
    extras = {
        "policy": policy,
        "outcome": jnp.array([[0.5], [9.0], [9.0]]),
        "finished": jnp.asarray(finished).reshape(shape),
    }
    timestep = TimeStep(
        observation=seen,
        reward=jnp.zeros(shape),
        discount=jnp.ones(shape),
        is_first=jnp.zeros(shape, bool),
        is_last=jnp.asarray(last).reshape(shape),
        legal=jnp.ones((3, 1, 9), bool).at[..., 1].set(False),
    )
    zero = jnp.zeros(shape, jnp.int32)
    return Batch(timestep, zero, extras, Index(zero, zero), jnp.ones(3))


def test_the_loss_is_the_papers_by_hand(env):
    agent = agent_of(env, value_scale=2.0, weight_decay=0.1)
    params = agent.init(KEY).params["policy"]
    batch = positions(env)
    total, (metrics, _) = agent.loss(params, agent.positions(KEY, batch))
    logits, value = agent.net.apply(params, batch.timestep.observation[:, 0])
    allowed = np.delete(np.asarray(logits, np.float64), 1, 1)
    logp = allowed - np.log(np.exp(allowed).sum(1, keepdims=True))
    cross = -(0.25 * logp[:2, 0] + 0.75 * logp[:2, 4]).mean()
    error = (0.5 - float(value[0])) ** 2
    squares = sum(float((x**2).sum()) for x in jax.tree.leaves(params))
    np.testing.assert_allclose(metrics["loss/policy"], cross, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/value"], error, rtol=1e-5)
    np.testing.assert_allclose(total, cross + 2 * error + 0.1 * squares, rtol=1e-5)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(metrics["behavior/search_entropy"], entropy, rtol=1e-5)
    assert metrics["behavior/finished"] == 0.5


def test_outcomes_are_learned_in_units_of_their_scale(env):
    """A game that pays up to 4: 0.5 of it is 0.125, and 9 is beyond."""
    plain, scaled = agent_of(env), agent_of(env, outcome_scale=4.0)
    params = plain.init(KEY).params
    batch = positions(env, last=(False,) * 3)
    _, (metrics, _) = scaled.loss(params["policy"], scaled.positions(KEY, batch))
    _, value = plain.net.apply(params["policy"], batch.timestep.observation[:, 0])
    error = np.square(np.array([0.125, 9 / 4]) - np.asarray(value)[[0, 2]]).mean()
    np.testing.assert_allclose(metrics["loss/value"], error, rtol=1e-5)
    assert metrics["behavior/beyond"] == 0.5
    # The search gets task units again.
    timestep = jax.tree.map(lambda x: x[:, 0], batch.timestep)
    said = [
        agent.heads(params, KEY, RulesState(None, timestep.observation, None, None))[1]
        for agent in (plain, scaled)
    ]
    np.testing.assert_allclose(4 * said[0], said[1])


def test_games_for_one_say_how_much_they_pay():
    """A net whose values end at 1 would silently learn 2048 as all alike."""
    env = wm.env("probe/catch", rules=True)
    with pytest.raises(UserError, match=r"set --agent.outcome_scale to the greatest"):
        AlphaZero(env.spec)
    with pytest.raises(UserError, match=r"^--agent.outcome_scale must be above 0"):
        Config(outcome_scale=0.0)


def test_an_unfinished_game_teaches_the_policy_only_and_an_end_nothing(env):
    agent = agent_of(env)
    params = agent.init(KEY).params["policy"]
    loss = lambda params, batch: agent.loss(params, agent.positions(KEY, batch))
    slope = jax.grad(lambda p, b: loss(p, b)[1][0]["loss/value"])
    none = slope(params, positions(env, finished=(False,) * 3))
    assert all((x == 0).all() for x in jax.tree.leaves(none))
    gradient = jax.grad(lambda p, b: loss(p, b)[0])
    over = gradient(params, positions(env, last=(True,) * 3))
    assert all((x == 0).all() for x in jax.tree.leaves(over))
    # The first record of a window counts, also where its successor ends the game.
    one = gradient(params, positions(env, (True,) * 3, (False, True, True)))
    assert any((x != 0).any() for x in jax.tree.leaves(one))


def test_symmetries_change_positions_and_not_the_loss_of_symmetric_nets(env):
    """A net that sees nothing has the same loss under every map of its target."""
    plain, turned = agent_of(env), agent_of(env, symmetry="square")
    params = jax.tree.map(jnp.zeros_like, plain.init(KEY).params["policy"])
    batch = positions(env)
    losses = [a.loss(params, a.positions(KEY, batch))[0] for a in (plain, turned)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    params = plain.init(KEY).params["policy"]
    losses = [a.loss(params, a.positions(KEY, batch))[0] for a in (plain, turned)]
    assert abs(losses[0] - losses[1]) > 1e-4


def test_evaluation_is_without_noise_and_can_do_without_a_search(env):
    agent = agent_of(env, **{"eval_simulations": 0, "search.method": "puct"})
    quiet = agent.policies["eval"].policy.config
    assert (quiet.noise, quiet.gumbel_scale, quiet.temperature) == (0, 0, 0)
    state = agent.init(KEY)
    actor = agent.actor(state)
    batched = wm.batch(env)
    env_state, timestep = batched.reset(KEY, 4)
    _, timestep = batched.step(env_state, jnp.array([0, 3, 4, 8]))
    carry = agent.start(actor, 4)
    _, action, _ = agent.act(actor, KEY, carry, timestep, "eval")
    logits, _ = agent.net.apply(actor["policy"], timestep.observation)
    expected = np.where(timestep.legal, logits, -np.inf).argmax(-1)
    np.testing.assert_array_equal(action, expected)
    more = agent_of(env, eval_simulations=7)
    assert more.policies["eval"].policy.config.simulations == 7
    assert more.policies["train"].policy.config.simulations == 2


def test_learning_rates_fall_where_they_are_told_to(env):
    agent = agent_of(env, optimizer="sgd", learning_rate=0.2, decay_updates=(2, 3))
    params = jnp.zeros(())
    state, steps = agent.optimizer.init(params), []
    for _ in range(5):
        update, state = agent.optimizer.update(jnp.ones(()), state, params)
        steps.append(float(update))
    momentum = np.array([1, 1.9, 2.71, 3.439, 4.0951])
    rates = np.array([0.2, 0.2, 0.02, 0.002, 0.002])
    np.testing.assert_allclose(steps, -rates * momentum, rtol=1e-5)


def test_what_does_not_fit_is_one_line(env):
    with pytest.raises(UserError, match=r"its rules are closed; .* --env.rules true"):
        AlphaZero(wm.env("pgx/tic_tac_toe").spec)
    with pytest.raises(UserError, match="actions that are one index"):
        AlphaZero(wm.env("classic/pendulum", rules=True).spec)
    endless = dataclasses.replace(env.spec, time_limit=None)
    with pytest.raises(UserError, match=r"no longest game: set --agent.game_moves"):
        AlphaZero(endless)
    assert AlphaZero(endless, Config(game_moves=5)).moves == 5
    small = dataclasses.replace(SCHEDULE, replay=38)
    with pytest.raises(UserError, match=r"--train.replay must be at least 39 "):
        agent_of(env).buffer(small)
    for field, value in {
        "optimizer": "rmsprop", "eval_simulations": -1, "game_moves": 0,
        "learning_rate": 0.0, "value_scale": -1.0, "decay_updates": (3, 2),
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"^--agent.{field} must be"):
            Config(**{field: value})
    assert Config().search == MCTSConfig()
