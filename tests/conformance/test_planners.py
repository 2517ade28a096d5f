"""Every planner in every kind of model whose actions it fits, as a `Policy`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.models.tiny import CONFIG, SPEC, VECTOR_ACTION, fresh, random_like
from tests.planners.small import known_maze
from wm.imagine import imagine
from wm.models.rssm import RSSM
from wm.models.rules import rules
from wm.planners.cem import CEMConfig, cem
from wm.planners.gradient import GradientConfig, gradient
from wm.planners.mcts import MCTSConfig, mcts
from wm.planners.mppi import MPPIConfig, mppi
from wm.planners.sequences import discounted
from wm.planners.shooting import ShootingConfig, shooting
from wm.types import Policy

ROWS = 3
ICEM = CEMConfig(
    4, 10, 4, 2, beta=2.0, decay=1.25, reuse=0.5, try_mean=True, execute="best",
    bounds="clip", particles=2,
)  # fmt: skip
TD_MPC = MPPIConfig(4, 10, 4, 2, refit=True, execute="sample", bounds="clip")


def tree_search(model, objective, config):
    """Values of 0; three drawn actions where they are numbers."""
    spec = model.spec.action

    def heads(params, key, state):
        rows = jax.tree.leaves(state)[0].shape[0]
        if spec.discrete:
            return None, jnp.zeros(rows), None
        size = (rows, 3, *spec.shape)
        drawn = jax.random.uniform(key, size, minval=-1.0, maxval=1.0)
        return None, jnp.zeros(rows), drawn

    return mcts(model, heads, config)


PLANNERS = {
    "gumbel": functools.partial(tree_search, config=MCTSConfig(6)),
    "puct": functools.partial(tree_search, config=MCTSConfig(6, "puct")),
    "shooting": functools.partial(shooting, config=ShootingConfig(4, 10)),
    "cem": functools.partial(cem, config=CEMConfig(4, 10, 3, 2)),
    "icem": functools.partial(cem, config=ICEM),
    "mppi": functools.partial(mppi, config=MPPIConfig(4, 10, iterations=2)),
    "mppi of td-mpc": functools.partial(mppi, config=TD_MPC),
    "gradient": functools.partial(gradient, config=GradientConfig(4, 2, samples=2)),
}


@functools.cache
def table():
    model, params, _ = known_maze(wm.env("grid/dyna_maze"))
    start = model.start(params, ROWS)
    return model, params, start.replace(state=jnp.array([18, 17, 44]))


@functools.cache
def of_rules(name):
    env = wm.env(name)
    model = rules(env)
    keys = jax.random.split(jax.random.key(3), ROWS)
    state, timestep = jax.vmap(env.reset)(keys)
    seen = timestep._replace(private=state)
    return model, {}, model.observe({}, keys[0], None, None, seen)


@functools.cache
def rssm(spec):
    model = RSSM(spec, CONFIG)
    params = random_like(fresh(model))
    state = model.start(params, ROWS)
    noise = jax.random.normal(jax.random.key(1), state.deter.shape)
    return model, params, state.replace(deter=noise)


MODELS = {
    "table": table,
    "rssm classes": functools.partial(rssm, SPEC),
    "rssm numbers": functools.partial(rssm, VECTOR_ACTION),
    "rules classes": functools.partial(of_rules, "classic/cartpole"),
    "rules numbers": functools.partial(of_rules, "probe/double_integrator"),
}
QUICK = [("gumbel", "rules numbers"), ("puct", "table")]
"""Of tree searches, which take longer to compile; the others are slow."""
CASES = [
    pytest.param(
        (planner, model),
        marks=[pytest.mark.slow]
        if planner in ("gumbel", "puct") and (planner, model) not in QUICK
        else [],
    )
    for planner in PLANNERS
    for model in MODELS
    if planner != "gradient" or "numbers" in model
]


@pytest.fixture(
    scope="module", params=CASES, ids=lambda case: "-".join(case).replace(" ", "_")
)
def ready(request):
    """The policy, its parameters, states, and a compiled plan."""
    planner, model = request.param
    model, params, state = MODELS[model]()
    policy = PLANNERS[planner](model, discounted(0.99))
    return policy, params, state, jax.jit(policy.act)


def same(a, b, tolerance=0.0):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.allclose(x, y, tolerance, tolerance) for x, y in pairs)


def test_it_is_a_policy_that_fits_the_spec_and_keeps_its_carry(ready):
    policy, params, state, act = ready
    assert isinstance(policy, Policy)
    carry = policy.start(params, ROWS)
    after, action, extras = act(params, jax.random.key(0), carry, state)
    form = lambda x: (x.shape, x.dtype)
    assert jax.tree.map(form, after) == jax.tree.map(form, carry)
    for leaf in jax.tree.leaves(carry):
        assert leaf.shape[0] == ROWS
    spec = policy.model.spec.action
    assert form(action) == ((ROWS, *spec.shape), spec.dtype)
    if "policy" in extras:  # a search's target, for whoever learns from it
        np.testing.assert_allclose(extras["policy"].sum(-1), 1, rtol=1e-5)
        assert extras["value"].shape == (ROWS,)
    else:
        assert extras == {}
    low, high = (0, spec.classes - 1) if spec.discrete else (-1, 1)
    assert ((action >= low) & (action <= high)).all()


def test_the_same_key_gives_the_same_plan_in_one_program(ready):
    policy, params, state, act = ready
    carry = policy.start(params, ROWS)
    a = act(params, jax.random.key(0), carry, state)
    programs = act._cache_size()
    b = act(params, jax.random.key(0), carry, state)
    act(params, jax.random.key(1), a[0], state)
    assert act._cache_size() == programs
    assert same(a, b)


def test_rows_plan_independently(ready):
    policy, params, state, act = ready
    carry = policy.start(params, ROWS)
    other = jax.tree.map(lambda x: jnp.concatenate([x[:1], x[::-1][:2]]), state)
    plans = [act(params, jax.random.key(0), carry, x)[:2] for x in (state, other)]
    first = [jax.tree.map(lambda x: x[0], plan) for plan in plans]
    assert same(*first, 1e-5)


def test_a_planner_acts_in_imagination_and_over_seeds(ready):
    """Two seeds by vmap; also the policy of a rollout in the very model it plans in."""
    policy, params, state, _ = ready

    @jax.jit
    def roll(key):
        carry = policy.start(params, ROWS)
        model = policy.model
        return imagine(model, policy, params, key, state, carry, 2)[2].action

    keys = jax.random.split(jax.random.key(5), 2)
    together = jax.jit(jax.vmap(roll))(keys)
    alone = roll(keys[1])
    assert together.shape == (2, 2, ROWS, *policy.model.spec.action.shape)
    assert same(together[1], alone, 1e-4)
