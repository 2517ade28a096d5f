"""All of DreamerV3 against arrays from the authors' code: losses, gradients, updates.

`danijar/dreamerv3` at e3f0224, jax 0.4.33, float32 on CPU, random parameters; their
latents are forced by choosing the noise, their actions by an open-loop policy.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from forcing import KINDS, agent, posterior_noise, prior_noise, state_of
from names import assert_close, below, our_path, read, tree_of

from wm.agents.dreamer_v3 import Noise, State
from wm.imagine import open_loop
from wm.models.rssm_state import unpack
from wm.ops.normalizers import PercentileState
from wm.types import Batch, Index, TimeStep

TERMS = {
    "dyn": "dyn",
    "rep": "rep",
    "rew": "reward",
    "con": "continue",
    "image": "rec/image",
    "vector": "rec/vector",
    "policy": "policy",
    "value": "value",
    "repval": "replay_value",
}
MODEL = ("encoder", "core", "prior", "posterior", "decoder", "reward", "continue")
TERM, GRADIENT, NORM = 1e-5, 5e-5, 1e-5
LATER_LOSS, LATER_PARAMS = 1e-4, 3e-4


@functools.cache
def arrays(kind: str) -> dict:
    return read(f"agent_{kind}")


def start(kind: str) -> State:
    """The recorded parameters and normalizer, a fresh optimizer."""
    given = below(arrays(kind), "param")
    tree = jax.tree.map(jnp.asarray, tree_of(given))
    params = {
        "model": {name: tree[name] for name in MODEL},
        "policy": {"actor": tree["policy"], "critic": tree["value"]},
    }
    scale = PercentileState(
        low=jnp.asarray(given["retnorm/lo/value"]),
        high=jnp.asarray(given["retnorm/hi/value"]),
    )
    return State(
        params=params,
        slow_critic=tree["slow_value"],
        optimizer=agent(kind).optimizer.init(params),
        scale=scale,
        updates=jnp.zeros((), jnp.int32),
    )


def batch(kind: str) -> Batch:
    """The recorded sequences with their context."""
    data = below(arrays(kind), "data")
    timestep = TimeStep(
        observation={"image": data["image"], "vector": data["vector"]},
        reward=data["reward"],
        discount=1 - data["is_terminal"].astype(np.float32),
        is_first=data["is_first"],
        is_last=data["is_last"],
    )
    stoch = data["dyn/stoch"].argmax(-1)
    np.testing.assert_array_equal(np.eye(4)[stoch], data["dyn/stoch"])
    shape = data["reward"].shape
    zeros = np.zeros(shape, np.int32)
    made = Batch(
        timestep=timestep,
        action=data["action"],
        extras={"latent": {"deter": data["dyn/deter"], "stoch": stoch}},
        index=Index(row=zeros, time=zeros),
        probability=np.ones(shape[0]),
    )
    return jax.tree.map(jnp.asarray, made)


def forced(kind: str, params) -> tuple[Noise, object]:
    """Noise and policy that repeat the recorded draws under `params`."""
    model, drawn = agent(kind).model, below(arrays(kind), "sample")
    given = batch(kind)
    after = jax.tree.map(lambda x: x[:, 1:], given.timestep)
    evidence = model.encode(params, after)
    first = jax.tree.map(lambda x: x[:, 0], given.extras["latent"])
    inputs = unpack(first, 4, "float32"), given.action[:, :-1], evidence
    posterior = posterior_noise(model, params, *inputs, drawn["post_idx"])
    states, _ = model.observe_sequence(params, posterior, *inputs)
    deter = states.deter.reshape(-1, states.deter.shape[-1])
    starts = state_of(deter, drawn["post_idx"].reshape(deter.shape[0], -1))
    actions = jnp.asarray(drawn["img_action"][:, :-1])
    prior = prior_noise(model, params, starts, actions, drawn["img_idx"])
    policy = open_loop(actions.swapaxes(0, 1))
    return Noise(posterior, prior, prior[..., 0]), policy


def paths(tree) -> dict:
    """Arrays by our path, as `our_path` names them."""
    tree = tree["model"] | {
        "policy": tree["policy"]["actor"],
        "value": tree["policy"]["critic"],
    }
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(step.key for step in path): leaf for path, leaf in flat}


@functools.cache
def first_loss(kind: str):
    """Loss, by-products and gradient of the first call."""
    state = start(kind)
    noise, policy = jax.jit(lambda p: forced(kind, p))(state.params)
    loss = jax.jit(
        lambda params: jax.value_and_grad(agent(kind).loss, has_aux=True)(
            params, state, noise, batch(kind), policy
        )
    )
    return loss(state.params)


@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_term_matches(kind):
    (total, learned), _ = first_loss(kind)
    expected = below(arrays(kind), "loss")
    assert expected.keys() == TERMS.keys()
    for theirs, ours in TERMS.items():
        assert_close(learned.terms[ours], expected[theirs], TERM, ours)
    assert_close(total, arrays(kind)["loss_total"], TERM)


@pytest.mark.parametrize("kind", KINDS)
def test_states_and_normalizer_match(kind):
    (_, learned), _ = first_loss(kind)
    expected = arrays(kind)
    assert_close(learned.states.deter, expected["wm/deter"], TERM)
    last = learned.states.stoch[:, -1]
    np.testing.assert_allclose(last, expected["out/carry_stoch"], atol=1e-6)
    assert_close(learned.scale.low, expected["out/retnorm_lo"], TERM)
    assert_close(learned.scale.high, expected["out/retnorm_hi"], TERM)


@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_matches(kind):
    _, gradient = first_loss(kind)
    ours, expected = paths(gradient), below(arrays(kind), "grad")
    assert {our_path(name) for name in expected} == ours.keys()
    for name, array in expected.items():
        assert_close(ours[our_path(name)], array, GRADIENT, name)
    norm = optax.tree.norm(gradient)
    assert_close(norm, arrays(kind)["gradnorm/all"], NORM)


@pytest.mark.parametrize("kind", KINDS)
def test_four_updates_match(kind):
    train = below(arrays(kind), "train")
    own, state, given = agent(kind), start(kind), batch(kind)

    @jax.jit
    def update(state):
        noise, policy = forced(kind, state.params)
        state, learned, metrics = own.learn(state, noise, given, policy)
        means = {name: term.mean() for name, term in learned.terms.items()}
        return state, means, metrics

    for call in range(4):
        state, means, metrics = update(state)
        for theirs, ours in TERMS.items():
            expected = train[f"loss/{theirs}"][call]
            assert_close(means[ours], expected, LATER_LOSS, f"{ours} {call}")
        assert_close(metrics["loss/total"], train["opt/loss"][call], LATER_LOSS)
        tensors = paths(state.params) | {
            f"slow_{path}": leaf
            for path, leaf in paths_of_slow(state.slow_critic).items()
        }
        for name, after in below(train, "after_each").items():
            if not name.startswith("retnorm/"):
                actual = tensors[our_path(name)]
                assert_close(actual, after[call], LATER_PARAMS, f"{name} {call}")
        assert_close(state.scale.low, train["after_each/retnorm/lo/value"][call], 1e-4)
        assert_close(state.scale.high, train["after_each/retnorm/hi/value"][call], 1e-4)
    for name, after in below(train, "param_after4").items():
        if not name.startswith("retnorm/"):
            assert_close(tensors[our_path(name)], after, LATER_PARAMS, name)


def paths_of_slow(critic) -> dict:
    """Arrays of the slow critic under "value/…"."""
    empty = {"model": {}, "policy": {"actor": {}, "critic": critic}}
    return paths(empty)
