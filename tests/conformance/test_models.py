"""Every world model against its contract. Being listed is being tested."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.models.tiny import CONFIG, fresh, random_like
from wm.envs import wrappers
from wm.envs.grid import Maze
from wm.models import counted
from wm.models.counted import CountedModel
from wm.models.ensemble import Ensemble, EnsembleConfig
from wm.models.gp import GPConfig, GPModel
from wm.models.rssm import RSSM
from wm.models.rules import rules
from wm.models.table import TableModel, record
from wm.models.value_equivalent import ValueEquivalent, ValueEquivalentConfig
from wm.models.value_prefix import ValuePrefix, ValuePrefixConfig
from wm.types import ArraySpec, EnvSpec, TimeStep, WorldModel

ROWS = 3
VECTOR = EnvSpec(ArraySpec((3,)), ArraySpec((), "int32", 4), legal=True)
GRID = EnvSpec(ArraySpec((), "int32", 5), ArraySpec((), "int32", 4))
NORM = dataclasses.replace(CONFIG, core="norm_gru", learned_start=True)


def table(spec):
    """A model that knows two transitions, the second of which ends."""
    model = TableModel(spec)
    known = model.init(jax.random.key(0))["model"]
    for state, reward, discount in ((0, 0.5, 1.0), (1, 2.0, 0.0)):
        args = (jnp.int32(state), jnp.int32(1), reward, discount, jnp.int32(state + 1))
        known = record(known, *args)
    return model, {"model": known}


def counted_table(spec):
    """A model that has counted two ways from one state, one of which ends."""
    model = CountedModel(spec)
    known = model.init(jax.random.key(0))["model"]
    for following, reward, discount in ((1, 0.5, 1.0), (1, 0.5, 1.0), (2, 2.0, 0.0)):
        args = (jnp.int32(0), jnp.int32(1), reward, discount, jnp.int32(following))
        known = counted.record(known, *args)
    return model, {"model": known}


def rssm(config, spec):
    model = RSSM(spec, config)
    return model, random_like(fresh(model))


def maze(time_limit):
    """The rules of the Dyna maze."""
    return rules(Maze(time_limit=time_limit)), {"model": {}}


def ensemble(**settings):
    config = EnsembleConfig(
        members=2, layers=1, units=8, particles=4, learn_reward=True, **settings
    )
    model = Ensemble(EnvSpec(ArraySpec((3,)), ArraySpec((2,))), config)
    return model, fresh(model)


def process():
    """A Gaussian process that has seen two points."""
    spec = EnvSpec(ArraySpec((3,)), ArraySpec((2,)))
    model = GPModel(spec, GPConfig(angles=(1,), points=4))
    params = fresh(model)["model"]
    known = {"x": params["x"].at[1].set(1.0), "y": params["y"].at[1].set(0.5)}
    return model, {"model": {**params, **known, "mask": jnp.arange(4) < 2}}


def latent(spec, **settings):
    sizes = {"units": 8, "latent": 4, "value_bins": 5, "reward_bins": 5, "stack": 2}
    config = ValueEquivalentConfig(**sizes, **settings)
    model = ValueEquivalent(spec, config)
    return model, random_like(fresh(model))


def prefixed(spec):
    sizes = {"units": 8, "latent": 4, "value_bins": 5, "reward_bins": 5, "stack": 2}
    sizes |= {"memory": 4, "projection": 4, "bottleneck": 2, "prefix_horizon": 2}
    model = ValuePrefix(spec, ValuePrefixConfig(**sizes))
    return model, random_like(fresh(model))


MODELS = {
    "counted table": functools.partial(counted_table, GRID),
    "value equivalent": functools.partial(latent, VECTOR),
    "value prefix": functools.partial(prefixed, VECTOR),
    "ensemble": ensemble,
    "ensemble by ts1": functools.partial(ensemble, propagation="ts1"),
    "ensemble without noise": functools.partial(ensemble, gaussian=False),
    "gp": process,
    "rules": functools.partial(maze, 1000),
    "rssm": functools.partial(rssm, CONFIG, VECTOR),
    "rssm of 2023": functools.partial(rssm, NORM, VECTOR),
    "table": functools.partial(table, GRID),
}
DRAWS = {"rssm", "rssm of 2023", "ensemble", "ensemble by ts1"}
"""Models whose steps are random."""


@pytest.fixture(scope="module", params=MODELS, ids=lambda name: name.replace(" ", "_"))
def ready(request):
    model, params = MODELS[request.param]()
    return request.param, model, params


def seen(model, key, rows=ROWS):
    spec = model.spec.observation
    if spec.discrete:
        observation = jax.random.randint(key, (rows,), 0, spec.classes)
    else:
        observation = jax.random.normal(key, (rows, *spec.shape))
    return TimeStep(
        observation=observation,
        reward=jnp.zeros(rows),
        discount=jnp.ones(rows),
        is_first=jnp.arange(rows) == 0,
        is_last=jnp.zeros(rows, bool),
        legal=jnp.ones((rows, 4), bool) if model.spec.legal else None,
        private=begun(model, observation),
    )


def begun(model, cells):
    """States of the rules in the cells that are seen; None for other models."""
    if not hasattr(model, "env"):
        return None
    state, _ = model.env.reset(jax.random.key(0))
    return jax.vmap(lambda cell: state.replace(cell=cell))(cells)


def acts(model, rows=ROWS):
    spec = model.spec.action
    if spec.discrete:
        return jnp.arange(rows) % 4
    return jnp.linspace(-1, 1, rows)[:, None] * jnp.ones(spec.shape)


@functools.cache
def functions(model):
    def observed(params, key, state, action, timestep):
        evidence = model.encode(params, timestep)
        return model.observe(params, key, state, action, evidence)

    return jax.jit(observed), jax.jit(model.step)


def believed(ready, key=1, rows=ROWS):
    """A state after one observation, and actions to take in it."""
    _, model, params = ready
    observe, _ = functions(model)
    action = acts(model, rows)
    timestep = seen(model, jax.random.key(key), rows)
    state = model.start(params, rows)
    return observe(params, jax.random.key(key + 1), state, action, timestep), action


def same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.allclose(x, y, rtol=1e-5, atol=1e-6) for x, y in pairs)


def test_is_a_world_model(ready):
    assert isinstance(ready[1], WorldModel)


def test_every_leaf_of_a_state_leads_with_rows_and_none_is_a_key(ready):
    _, model, params = ready
    state, action = believed(ready)
    after, prediction = functions(model)[1](params, jax.random.key(3), state, action)
    for tree in (model.start(params, ROWS), state, after):
        for leaf in jax.tree.leaves(tree):
            assert leaf.shape[0] == ROWS
            assert not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    shape = lambda x: (x.shape, x.dtype)
    assert jax.tree.map(shape, after) == jax.tree.map(shape, state)
    assert prediction.reward.shape == prediction.discount.shape == (ROWS,)
    assert prediction.reward.dtype == prediction.discount.dtype == jnp.float32
    assert (np.abs(prediction.discount) <= 1).all()


def test_same_in_same_out_and_the_key_matters_where_it_should(ready):
    name, model, params = ready
    state, action = believed(ready)
    step = functions(model)[1]
    results = [step(params, jax.random.key(k), state, action)[0] for k in (3, 3, 4, 5)]
    assert same(results[0], results[1])
    differ = not (same(results[0], results[2]) and same(results[0], results[3]))
    assert differ == (name in DRAWS)


def test_a_belief_is_of_the_next_observation(ready):
    _, model, params = ready
    if not hasattr(model, "predictive"):
        return
    state, action = believed(ready)
    belief = jax.jit(model.predictive)(params, state, action)
    shape = (ROWS, *model.spec.observation.shape)
    assert belief.mean.shape == belief.variance.shape == shape
    assert belief.mean.dtype == belief.variance.dtype == jnp.float32
    assert (np.asarray(belief.variance) > 0).all()
    # Many steps from one state scatter about its mean as its variance says.
    step = lambda n: functions(model)[1](params, jax.random.key(n), state, action)[0]
    draws = np.stack([model.decode(params, step(n)) for n in range(40)])
    bound = 5 * np.sqrt(np.asarray(belief.variance) / 40) + 1e-4
    assert (np.abs(draws.mean(0) - belief.mean) < bound).all()


def test_rows_are_independent(ready):
    _, model, params = ready
    (one, action), (other, _) = believed(ready), believed(ready, key=12)
    mixed = jax.tree.map(lambda a, b: jnp.concatenate([a[:1], b[1:]]), one, other)
    step = functions(model)[1]
    row = lambda tree: jax.tree.map(lambda x: x[0], tree)
    a = step(params, jax.random.key(3), one, action)
    b = step(params, jax.random.key(3), mixed, action)
    assert same(row(a), row(b))
    assert not same(a, b)


def test_observing_a_first_record_forgets(ready):
    _, model, params = ready
    observe, _ = functions(model)
    timestep = seen(model, jax.random.key(9))
    action = acts(model)
    row = lambda tree: jax.tree.map(lambda x: x[0], tree)
    used, _ = believed(ready)
    args = (action, timestep)
    a = observe(params, jax.random.key(3), used, *args)
    b = observe(params, jax.random.key(3), model.start(params, ROWS), *args)
    assert same(row(a), row(b))


def test_everything_is_legal_at_the_start(ready):
    _, model, params = ready
    if hasattr(model, "legal"):
        assert model.legal(params, model.start(params, ROWS)).all()


def test_a_model_is_an_environment_that_passes_its_check(ready):
    _, model, params = ready
    state, _ = believed(ready)
    dream = wm.as_env(model, params, starts=state)
    limited = wrappers.time_limit(dream, 5)
    assert dream.spec.time_limit is None
    assert wm.check(limited) == []


def test_a_table_is_absorbing_after_an_end():
    model, params = table(GRID)
    state = model.start(params, 1).replace(state=jnp.array([1]))
    step = functools.partial(model.step, params, jax.random.key(0))
    state, prediction = step(state, jnp.array([1]))
    assert (prediction.reward, prediction.discount) == (2.0, 0.0)
    for _ in range(2):
        state, prediction = step(state, jnp.array([1]))
        assert (prediction.reward, prediction.discount) == (0.0, 0.0)
        assert state.state == 2
