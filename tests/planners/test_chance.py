"""`wm.planners.chance`: lotteries solved by hand, and 2048 beside pgx."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.envs import pgx_2048
from wm.models.rules import rules
from wm.planners.mcts import MCTSConfig, greedy, mcts
from wm.types import ArraySpec, EnvSpec, Prediction

KEY = jax.random.key(0)
slow = pytest.mark.slow


class Lottery:
    """State 0: action 0 pays 0.5 and ends. Action 1 leads to 1 with 1/4, to 2 with 3/4.
    In 1 the actions pay 0 and 1, in 2 they pay 0.4 and 0.2, and all ends.

    Expectimax: 1 is worth 1, 2 is worth 0.4, so action 1 is worth 0.55 and is best. By
    the likeliest outcome alone it is worth 0.4; a state that was drawn once and kept
    says 1 or 0.4.
    """

    spec = EnvSpec(ArraySpec((), "int32", 4), ArraySpec((), "int32", 2), "lottery")
    chances = 2
    CHANCE = jnp.log(jnp.array([0.25, 0.75]))
    PAYS = jnp.array([[0.5, 0.0], [0.0, 1.0], [0.4, 0.2], [0.0, 0.0]])

    def afterstate(self, params, state, action):
        logits = jnp.broadcast_to(self.CHANCE, (*state.shape, 2))
        return (state, action), logits

    def chance(self, params, after, outcome):
        state, action = after
        goes_on = (state == 0) & (action == 1)
        following = jnp.where(goes_on, 1 + outcome, 3)
        reward = self.PAYS[state, action]
        return following, Prediction(reward, goes_on.astype(jnp.float32))

    def step(self, params, key, state, action):
        after, logits = self.afterstate(params, state, action)
        return self.chance(params, after, jax.random.categorical(key, logits))


def ignorant(params, key, state):
    return None, jnp.full(state.shape, 0.3) * (state < 3), None


def searched(model, config, state, heads=ignorant, key=KEY):
    policy = mcts(model, heads, config)
    return jax.jit(lambda x: policy.search({}, key, x))(state)


def config(simulations, method):
    search = MCTSConfig(simulations, method, statistics="bounds", bounds=(0.0, 1.0))
    return greedy(search)


def test_values_are_those_of_expectimax_and_the_best_action_is_found():
    """64 rows that differ in their keys alone. 512 simulations are right in all, 64 not
    yet: what is tried in 1 and 2 counts too. The plain search draws the chance once per
    tree, and so stays wrong in the three quarters of rows in which that fell on 0.4."""
    rows, right = jnp.zeros(64, jnp.int32), []
    for simulations in (64, 512):
        found = searched(Lottery(), config(simulations, "stochastic"), rows)
        right.append(float((found.action == 1).mean()))
    assert right[0] < right[1] == 1.0
    plain = searched(Lottery(), config(512, "puct"), rows)
    assert (plain.action == 1).mean() == pytest.approx(0.25, abs=0.16)
    q = found.search_tree.summary().qvalues
    np.testing.assert_allclose(q[:, 0], 0.5, atol=1e-6)
    assert (q[:, 1] > 0.5).all()
    assert found.search_tree.embeddings[0].shape == (64, 513)
    assert found.action_weights.shape == (64, 2)


class Sure(Lottery):
    """Both actions pay the same behind the chance: action 1 is worth 0.55 at once."""

    PAYS = jnp.array([[0.5, 0.0], [1.0, 1.0], [0.4, 0.4], [0.0, 0.0]])


def test_outcomes_are_visited_in_their_shares():
    rows = jnp.zeros(4, jnp.int32)
    found = searched(Sure(), config(256, "stochastic"), rows)
    q = found.search_tree.summary().qvalues
    np.testing.assert_allclose(q, [[0.5, 0.55]] * 4, atol=0.01)
    # What a node of chance says at first counts as one of its visits.
    assert (found.action == 1).all()


def test_it_is_a_policy_and_says_what_puct_says():
    policy = mcts(Lottery(), ignorant, config(16, "stochastic"))
    carry = policy.start({}, 3)
    carry, action, extras = jax.jit(policy.act)({}, KEY, carry, jnp.zeros(3, jnp.int32))
    assert action.shape == (3,)
    np.testing.assert_allclose(extras["visits"].sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(extras["policy"].sum(-1), 1, rtol=1e-6)
    assert extras["value"].shape == (3,)


def test_models_that_keep_chance_to_themselves_are_refused():
    pytest.importorskip("pgx")
    model = rules(wm.env("pgx/tic_tac_toe"))
    with pytest.raises(
        ValueError, match=r"^method must be gumbel or puct: pgx/tic_tac"
    ):
        mcts(model, ignorant, MCTSConfig(method="stochastic"))
    heads = lambda params, key, state: (None, jnp.zeros(3), jnp.zeros((3, 2, 1)))
    policy = mcts(Lottery(), heads, config(4, "stochastic"))
    with pytest.raises(ValueError, match="where heads draw actions, got stochastic"):
        policy.act({}, KEY, policy.start({}, 3), jnp.zeros(3, jnp.int32))


@pytest.fixture(scope="module")
def boards():
    """Random play of 2048: states, actions and what pgx made of them."""
    pytest.importorskip("pgx")
    env = wm.env("pgx/2048")

    def body(state, key):
        legal = state.inner.legal_action_mask
        chance = jnp.where(legal, jax.random.uniform(key, legal.shape), -1)
        action = jnp.argmax(chance, -1)
        following, timestep = jax.vmap(env.step)(state, action)
        return following, (state, action, following, timestep)

    start = jax.vmap(env.reset)(jax.random.split(KEY, 16))[0]
    keys = jax.random.split(jax.random.key(1), 150)
    seen = jax.jit(lambda s: jax.lax.scan(body, s, keys)[1])(start)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen)
    alive = np.flatnonzero(~np.asarray(flat[0].inner.terminated))
    return env, jax.tree.map(lambda x: x[alive], flat)


@pytest.mark.slow
def test_the_rules_of_2048_are_those_of_pgx(boards):
    """Every move made: one number more than our board after it, where that may be."""
    env, (state, action, following, timestep) = boards
    after, logits = jax.jit(jax.vmap(env.afterstate))(state, action)
    theirs, ours = np.asarray(following.inner._board), np.asarray(after.board)
    assert len(theirs) > 1_000
    different = theirs != ours
    assert (different.sum(1) == 1).all()
    cell = different.argmax(1)
    new = theirs[np.arange(len(cell)), cell]
    assert set(new) == {1, 2}
    outcome = cell + 16 * (new - 1)
    assert (np.asarray(logits)[np.arange(len(cell)), outcome] > -10).all()
    assert new.mean() - 1 == pytest.approx(0.1, abs=0.03)
    # With that outcome the whole step is theirs, points, moves and end among them.
    made, seen = jax.jit(jax.vmap(env.chance))(after, jnp.asarray(outcome))
    assert np.asarray(timestep.is_last).any()
    for a, b in zip(jax.tree.leaves(seen), jax.tree.leaves(timestep), strict=True):
        np.testing.assert_array_equal(a, b)
    kept = [x.inner.replace(_step_count=0) for x in (made, following)]
    for a, b in zip(*map(jax.tree.leaves, kept), strict=True):
        np.testing.assert_array_equal(a, b)


def test_numbers_appear_in_free_cells_alike():
    board = jnp.zeros(16, jnp.int32).at[3].set(1)
    share = np.asarray(jax.nn.softmax(pgx_2048.logits(board)))
    np.testing.assert_allclose(share[[3, 19]], 0)
    np.testing.assert_allclose(np.delete(share[:16], 3), 0.9 / 15, rtol=1e-5)
    np.testing.assert_allclose(np.delete(share[16:], 3), 0.1 / 15, rtol=1e-5)


@slow
@pytest.mark.slow
def test_a_search_of_2048_comes_to_what_expectimax_says():
    """Two moves ahead on a nearly full board, where 14 cells are taken."""
    pytest.importorskip("pgx")
    env = wm.env("pgx/2048", rules=True)
    model = rules(env.spec.rules)
    board = np.array([1, 2, 3, 1, 2, 4, 3, 5, 1, 2, 4, 6, 0, 0, 1, 1], np.int32)
    values = [expectimax_of(board, action) for action in range(4)]
    _, timestep = wm.batch(env).reset(KEY, 1)
    root = model.observe({}, KEY, None, None, timestep)
    inner = root.env.inner.replace(
        _board=jnp.asarray(board)[None],
        legal_action_mask=pgx_2048.legal(jnp.asarray(board))[None],
    )
    root = root.replace(
        env=root.env.replace(inner=inner), legal=inner.legal_action_mask
    )
    zero = lambda params, key, state: (None, 0.0 * state.alive, None)
    search = MCTSConfig(
        4_000, "stochastic", statistics="bounds", bounds=(0.0, 40.0), max_depth=4
    )
    found = searched(model, greedy(search), root, zero)
    q = np.asarray(found.search_tree.summary().qvalues)[0]
    legal = np.isfinite(values)
    assert found.action[0] == np.nanargmax(np.where(legal, values, np.nan))
    best = int(found.action[0])
    assert q[best] == pytest.approx(values[best], rel=0.1)


def at_once(board):
    """Points of the best move."""
    return max(float(pgx_2048.moved(jnp.asarray(board), a)[1]) for a in range(4))


def expectimax_of(board, action):
    """Of one action and the best after it; -inf where it is illegal."""
    after, points = (np.asarray(x) for x in pgx_2048.moved(jnp.asarray(board), action))
    if (after == board).all():
        return -np.inf
    free = np.flatnonzero(after == 0)
    future = 0.0
    for cell in free:
        for number, chance in ((1, 0.9), (2, 0.1)):
            following = after.copy()
            following[cell] = number
            future += chance / len(free) * at_once(following)
    return float(points) + future
