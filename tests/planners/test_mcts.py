"""`wm.planners.mcts`: on models with known answers, and against mctx itself."""

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest

import wm
from tests.planners.boards import TIC_TAC_TOE, solved, take
from tests.planners.small import KEY, Target
from wm.models.ensemble import Ensemble, EnsembleConfig, Particles
from wm.models.rules import rules
from wm.models.table import At, TableModel, empty
from wm.planners.mcts import MASKED, MCTSConfig, greedy, mcts, noisy
from wm.planners.qtransforms import by_tree
from wm.planners.rollouts import random_rollouts
from wm.types import ArraySpec, EnvSpec, Prediction

BOTH = ("gumbel", "puct")
slow = pytest.mark.slow  # a search takes seconds to compile
ONE_SLOW = ("gumbel", pytest.param("puct", marks=slow))
PUCT = MCTSConfig(method="puct", noise=0.0, temperature=0.0)


def table(actions, transitions):
    """A table in which everything else stays and earns nothing; (from, action): (to,
    reward, discount)."""
    states = 1 + max(max(at[0], to[0]) for at, to in transitions.items())
    spec = EnvSpec(
        ArraySpec((), "int32", classes=states),
        ArraySpec((), "int32", classes=actions),
        name="tree",
    )
    known = empty(states, actions)
    for at, (following, reward, discount) in transitions.items():
        known = known.replace(
            following=known.following.at[at].set(following),
            reward=known.reward.at[at].set(reward),
            discount=known.discount.at[at].set(discount),
        )
    return TableModel(spec), {"model": known}


def searched(model, heads, config, params, x):
    """The whole search, compiled: step by step it takes longer to begin."""
    policy = mcts(model, heads, config)
    return jax.jit(lambda params, x: policy.search(params, KEY, x))(params, x)


def at(*states):
    return At(jnp.array(states, jnp.int32), jnp.ones(len(states)))


def guess(value=0.0, logits=None):
    """Heads that say the same of every state."""

    def heads(params, key, state):
        rows = jax.tree.leaves(state)[0].shape[0]
        spread = lambda x: jnp.broadcast_to(jnp.asarray(x), (rows, len(x)))
        return None if logits is None else spread(logits), jnp.full(rows, value), None

    return heads


# One player: 0.3 at once, or nothing now and 1 after a second right choice.
PATIENCE = {
    (0, 0): (3, 0.3, 0.0),
    (0, 1): (1, 0.0, 1.0),
    (1, 0): (3, 0.0, 0.0),
    (1, 1): (2, 0.0, 1.0),
    (2, 0): (3, 0.0, 0.0),
    (2, 1): (3, 1.0, 0.0),
}
# Two players: 0 leads to a small loss, after 1 the second can win outright.
DUEL = {
    (0, 0): (1, 0.0, -1.0),
    (0, 1): (2, 0.0, -1.0),
    (1, 0): (3, 0.2, 0.0),
    (1, 1): (3, 0.1, 0.0),
    (2, 0): (3, -1.0, 0.0),
    (2, 1): (3, 1.0, 0.0),
}


@slow
@pytest.mark.parametrize("method", BOTH)
def test_the_best_action_is_visited_ever_more(method):
    """The heads think a fifth of what a state is worth, so that 0.3 at once looks
    better than waiting (0.2) until the tree is deep enough."""
    model, params = table(2, PATIENCE)
    heads = lambda params, key, state: (None, jnp.where(state.state < 3, 0.2, 0), None)
    shares = []
    for simulations in (16, 128, 1024):
        config = greedy(MCTSConfig(simulations, method, considered=2))
        search = searched(model, heads, config, params, at(0))
        shares.append(float(search.action_weights[0, 1]))
    assert search.action == 1
    assert shares == sorted(shares)
    assert shares[-1] > 0.85


