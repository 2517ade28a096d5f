"""Every environment of the table against the `Env` and `BatchEnv` contracts.

Being listed is being tested. The cheap ones always; of the costly families one each,
marked slow where compiling takes more than a few seconds.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.envs import ENVS, batch, make
from wm.envs.check import check
from wm.envs.registry import is_host

ROWS, STEPS = 3, 40
GYMNAX = ("CartPole-v1", "Pendulum-v1", "FrozenLake-misc")
BOARDS = ("connect_four", "othello", "gardner_chess", "go_9x9", "2048")
CHEAP = (
    *(
        name
        for name in ENVS
        if name.startswith(("probe/", "pixels/", "grid/", "classic/"))
    ),
    *(f"gymnax/{name}" for name in GYMNAX),
    "pgx/tic_tac_toe",
)
SLOW = (
    *(
        name
        for name in ENVS
        if name.startswith("gymnax/") and name not in CHEAP and "MNIST" not in name
    ),
    "brax/inverted_pendulum",
    "craftax/classic-pixels",
    "playground/CartpoleBalance",
    *(f"pgx/{name}" for name in BOARDS),
)
PACKAGES = {
    "brax": "brax",
    "craftax": "craftax",
    "playground": "mujoco_playground",
    "pgx": "pgx",
}
ALL = [*CHEAP, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]

# Brax reads fields of MJX that MJX has moved.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing `ncon`:DeprecationWarning")

each_env = pytest.mark.parametrize("name", ALL)


def build(name):
    source = name.split("/")[0]
    if source in PACKAGES:
        pytest.importorskip(PACKAGES[source])
    return make(name)


def actions_of(spec, key, steps=STEPS, rows=ROWS):
    shape = (steps, rows, *spec.action.shape)
    if spec.action.discrete:
        return jax.random.randint(key, shape, 0, spec.action.classes)
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


@jax.jit
def play(env, key, actions):
    """Stream `[1 + T, B]` and the last state."""
    state, start = env.reset(key, actions.shape[1])
    state, rest = jax.lax.scan(env.step, state, actions)
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, rest)


def equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@each_env
def test_contract_in_words(name):
    """`check` also compares compiled with not compiled."""
    env = build(name)
    assert jax.tree.leaves(env) == []
    assert hash(env.spec) == hash(build(name).spec)
    assert check(env) == []


@each_env
def test_batch_keeps_the_contract(name):
    """One rollout, many claims: compiling it is what costs."""
    env = batch(build(name))
    key = jax.random.key(0)
    actions = actions_of(env.spec, key)
    _, stream = play(env, key, actions)

    # The same in, the same out, without tracing again.
    programs = play._cache_size()
    equal(stream, play(batch(build(name)), key, actions)[1])
    assert play._cache_size() == programs + (name == "probe/trace_counter")

    # Next-step reset.
    first, last = np.asarray(stream.is_first), np.asarray(stream.is_last)
    assert first[0].all()
    np.testing.assert_array_equal(first[1:], last[:-1])
    assert (np.asarray(stream.reward)[first] == 0).all()
    assert (np.asarray(stream.discount)[first] == 1).all()
    assert last[np.asarray(stream.discount) == 0].all()
    limit = env.spec.time_limit
    if limit is not None and limit <= STEPS:
        assert last[: limit + 1].any(axis=0).all()

    # Rows are independent: what the others do does not reach the first row.
    others = actions.at[:, 1:].set(actions[::-1, 1:])
    if env.autoreset in ("exact", "lazy"):
        _, mixed = play(env, key, others)
        equal(*(jax.tree.map(lambda x: x[:, 0], s) for s in (stream, mixed)))

    # Form: as the spec says, reward in float32, stable state.
    for part, leaf in zip(
        jax.tree.leaves(env.spec.observation),
        jax.tree.leaves(stream.observation),
        strict=True,
    ):
        assert leaf.shape == (1 + STEPS, ROWS, *part.shape)
        assert leaf.dtype == part.dtype
    assert stream.reward.dtype == stream.discount.dtype == jnp.float32
    assert first.dtype == last.dtype == bool


@pytest.mark.parametrize("name", CHEAP)
def test_off_ends_every_row_for_good(name):
    env = build(name)
    env = batch(env, "off")
    limit = env.spec.time_limit
    key = jax.random.key(2)
    _, stream = play(env, key, actions_of(env.spec, key, steps=limit + 1))
    assert np.asarray(stream.is_last)[-2:].all()
    assert (np.asarray(stream.reward)[-1] == 0).all()
    equal(*(jax.tree.map(lambda x: x[t], stream.observation) for t in (-1, -2)))


def test_every_jax_environment_can_be_listed_and_host_ones_are_known():
    sources = {name.split("/")[0] for name in ENVS if not is_host(name)}
    own = {"pixels", "probe", "grid", "classic"}
    assert sources == own | {"gymnax", "brax", "craftax", "playground", "pgx"}
