"""`wm.agents.alphago`: stages, sides, labels and losses by hand."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.agents.readied import IN_GAMES, KEY, prefilled, small
from wm.agents import alphago_fits as fits
from wm.agents.alphago import AlphaGo, Config
from wm.agents.alphago_config import REINFORCE, TEACH, VALUE
from wm.errors import UserError
from wm.train.schedule import Schedule
from wm.types import Batch, Index, TimeStep

pytest.importorskip("pgx")
agent_of = small(
    "alphago",
    {
        **IN_GAMES,
        "teacher.simulations": 2,
        "batch_size": 8,
        "epochs": 2,
        "pool": 2,
        "reinforce_rounds": 3,
        "value_rounds": 2,
    },
)
SCHEDULE = Schedule(
    total=800, envs=4, chunk=10, updates=1, prefill=80, fit_steps=40, replay=400
)


@pytest.fixture(scope="module")
def env():
    return wm.env("pgx/tic_tac_toe", rules=True)


@pytest.fixture(scope="module")
def lived(env):
    """Train states after the prefill and after each of seven rounds of one chunk."""
    loop, batched, state = prefilled(agent_of(env), env, SCHEDULE, 2)
    step = jax.jit(lambda s: loop.one_chunk(batched, loop.fit(batched, s)[0]))
    states = [state]
    for _ in range(7):
        states.append(step(states[-1]))
    return loop, states


def stored(loop, state):
    data = loop.buffer.dataset(state.buffer).steps
    count = int(state.buffer.replay.ring.count)
    return jax.tree.map(lambda x: np.asarray(x)[:, :count], data)


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


def test_stages_follow_each_other_and_learn_what_is_theirs(lived):
    loop, states = lived
    stage = stored(loop, states[-1]).extras["stage"][0]
    order = [TEACH] * 20 + [REINFORCE] * 30 + [VALUE] * 40
    np.testing.assert_array_equal(stage, order)
    nets = [state.agent.nets for state in states]
    # The first fit learns from the teacher, and the second policy begins there.
    assert not same(nets[0]["supervised"], nets[1]["supervised"])
    assert not same(nets[0]["playout"], nets[1]["playout"])
    for later in nets[2:]:
        assert same(nets[1]["supervised"], later["supervised"])
        assert same(nets[1]["playout"], later["playout"])
    learning = [
        not same(a["reinforced"], b["reinforced"])
        for a, b in itertools.pairwise(nets[1:])
    ]
    assert learning == [True, True, False, False, False, False]
    # The value is fitted once, behind its games.
    learned = [not same(a["value"], b["value"])
               for a, b in itertools.pairwise(nets)]  # fmt: skip
    assert learned == [False] * 5 + [True, False]


def test_the_pool_holds_the_newest_selves_and_opponents_come_from_it(lived):
    _loop, states = lived
    slot = lambda state, i: jax.tree.map(lambda x: x[i], state.agent.pool)
    # Round k keeps the policy as it was before: in slots 0, 1, 0, 1.
    assert same(slot(states[1], 0), states[1].agent.nets["supervised"])
    for k in (2, 3):
        kept = slot(states[k], (k - 1) % 2)
        assert same(kept, states[k - 1].agent.nets["reinforced"])
        opponent = states[k].agent.nets["opponent"]
        assert any(same(opponent, slot(states[k], i)) for i in range(2))
    # Games for the value net change nothing.
    assert same(states[4].agent.pool, states[-1].agent.pool)


def test_one_side_learns_and_one_position_of_a_game_is_chosen(lived):
    loop, states = lived
    steps = stored(loop, states[-1])
    timestep, extras = steps.timestep, steps.extras
    chosen = 0
    for row in range(4):
        starts = np.flatnonzero(timestep.is_first[row])
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            mine = extras["mine"][row, start:end]
            mine = mine[~timestep.is_last[row, start:end]]
            np.testing.assert_array_equal(mine[1:], ~mine[:-1])
            assert extras["chosen"][row, start:end].sum() <= 1
            assert not extras["chosen"][row, start]
            chosen += extras["chosen"][row, start:end].sum()
    assert chosen > 5
    assert 0 < extras["mine"][timestep.is_first].mean() < 1
    legal = np.take_along_axis(timestep.legal, steps.action[..., None], -1)[..., 0]
    assert legal[~timestep.is_last].all()


def test_moves_before_the_chosen_one_are_as_the_stage_says(env):
    """Nets that want one cell each show who moved: first, then any, then second."""
    agent = agent_of(env)
    state = agent.init(KEY)

    def wants(params, cell):
        params = jax.tree.map(jnp.zeros_like, params)
        bias = next(k for k in params["policy"] if params["policy"][k].ndim == 1)
        bent = params["policy"][bias].at[cell].set(50.0)
        return {**params, "policy": {**params["policy"], bias: bent}}

    blank = state.nets["supervised"]
    cells = {"supervised": 0, "reinforced": 1, "opponent": 2}
    nets = {**state.nets, **{n: wants(blank, c) for n, c in cells.items()}}
    _, timestep = wm.batch(env).reset(KEY, 1024)
    timestep = timestep._replace(is_first=jnp.zeros(1024, bool))
    carry = agent.start({"model": {}, "policy": nets}, 1024)
    ply = jnp.full(1024, 3)

    def played(stage, odd, mine):
        now = carry.replace(
            ply=ply - 1, odd=jnp.full(1024, odd), mine=jnp.full(1024, mine)
        )
        actor = {"model": {}, "policy": nets, "stage": jnp.asarray(stage)}
        went_on = timestep._replace(discount=-jnp.ones(1024))
        return np.asarray(agent.act(actor, KEY, now, went_on, "train")[1])

    assert (played(VALUE, 4, True) == 0).all()
    assert (played(VALUE, 2, True) == 1).all()
    counts = np.bincount(played(VALUE, 3, True), minlength=9)
    assert counts.min() > 60  # 1024 / 9 = 114
    # The move before was the learner's where `mine` was set: now it is not.
    assert (played(REINFORCE, 0, True) == 2).all()
    assert (played(REINFORCE, 0, False) == 1).all()


def window(env, ends, stage=REINFORCE):
    """One row of six records, games ending at `ends`; outcomes alternate in sign."""
    at = jnp.arange(6)[None]
    last = jnp.isin(at, jnp.array(ends))
    seen = jax.random.bernoulli(KEY, 0.3, (1, 6, 3, 3, 2))
    timestep = TimeStep(
        observation=seen,
        reward=jnp.zeros((1, 6)),
        discount=jnp.ones((1, 6)),
        is_first=at == 0,
        is_last=last,
        legal=jnp.ones((1, 6, 9), bool).at[..., 1].set(False),
    )
    extras = {
        "mine": at % 2 == 0,
        "finished": (at < max(ends)) & ~last,
        "outcome": jnp.where(at % 2 == 0, 1.0, -1.0) * jnp.where(at < 3, 1, -1),
        "stage": jnp.full((1, 6), stage),
    }
    action = jnp.array([[0, 2, 3, 4, 5, 6]], jnp.int32)
    index = Index(jnp.zeros((1, 6), jnp.int32), 10 + at)
    return Batch(timestep, action, extras, index, jnp.ones(1))


def test_the_policy_gradient_is_that_of_who_won_by_hand(env):
    """Games end at times 12 and 15; up to 12 they have been learned from."""
    agent = agent_of(env)
    params = agent.init(KEY).nets["supervised"]
    batch = window(env, (2, 5))
    logits, _ = agent.net.apply(params, batch.timestep.observation[0])
    allowed = np.delete(np.asarray(logits, np.float64), 1, 1)
    logp = allowed - np.log(np.exp(allowed).sum(1, keepdims=True))
    reinforce = lambda batch, learned: fits.reinforce(
        agent.net, params, batch, jnp.asarray(learned)
    )
    # Of record 0 (won, move 0), then record 4 (lost, move 5 is the fifth allowed one).
    loss, said = reinforce(batch, 9)
    np.testing.assert_allclose(loss, -(logp[0, 0] - logp[4, 4]) / 2, atol=1e-6)
    assert (said["behavior/outcome"], said["behavior/moves"]) == (0, 2)
    loss, said = reinforce(batch, 12)
    np.testing.assert_allclose(loss, logp[4, 4], rtol=1e-5)
    assert (said["behavior/outcome"], said["behavior/moves"]) == (-1, 1)
    for none in ((batch, 15), (window(env, (2, 5), TEACH), 9)):
        loss, said = reinforce(*none)
        assert (loss, said["behavior/moves"]) == (0, 0)


def test_evaluation_plays_by_a_search_or_by_a_policy_alone(env):
    _, timestep = wm.batch(env).reset(KEY, 4)
    for plays in ("supervised", "reinforced"):
        agent = agent_of(env, plays=plays)
        actor = agent.actor(agent.init(KEY))
        _, action, extras = agent.act(
            actor, KEY, agent.start(actor, 4), timestep, "eval"
        )
        logits, _ = agent.net.apply(actor["policy"][plays], timestep.observation)
        np.testing.assert_array_equal(action, logits.argmax(-1))
        assert extras == {}
    assert Config().search.noise == Config().search.temperature == 0
    # c_puct of 5, for values of twice the width.
    assert 2 * Config().search.exploration == 5


def test_what_does_not_fit_is_one_line(env):
    with pytest.raises(UserError, match=r"its rules are closed; .* --env.rules true"):
        AlphaGo(wm.env("pgx/tic_tac_toe").spec)
    with pytest.raises(UserError, match="AlphaGo needs actions that are one index"):
        AlphaGo(wm.env("classic/pendulum", rules=True).spec)
    with pytest.raises(UserError, match="AlphaGo is for games for two"):
        AlphaGo(wm.env("probe/catch", rules=True).spec)
    endless = dataclasses.replace(env.spec, time_limit=None)
    with pytest.raises(UserError, match=r"no longest game: set --agent.game_moves"):
        AlphaGo(endless)
    agent = agent_of(env)
    for changed, message in {
        "fit_steps": (None, "--train.fit_steps must say how long a round is"),
        "total": (280, "--steps must be above 280, when the value net is fitted"),
        "replay": (79, "--train.replay at least 80, for the teacher's games"),
        "prefill": (0, "--train.prefill must be above 0"),
        "replay_tier": ("host", "--train.replay_tier must be device"),
    }.items():
        value, line = message
        with pytest.raises(UserError, match=line):
            agent.buffer(dataclasses.replace(SCHEDULE, **{changed: value}))
    with pytest.raises(UserError, match=r"--train.updates must be at most 1"):
        agent.batches(dataclasses.replace(SCHEDULE, updates=2))
    for field, value in {
        "plays": "net", "mixing": 1.5, "prior_temperature": 0.0, "pool": 0,
        "value_rounds": 0, "reinforce_rounds": -1, "game_moves": 0,
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=rf"^--agent.{field} must be"):
            Config(**{field: value})