@pytest.mark.parametrize("method", BOTH)
def test_the_other_player_moves_where_the_discount_is_negative(method):
    """By hand: 0 is worth -max(0.2, 0.1) = -0.2, 1 is worth -max(-1, 1) = -1."""
    model, params = table(2, DUEL)
    config = MCTSConfig(400, method, noise=0.0, statistics="bounds", considered=2)
    tree = searched(model, guess(), greedy(config), params, at(0, 1, 2))
    q = tree.search_tree.summary().qvalues
    np.testing.assert_array_equal(tree.action, [0, 0, 1])
    np.testing.assert_allclose(q[1:], [[0.2, 0.1], [-1.0, 1.0]], atol=1e-6)
    assert abs(q[0, 0] + 0.2) < 0.05
    # Were it one player's game, 1 would be best.
    known = params["model"]
    alone = {"model": known.replace(discount=jnp.abs(known.discount))}
    tree = searched(model, guess(), greedy(config), alone, at(0, 1, 2))
    np.testing.assert_array_equal(tree.action, [1, 0, 1])


@pytest.mark.parametrize("method", ONE_SLOW)
def test_what_has_ended_is_worth_nothing_whatever_the_net_says(method):
    """mctx walks on through ends: their values and what follows must not count."""
    model, params = table(2, {(0, 0): (1, 1.0, 0.0), (0, 1): (1, 0.0, 0.0)})
    config = greedy(MCTSConfig(40, method))
    rows = At(jnp.array([0, 0]), jnp.array([1.0, 0.0]))
    tree = searched(model, guess(0.7), config, params, rows).search_tree
    np.testing.assert_array_equal(tree.summary().qvalues, [[1.0, 0.0], [0.0, 0.0]])


@pytest.fixture(scope="module")
def game():
    return solved()


def test_the_solved_game_is_the_known_one(game):
    assert len(game.value) == TIC_TAC_TOE
    assert game.value[0] == 0
    assert game.best[0].all()


@pytest.mark.parametrize("config", [greedy(MCTSConfig(200)),
    pytest.param(greedy(MCTSConfig(200, "puct")), marks=slow),
    pytest.param(greedy(MCTSConfig(200, "puct", statistics="bounds")), marks=slow),
    pytest.param(greedy(MCTSConfig(200, "puct", statistics="tree")), marks=slow),
], ids=["gumbel", "siblings", "bounds", "tree"])  # fmt: skip
def test_with_perfect_values_every_position_is_played_perfectly(game, config):
    """200 simulations; with 32 gumbel errs in 1 of 600 positions and puct in 5."""
    rows = np.random.default_rng(0).choice(TIC_TAC_TOE, 600, replace=False)
    policy = mcts(game.model, game.lookup(game.value), config)
    _, action, extras = jax.jit(policy.act)(
        {}, KEY, policy.start({}, 600), take(game.states, rows)
    )
    assert game.best[rows, action].all()
    illegal = ~np.asarray(game.states.legal[rows])
    assert (np.asarray(extras["policy"])[illegal] == 0).all()


@slow
def test_random_playouts_find_the_move_as_simulations_grow(game):
    """Positions with one best move, four plies before the board is full."""
    only = (game.best.sum(1) == 1) & (np.asarray(game.states.legal).sum(1) == 4)
    rows = np.flatnonzero(only)[:128]
    heads = random_rollouts(game.model, 9)
    found = []
    for simulations in (4, 32, 256):
        config = greedy(MCTSConfig(simulations, "puct", statistics="bounds"))
        policy = mcts(game.model, heads, config)
        _, action, extras = jax.jit(policy.act)(
            {}, KEY, policy.start({}, len(rows)), take(game.states, rows)
        )
        found.append(game.best[rows, action].mean())
    assert found[0] < found[1] <= found[2]
    assert found[2] >= 0.99
    assert (game.best[rows] * extras["visits"]).sum(1).mean() > 0.85


