"""`wm.behaviors.sampled`: fixed points, a bandit, densities by hand."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wm.behaviors.sampled import Sampled, SampledConfig, SampledHeads, middle, uniform
from wm.errors import UserError
from wm.planners.acting import Unsearched
from wm.planners.mcts import MCTSConfig, mcts
from wm.types import ArraySpec, EnvSpec, Prediction

KEY = jax.random.key(0)
NUMBER, MANY = ArraySpec((1,)), ArraySpec((), "int32", 1_000)
CONFIG = SampledConfig(draws=32, noise=0.0, entropy_scale=0.0)
UNIT = math.log(0.9 / 1.0)
"""Output whose deviation is 1: 0.1 + 1.9 sigmoid(x)."""
NARROW = math.log(0.2 / 1.7)
"""0.3, where the tanh hardly bends."""


class State(NamedTuple):
    latent: jax.Array
    legal: Any = None


class OneStep:
    """An action earns `pays` of it, and all ends. The policy is `params["output"]`."""

    value_code = SimpleNamespace(mean=lambda value: value)

    def __init__(self, pays, spec=NUMBER):
        self.pays = pays
        self.spec = EnvSpec(ArraySpec((1,)), spec)

    def predict(self, params, latent):
        rows = latent.shape[0]
        policy = jnp.broadcast_to(params["output"], (rows, *params["output"].shape))
        return {"policy": policy, "value": jnp.full(rows, 0.5)}

    def step(self, params, key, state, action):
        reward = self.pays(action)
        return state, Prediction(reward, jnp.zeros_like(reward))


def found(model, heads, params, rows=512, simulations=128, key=KEY, method="puct"):
    config = MCTSConfig(
        simulations, method, noise=0.0, considered=32, max_depth=1, value_scale=1.0
    )
    policy = mcts(model, heads, config)
    return policy.act(params, key, policy.start({}, rows), State(jnp.zeros((rows, 1))))


def flat(action):
    return jnp.full(action.shape[0], 0.5)


def test_a_search_without_differences_leaves_the_policy_as_it_is():
    """Also where a quarter is drawn uniformly. With the density as prior it is counted
    twice, and the policy narrows: half the second moment."""
    sampled, model, rows = Sampled(NUMBER, CONFIG), OneStep(flat), 384
    params = {"output": jnp.array([0.0, NARROW])}

    def heads(params, key, state):
        """Three searches in one: as it should be, with uniform draws, and the trap."""
        output = model.predict(params, state.latent)["policy"]
        plain, drawn = sampled.draw(key, output)
        mixed, noised = sampled.draw(key, output, None, 0.25)
        assert plain is None
        assert mixed is not None
        trap = sampled.log_prob(output, drawn)
        which = jnp.arange(3 * rows)[:, None] // rows
        logits = jnp.select([which == 0, which == 1], [0 * mixed, mixed], trap)
        actions = jnp.where((which == 1)[..., None], noised, drawn)
        return logits, jnp.full(3 * rows, 0.5), actions

    extras = jax.jit(lambda: found(model, heads, params, 3 * rows, 64)[2])()
    u = jnp.arctanh(extras["actions"][..., 0]) / 0.3
    moments = (extras["policy"] * u**2).sum(-1).reshape(3, rows).mean(-1)
    assert float(moments[0]) == pytest.approx(1.0, abs=0.05)
    assert float(moments[1]) == pytest.approx(1.0, abs=0.1)
    assert float(moments[2]) < 0.7


@jax.jit
def bandit(strength):
    """Middle and deviation after learning, 200 times, what searches of one step say."""
    sampled = Sampled(NUMBER, dataclasses.replace(CONFIG, draws=16))
    bump = lambda action: jnp.exp(-20 * (action[:, 0] - 0.7) ** 2)
    model = OneStep(lambda action: 0.5 + strength * (bump(action) - 0.5))
    heads = SampledHeads(model, sampled)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 200))

    def body(loop, key):
        output, state = loop
        extras = found(model, heads, {"output": output}, 32, 64, key)[2]
        loss = lambda x: sampled.loss(
            jnp.broadcast_to(x, (32, 2)), extras["policy"], extras["actions"]
        ).mean()
        change, state = optimizer.update(jax.grad(loss)(output), state)
        return (optax.apply_updates(output, change), state), None

    start = jnp.zeros(2)
    loop = (start, optimizer.init(start))
    (output, _), _ = jax.lax.scan(body, loop, jax.random.split(KEY, 200))
    policy: Any = sampled.distribution(output)
    return jnp.tanh(policy.mean[0]), policy.std[0]


def test_a_bandit_of_numbers_is_learned():
    """Best 0.7. Where all pays alike the policy wanders, but stays as wide."""
    mean, std = bandit(1.0)
    assert abs(mean - 0.7) <= 0.05
    assert std < 0.5
    assert bandit(0.0)[1] > 0.6


def test_densities_are_those_of_a_squashed_normal():
    sampled = Sampled(NUMBER, CONFIG)
    edges = np.linspace(-1, 1, 4_001)
    middle = jnp.asarray((edges[1:] + edges[:-1]) / 2)[:, None]
    log_prob = sampled.log_prob(jnp.array([0.4, UNIT]), middle)
    p = np.exp(np.asarray(log_prob, np.float64)) * (edges[1] - edges[0])
    assert p.sum() == pytest.approx(1.0, abs=2e-3)
    entropy = -(p * np.asarray(log_prob)).sum()
    found = sampled.entropy(jnp.array([0.4, UNIT]))
    assert float(found) == pytest.approx(entropy, abs=0.05)
    ends = jnp.array([[-1.0], [1.0]])
    slope = jax.grad(lambda x: sampled.log_prob(x, ends).sum())(jnp.zeros(2))
    assert np.isfinite(slope).all()


def test_the_loss_by_hand():
    """Two actions of two numbers; a normal's density before the tanh, its Jacobian."""
    sampled = Sampled(ArraySpec((2,)), dataclasses.replace(CONFIG, entropy_scale=0.1))
    output = jnp.array([0.3, -0.2, UNIT, UNIT])
    actions = np.array([[0.5, -0.5], [0.0, 0.9]])
    mean = 5 * np.tanh(np.array([0.3, -0.2]) / 5)
    u = np.arctanh(actions)
    log_prob = -0.5 * (u - mean) ** 2 - 0.5 * math.log(2 * math.pi)
    log_prob = (log_prob - np.log(1 - actions**2)).sum(-1)
    expected = -(0.75 * log_prob[0] + 0.25 * log_prob[1])
    given = output, jnp.array([0.75, 0.25]), jnp.asarray(actions)
    expected -= 0.1 * float(sampled.entropy(output))
    np.testing.assert_allclose(sampled.loss(*given), expected, rtol=1e-4)


