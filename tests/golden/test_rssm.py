"""The RSSM against arrays from the authors' code.

`danijar/dreamerv3` at e3f0224, jax 0.4.33, float32 on CPU, random parameters; their
draws are forced by choosing the noise.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from forcing import (
    CONFIG,
    KINDS,
    evidence_of,
    middle,
    posterior_noise,
    prior_noise,
    spec,
    state_of,
)
from names import assert_close, below, read, tree_of

from wm.models.late_gradients import plain_linear
from wm.models.rssm import RSSM
from wm.models.rssm_core import block_core
from wm.models.rssm_state import flat
from wm.ops.distributions import OneHot
from wm.ops.losses import balanced_kl

TOLERANCE = 1e-5
GRADIENT = 3e-5


@functools.cache
def arrays(kind: str) -> dict:
    return read(f"rssm_{kind}")


def case(kind: str, name: str) -> tuple[dict, dict]:
    both = below(arrays(kind), name)
    return below(both, "in"), below(both, "out")


def params(kind: str) -> dict:
    return {"model": tree_of(below(arrays(kind), "param"))}


@pytest.mark.parametrize("kind", KINDS)
def test_core_matches(kind):
    given, expected = case(kind, "core")
    core = block_core(CONFIG, given["action_emb"].shape[-1])
    own = params(kind)["model"]["core"]
    state = state_of(given["deter"], given["stoch_idx"])
    embedding = core.embed(own, given["action_emb"])
    linear = plain_linear(core.kernels(own))
    deter = core.step(linear, own, state.deter, flat(state.stoch), embedding)
    assert_close(embedding, expected["x_action"], TOLERANCE)
    assert_close(deter, expected["deter"], TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_prior_matches(kind):
    given, expected = case(kind, "prior")
    logits = RSSM(spec(kind), CONFIG).prior(params(kind), given["deter"])
    assert_close(logits, expected["logit"], TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_step_matches_with_resets(kind):
    given, expected = case(kind, "step")
    model, tree = RSSM(spec(kind), CONFIG), params(kind)
    state = state_of(given["deter"], given["stoch_idx"])
    evidence = evidence_of(given["tokens"], given["is_first"])
    noise = middle(jnp.asarray(expected["post_logit"]), given["post_idx"])
    new = model.observe(tree, noise, state, given["prevact"], evidence)
    assert_close(new.deter, expected["deter"], TOLERANCE)
    np.testing.assert_array_equal(new.stoch.argmax(-1), given["post_idx"])
    one = lambda x: x[:, None]
    _, logits = model.observe_sequence(
        tree, one(noise), state, one(given["prevact"]), jax.tree.map(one, evidence)
    )
    assert_close(logits[:, 0], expected["post_logit"], TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_latent_distribution_matches(kind):
    given, expected = case(kind, "dist")
    dist = OneHot(jnp.asarray(given["logit"]), 0.01)
    other = OneHot(jnp.asarray(given["other"]), 0.01)
    onehot = jax.nn.one_hot(given["idx"], 4)
    assert_close(dist.probs, expected["probs"], TOLERANCE)
    assert_close(dist.log_probs, expected["logprobs"], TOLERANCE)
    assert_close(dist.entropy(), expected["entropy"], TOLERANCE)
    assert_close(dist.kl(other), expected["kl"], TOLERANCE)
    assert_close(dist.log_prob(onehot), expected["logp"], TOLERANCE)
    through = lambda logit: (
        given["w"] * OneHot(logit, 0.01).straight_through(given["idx"])
    ).sum()
    gradient = jax.grad(through)(given["logit"])
    assert_close(gradient, expected["straight_through_grad"], TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_balanced_kl_and_its_gradients_match(kind):
    given, expected = case(kind, "kl")

    def weighted(post, prior):
        kl = balanced_kl(OneHot(post, 0.01), OneHot(prior, 0.01), 1.0, "step")
        sides = given["w_dyn"] * kl.dynamics + given["w_rep"] * kl.representation
        return sides.sum(), kl

    gradient = jax.grad(weighted, (0, 1), has_aux=True)
    (post, prior), kl = gradient(given["post"], given["prior"])
    assert_close(kl.raw, expected["kl_raw"], TOLERANCE)
    assert_close(kl.dynamics, expected["dyn"], TOLERANCE)
    assert_close(kl.representation, expected["rep"], TOLERANCE)
    assert_close(post, expected["grad_post"], GRADIENT)
    assert_close(prior, expected["grad_prior"], GRADIENT)


@pytest.mark.parametrize("kind", KINDS)
def test_sequence_matches(kind):
    given, expected = case(kind, "seq")
    model, tree = RSSM(spec(kind), CONFIG), params(kind)
    state = state_of(given["deter0"], given["stoch0_idx"])
    evidence = evidence_of(given["tokens"], given["is_first"])
    noise = middle(jnp.asarray(expected["post_logit"]), given["post_idx"])
    states, post = model.observe_sequence(
        tree, noise, state, given["prevact"], evidence
    )
    prior = model.prior(tree, states.deter)
    np.testing.assert_array_equal(states.stoch.argmax(-1), given["post_idx"])
    assert_close(states.deter, expected["deter"], TOLERANCE)
    assert_close(post, expected["post_logit"], TOLERANCE)
    assert_close(prior, expected["prior_logit"], TOLERANCE)
    kl = balanced_kl(OneHot(post, 0.01), OneHot(prior, 0.01), 1.0, "step")
    assert_close(kl.raw, expected["kl_raw"], TOLERANCE)
    assert_close(kl.dynamics, expected["dyn"], TOLERANCE)
    assert_close(OneHot(post, 0.01).entropy(), expected["post_entropy"], TOLERANCE)


def test_forced_noise_reproduces_the_draws():
    given, _ = case("disc", "seq")
    model, tree = RSSM(spec("disc"), CONFIG), params("disc")
    state = state_of(given["deter0"], given["stoch0_idx"])
    evidence = evidence_of(given["tokens"], given["is_first"])
    inputs = state, jnp.asarray(given["prevact"]), evidence
    noise = posterior_noise(model, tree, *inputs, given["post_idx"])
    states, _ = model.observe_sequence(tree, noise, *inputs)
    np.testing.assert_array_equal(states.stoch.argmax(-1), given["post_idx"])


@pytest.mark.parametrize("kind", KINDS)
def test_imagination_matches(kind):
    given, expected = case(kind, "imagine")
    model, tree = RSSM(spec(kind), CONFIG), params(kind)
    state = state_of(given["deter"], given["stoch_idx"])
    noise = prior_noise(model, tree, state, given["action"], given["next_idx"])
    for t in range(given["action"].shape[1]):
        state = model.advance(tree, noise[t], state, given["action"][:, t])
        assert_close(state.deter, expected["deter"][:, t], TOLERANCE)
        np.testing.assert_array_equal(state.stoch.argmax(-1), given["next_idx"][:, t])
        logits = model.prior(tree, state.deter)
        assert_close(logits, expected["prior_logit"][:, t], TOLERANCE)