def test_a_new_game_in_the_same_row_can_be_searched():
    """A root that is still marked as ended would be worth 0 whatever is played."""
    env = wm.env("pgx/tic_tac_toe", rules=True)
    batched = wm.batch(env)
    model = rules(env.spec.rules)
    state, timestep = batched.reset(KEY, 1)
    step, firsts = jax.jit(batched.step), 0
    policy = mcts(model, random_rollouts(model, 9), greedy(MCTSConfig(16)))
    search = jax.jit(policy.search)
    for move in (0, 3, 1, 4, 2, 0, 8):
        state, timestep = step(state, jnp.array([move]))
        if not timestep.is_first[0]:
            continue
        firsts += 1
        root = model.observe({}, KEY, None, None, timestep)
        q = search({}, KEY, root).search_tree.summary().qvalues
        assert np.abs(q).max() > 0
        assert root.alive == 1
    assert firsts == 1


def by_hand(model, params, state, heads):
    """mctx called without anything of ours."""
    logits, value, _ = heads(params, KEY, state)

    def step(params, key, action, state):
        state, earned = model.step(params, key, state, action)
        logits, value, _ = heads(params, key, state)
        output = mctx.RecurrentFnOutput(
            reward=earned.reward, discount=0.9 * earned.discount,
            prior_logits=logits, value=jnp.where(earned.discount == 0, 0.0, value),
        )  # fmt: skip
        return output, state

    root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=state)
    return {"params": params, "root": root, "recurrent_fn": step}


@pytest.mark.parametrize("method", ONE_SLOW)
def test_the_tree_is_that_of_mctx(method):
    model, params = table(3, {**PATIENCE, (0, 2): (2, 0.1, 1.0)})
    heads = guess(0.3, (0.5, 0.0, -0.2))
    config = MCTSConfig(50, method, gamma=0.9, noise=0.0, considered=3)
    ours = searched(model, heads, config, params, at(0, 1))
    key = jax.random.split(KEY, 3)[2]

    @jax.jit
    def reference(params):
        given = by_hand(model, params, at(0, 1), heads)
        given |= {"rng_key": key, "num_simulations": 50}
        if method == "puct":
            return mctx.muzero_policy(**given, dirichlet_fraction=0.0)
        return mctx.gumbel_muzero_policy(**given, max_num_considered_actions=3)

    theirs = reference(params)
    np.testing.assert_array_equal(ours.action, theirs.action)
    np.testing.assert_allclose(ours.action_weights, theirs.action_weights, rtol=1e-6)
    for name in ("children_index", "children_visits", "node_values", "parents"):
        a, b = (getattr(x.search_tree, name) for x in (ours, theirs))
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("config", [
    pytest.param(MCTSConfig(60), marks=slow), pytest.param(PUCT, marks=slow),
    MCTSConfig(60, "puct", statistics="tree"),
    pytest.param(MCTSConfig(60, "puct", statistics="bounds"), marks=slow),
    MCTSConfig(60, "puct", statistics="bounds", bounds=(0.95, 1.0)),
], ids=["gumbel", "siblings", "tree", "bounds", "below"])  # fmt: skip
def test_illegal_moves_are_never_tried_however_much_the_net_likes_them(game, config):
    rows = np.flatnonzero(np.asarray(game.states.legal).sum(1) == 3)[:64]
    states = take(game.states, rows)

    def heads(params, key, state):
        return jnp.where(state.legal, -5.0, 20.0), jnp.full(len(rows), -0.9), None

    found = searched(game.model, heads, config, {}, states)
    tree = found.search_tree
    illegal = ~np.asarray(tree.embeddings[0].legal)
    real = np.asarray(tree.node_visits)[..., None] > 0
    visits = np.asarray(tree.children_visits)
    assert visits.sum() > 0
    assert (visits[illegal & real] == 0).all()
    assert np.asarray(states.legal)[np.arange(64), found.action].all()
    assert (np.asarray(found.action_weights)[~np.asarray(states.legal)] == 0).all()