def test_indices_drawn_twice_are_searched_once_with_the_mass_of_both():
    spec = ArraySpec((), "int32", 4)
    sampled = Sampled(spec, dataclasses.replace(CONFIG, draws=6))
    output = jnp.log(jnp.array([[0.1, 0.2, 0.3, 0.4]]))
    legal = jnp.array([[True, True, False, True]])
    logits, actions = sampled.draw(KEY, output, legal)
    drawn = np.asarray(actions[0, :, 0], int)
    assert 2 not in drawn
    share = np.asarray(jax.nn.softmax(logits[0]))
    for index in set(drawn):
        places = drawn == index
        assert share[places].sum() == pytest.approx(places.mean(), abs=1e-6)
        assert (share[places] > 0).sum() == 1


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_the_better_of_many_classes_are_found_among_those_drawn(method):
    """Nothing that was drawn before is visited."""
    spec = ArraySpec((), "int32", 8)
    sampled = Sampled(spec, dataclasses.replace(CONFIG, draws=12))
    model = OneStep(lambda action: action / 8.0, spec)
    params = {"output": jnp.zeros(8)}
    heads = SampledHeads(model, sampled)
    _, action, extras = jax.jit(
        lambda: found(model, heads, params, 16, 64, method=method)
    )()
    assert action.dtype == jnp.int32
    drawn = np.asarray(extras["actions"][..., 0], int)
    visits = np.asarray(extras["visits"])
    for row, seen in zip(drawn, visits, strict=True):
        first = np.unique(row, return_index=True)[1]
        assert seen[first].sum() == pytest.approx(1, abs=1e-5)
    better = (np.asarray(extras["policy"]) * drawn).sum(1) - drawn.mean(1)
    assert better.mean() > 0.5


def test_many_classes_have_a_ratio_too():
    """With uniform draws the prior is π / β, so that what they drew is light."""
    sampled = Sampled(MANY, CONFIG)
    output = jnp.zeros((64, 1_000)).at[:, 0].set(12.0)
    logits, actions = sampled.draw(KEY, output, None, 0.5)
    share = jax.nn.softmax(logits)
    assert float((share * (actions[..., 0] == 0)).sum(-1).mean()) > 0.95
    assert float((actions[..., 0] == 0).mean()) < 0.7


def test_without_a_search_the_middle_is_played_and_unguided_draws_are_uniform():
    sampled = Sampled(NUMBER, CONFIG)
    model = OneStep(flat)
    params = {"output": jnp.array([0.5, 0.0])}
    state = State(jnp.zeros((3, 1)))
    policy = Unsearched(middle(model, sampled))
    carry, action, _ = policy.act(params, KEY, policy.start(params, 3), state)
    expected = math.tanh(5 * math.tanh(0.1))
    np.testing.assert_allclose(action, np.full((3, 1), expected), rtol=1e-5)
    assert (carry == 1).all()
    heads = SampledHeads(model, sampled, guided=False)
    logits, value, actions = heads(params, KEY, State(jnp.zeros((500, 1))))
    assert logits is None
    assert (value == 0).all()
    assert float(actions.mean()) == pytest.approx(0, abs=0.02)
    assert float((actions**2).mean()) == pytest.approx(1 / 3, abs=0.02)
    legal = jnp.arange(1_000) < 3
    wide = jnp.broadcast_to(legal, (5, 32, 1_000))
    assert uniform(KEY, MANY, (5, 32), wide).max() == 2


def test_what_does_not_fit_is_one_line():
    for field, value in {
        "draws": 1, "noise": 1.0, "entropy_scale": -1.0, "std": (1.0, 0.5),
        "mean": 0.0,
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"^--agent.sampled.{field} must be"):
            SampledConfig(**{field: value})