def test_noise_is_mixed_over_what_is_legal():
    """mctx's own takes 3 of 9 parts of it, a share of 0.1 in place of 0.25."""
    legal = jnp.arange(9) < 3
    logits = jnp.where(legal, jnp.array([2.0, 0, 0, 0, 0, 0, 0, 0, 0]), MASKED)
    prior = jax.nn.softmax(logits)
    many = jnp.broadcast_to(logits, (20_000, 9))
    for alpha in (0.3, 0.03):
        mixed = jax.nn.softmax(noisy(KEY, many, 0.25, alpha))
        assert np.isfinite(mixed).all()
        assert (mixed[:, 3:] == 0).all()
        expected = 0.75 * prior[:3] + 0.25 / 3
        np.testing.assert_allclose(mixed[:, :3].mean(0), expected, atol=5e-3)
        # Var of a symmetric Dirichlet: (K - 1) / (K² (K alpha + 1)).
        variance = 0.25**2 * 2 / (9 * (3 * alpha + 1))
        np.testing.assert_allclose(mixed[:, 1].var(), variance, rtol=0.05)


@slow
def test_actions_are_drawn_by_visits_until_the_game_is_late():
    model, params = table(2, {(0, 0): (0, 0.1, 0.0), (0, 1): (0, 0.0, 0.0)})
    config = MCTSConfig(12, "puct", noise=0.0, temperature_moves=2)
    policy = mcts(model, guess(), config)
    rows = at(*[0] * 512)
    carry = policy.start(params, 512)
    shares = []
    for move in range(3):
        key = jax.random.key(move)
        carry, action, extras = policy.act(params, key, carry, rows)
        shares.append(float((action == 0).mean()))
        visits = float(extras["visits"][0, 0])
    assert 0.6 < visits < 0.95
    np.testing.assert_allclose(shares[:2], visits, atol=0.06)
    assert shares[2] == 1.0
    np.testing.assert_array_equal(carry, 3)
    flat = mcts(model, guess(), MCTSConfig(12, "puct", noise=0.0, temperature=4.0))
    _, action, _ = flat.act(params, KEY, flat.start(params, 512), rows)
    fourth = visits**0.25 / (visits**0.25 + (1 - visits) ** 0.25)
    np.testing.assert_allclose((action == 0).mean(), fourth, atol=0.06)
    gumbel = mcts(model, guess(logits=(0.0, 0.0)), MCTSConfig(1, temperature_moves=2))
    early = gumbel.act(params, KEY, jnp.zeros(512, jnp.int32), rows)[1]
    late = gumbel.act(params, KEY, jnp.full(512, 2), rows)[1]
    assert 0 < early.mean() < 1
    assert (late == late[0]).all()


@slow
def test_values_are_stretched_over_the_whole_tree():
    model, params = table(2, DUEL)
    config = MCTSConfig(9, "puct", noise=0.0, statistics="tree")
    tree = searched(model, guess(), config, params, at(0)).search_tree
    row = jax.tree.map(lambda x: x[0], tree)
    q = np.asarray(row.children_rewards + row.children_discounts * row.children_values)
    visited = np.asarray(row.children_visits) > 0
    low, high = q[visited].min(), q[visited].max()
    assert low < 0 < high
    for node in range(3):
        expected = np.where(visited[node], (q[node] - low) / (high - low), 0)
        got = by_tree(row, node, least_range=0.01)
        np.testing.assert_allclose(got, expected, atol=1e-6)
    # Nothing visited yet, and differences too small to be stretched.
    blank = jax.tree.map(jnp.zeros_like, row)
    np.testing.assert_array_equal(by_tree(blank, 0, least_range=0.01), 0)
    tiny = row.replace(
        children_rewards=1e-4 * row.children_rewards,
        children_values=1e-4 * row.children_values,
    )
    assert by_tree(tiny, 0, least_range=0.01).max() < 0.05


def bandit(rows, actions, seed):
    """Rewards of one step; the state is the row of them, and whether it is over."""
    q = jax.random.uniform(jax.random.key(seed), (rows, actions))

    class Bandit:
        spec = EnvSpec(ArraySpec((1,)), ArraySpec((), "int32", actions), name="bandit")

        def step(self, params, key, state, action):
            reward = jnp.take_along_axis(state, action[:, None], 1)[:, 0]
            return jnp.zeros_like(state), Prediction(reward, jnp.zeros(rows))

    return Bandit(), q


@slow
@pytest.mark.parametrize(("simulations", "least"), [(2, 0.095), (4, 0.105), (16, 0.18)])
def test_gumbel_improves_a_policy_with_any_number_of_simulations(simulations, least):
    """Danihelka et al. 2022; 82 actions, normal logits, uniform values, 512 states.

    Mean gain of its target 0.101, 0.112 and 0.197 with 2, 4 and 16 simulations, and no
    state is worse off; 0.078, 0.088 and 0.192 where what was not visited is worth the
    mixture, with which a state may lose 0.0004. The visits of PUCT with noise gain as
    much on average and make many states worse.
    """
    rows, actions = 512, 82
    model, q = bandit(rows, actions, 0)
    logits = jax.random.normal(jax.random.key(1), (rows, actions))
    value = (jax.nn.softmax(logits) * q).sum(-1)
    heads = lambda params, key, state: (logits, value, None)
    configs = {
        "gumbel": MCTSConfig(simulations, mixed=False),
        "mixture": MCTSConfig(simulations),
        "puct": MCTSConfig(simulations, "puct"),
    }
    gain = {}
    for name, config in configs.items():
        found = searched(model, heads, config, {}, q)
        gain[name] = np.asarray((found.action_weights * q).sum(-1) - value)
        if name == "gumbel" and simulations == 4:
            played = jnp.take_along_axis(q, found.action[:, None], 1)[:, 0]
            assert (played - value).mean() >= 0.2
    assert gain["gumbel"].min() >= -1e-5
    assert gain["gumbel"].mean() >= least
    assert gain["mixture"].min() >= -1e-3
    assert gain["mixture"].mean() >= 0.07
    assert (gain["puct"] < 0).mean() > 0.15


@slow
def test_candidates_are_halved_in_turn():
    model, q = bandit(64, 16, 3)
    heads = lambda params, key, state: (jnp.zeros((64, 16)), jnp.zeros(64), None)
    once = searched(model, heads, MCTSConfig(16), {}, q)
    visits = once.search_tree.summary().visit_counts
    np.testing.assert_array_equal(visits, 1)
    found = searched(model, heads, MCTSConfig(64), {}, q)
    visits = np.sort(np.asarray(found.search_tree.summary().visit_counts), -1)
    table = mctx._src.seq_halving.get_sequence_of_considered_visits(16, 64)
    np.testing.assert_array_equal(visits[:, -1], max(table) + 1)
    assert (visits.sum(-1) == 64).all()
    assert ((visits == 1).sum(-1) == 8).all()


def drawn(density=False, value=0.0, K=32):
    """Heads that draw K numbers from a normal; `density` also counts it as prior."""

    def heads(params, key, state):
        rows = state.shape[0]
        actions = jax.random.normal(key, (rows, K, 2))
        logits = -0.5 * actions[..., 0] ** 2 if density else None
        return logits, jnp.full(rows, value), actions

    return heads


class Flat(Target):
    """One step; earns nothing, or what a bump at 1.5 says of the first number."""

    bump = False

    def step(self, params, key, state, action):
        value = jnp.exp(-((action[:, 0] - 1.5) ** 2)) if self.bump else 0 * state[:, 0]
        return state, Prediction(value, jnp.zeros(state.shape[0]))


class Bump(Flat):
    bump = True


@slow
@pytest.mark.parametrize("method", BOTH)
def test_actions_drawn_from_the_policy_need_no_prior(method):
    """Constant values must leave the policy as it is: a second moment of 1. With the
    density as prior (LightZero's ptree_sez, "density") it is counted twice: 0.5."""
    state = jnp.zeros((512, 2))
    config = MCTSConfig(200, method, noise=0.0, considered=32, max_depth=1)

    def moment(model, heads, of):
        policy = mcts(model, heads, config)
        extras = jax.jit(policy.act)({}, KEY, policy.start({}, 512), state)[2]
        values = of(extras["actions"][..., 0])
        return float((extras["policy"] * values).sum(-1).mean())

    assert moment(Flat(), drawn(), jnp.square) == pytest.approx(1.0, abs=0.05)
    assert moment(Flat(), drawn(density=True), jnp.square) < 0.7
    bump = lambda a: jnp.exp(-((a - 1.5) ** 2))
    prior = 3**-0.5 * np.exp(-0.75)
    assert moment(Bump(), drawn(value=prior), bump) >= 0.42


def test_drawn_actions_reach_the_model_in_its_own_form():
    env = wm.env("classic/pendulum", rules=True)
    model = rules(env.spec.rules)
    _, timestep = wm.batch(env).reset(KEY, 3)
    state = model.observe({}, KEY, None, None, timestep)

    def heads(params, key, state):
        rows = state.alive.shape[0]
        actions = jax.random.uniform(key, (rows, 5, 1), minval=-1.0)
        return None, jnp.zeros(rows), actions

    policy = mcts(model, heads, MCTSConfig(12, considered=5))
    _, action, extras = jax.jit(policy.act)({}, KEY, policy.start({}, 3), state)
    assert action.shape == (3, 1)
    hit = (np.asarray(extras["actions"]) == np.asarray(action)[:, None]).all(-1)
    assert (hit.sum(1) == 1).all()


@slow
def test_an_ensemble_is_searched_with_its_particles_in_the_nodes():
    """Rewards of the first action are those that the ensemble predicts for it."""
    spec = EnvSpec(
        ArraySpec((3,)),
        ArraySpec((2,)),
        reward_fn=lambda o, a, n: n[0] - a[0],
        terminal_fn=lambda o, a, n: n[1] > 50.0,
    )
    small = EnsembleConfig(members=2, layers=1, units=4, particles=4, gaussian=False)
    model = Ensemble(spec, small)
    params = model.init(KEY)
    place = jax.random.normal(KEY, (3, 4, 3))
    state = Particles(place, jnp.ones((3, 4)))

    def heads(params, key, state):
        actions = jax.random.uniform(key, (3, 5, 2), minval=-1.0)
        return None, jnp.zeros(3), actions

    config = MCTSConfig(10, considered=5, max_depth=1)
    tree = searched(model, heads, config, params, state).search_tree
    assert tree.embeddings[0].observation.shape == (3, 11, 4, 3)
    actions = np.asarray(tree.embeddings[1])[:, 0]
    for index in range(5):
        _, earned = model.step(params, KEY, state, jnp.asarray(actions[:, index]))
        visited = np.asarray(tree.children_visits)[:, 0, index] > 0
        got = np.asarray(tree.children_rewards)[:, 0, index]
        np.testing.assert_allclose(
            got[visited], np.asarray(earned.reward)[visited], rtol=1e-4, atol=1e-5
        )


def test_what_cannot_be_searched_is_an_error():
    for field, value in {
        "simulations": 0, "method": "uct", "gamma": 0.0, "max_depth": 0, "noise": 2.0,
        "statistics": "none", "bounds": (1.0, 1.0), "temperature": -1.0,
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"^{field} must be"):
            MCTSConfig(**{field: value})
    policy = mcts(Target(), guess(), MCTSConfig(2))  # its actions are two numbers
    with pytest.raises(ValueError, match=r"heads must return actions .* point"):
        policy.act({}, KEY, policy.start({}, 2), jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="needs actions of one index, point"):
        random_rollouts(Target(), 3)


def test_playouts_alternate_signs_and_stop_at_the_end():
    """From 1 the mover gets 0.2 or 0.1 at once; from 0, minus that mean or 0."""
    model, params = table(2, DUEL)
    many = at(*[0, 1] * 4_000)
    _, value, _ = jax.jit(random_rollouts(model, 9))(params, KEY, many)
    value = np.asarray(value).reshape(-1, 2)
    assert value[:, 1].mean() == pytest.approx(0.15, abs=0.005)
    assert value[:, 0].mean() == pytest.approx(-0.075, abs=0.03)
    assert {round(float(x), 2) for x in value[:, 0]} == {-0.2, -0.1, -1.0, 1.0}
    halved = np.abs(random_rollouts(model, 9, gamma=0.5)(params, KEY, many)[1][::2])
    assert {round(float(x), 2) for x in halved} == {0.1, 0.05, 0.5}
    assert (random_rollouts(model, 1)(params, KEY, at(0))[1] == 0).all()
