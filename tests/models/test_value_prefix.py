"""`wm.models.value_prefix`: rewards from prefixes, in steps and in a search."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.models.value_equivalent import LatentState
from wm.models.value_prefix import (
    PrefixState,
    ValuePrefix,
    ValuePrefixConfig,
    prefix_rewards,
    prefixes,
)
from wm.planners.mcts import MCTSConfig, mcts
from wm.types import ArraySpec, EnvSpec

KEY = jax.random.key(0)
SMALL = {"units": 4, "latent": 3, "head_units": 4, "memory": 4, "projection": 6}
SMALL |= {"value_bins": 5, "reward_bins": 5, "bottleneck": 3, "norm": "none"}
SMALL |= {"value_limit": 2.0, "reward_limit": 2.0}
SPEC = EnvSpec(ArraySpec((2,)), ArraySpec((), "int32", 2))
REWARDS = jnp.array([3.0, -1.0, 0.5, 2.0, 0.0, 7.0, -4.0, 1.0, 1.0, 5.0, -2.0, 6.0])


class Exact(ValuePrefix):
    """Latents count steps, and the LSTM is told the rewards and sums them exactly."""

    def advance(self, params, latent, action):
        return latent + 1

    def remember(self, params, memory, latent):
        c, h = memory
        earned = REWARDS[latent[:, 0].astype(jnp.int32) - 1]
        c = c.at[:, 0].add(earned)
        return (c, h), c[:, :1]

    def heads(self, params, key, state):
        B = state.base.latent.shape[0]
        return jnp.array([[9.0, 0.0]]).repeat(B, 0), jnp.zeros(B), None


class Plain:
    """A prefix that is said as it is."""

    @staticmethod
    def mean(logits):
        return logits[..., 0]


def exact():
    model = Exact(SPEC, ValuePrefixConfig(**SMALL))
    model.prefix_code = Plain
    return model, model.at(LatentState(jnp.zeros((2, 3))))


def test_rewards_of_a_path_are_the_true_ones_across_resets():
    """Twelve steps, emptied after five and ten."""
    model, state = exact()
    for k in range(12):
        state, said = model.step({}, KEY, state, jnp.zeros(2, jnp.int32))
        np.testing.assert_array_equal(said.reward, jnp.full(2, REWARDS[k]))
        assert (state.depth == (k + 1) % 5).all()
        if (k + 1) % 5 == 0:
            for empty in (state.prefix, *state.memory):
                assert (empty == 0).all()


def test_a_search_sees_the_true_rewards_at_every_depth():
    model, state = exact()
    search = mcts(model, model.heads, MCTSConfig(12, "puct", noise=0.0))
    found = jax.jit(lambda s: search.search({}, KEY, s))(state)
    tree = found.search_tree
    depth, deepest = np.zeros(13, int), 0
    for node in range(1, 13):
        parent = int(tree.parents[0, node])
        depth[node] = depth[parent] + 1
        taken = int(tree.action_from_parent[0, node])
        got = tree.children_rewards[0, parent, taken]
        assert got == REWARDS[depth[node] - 1]
        deepest = max(deepest, depth[node])
    assert deepest > 5


def test_targets_and_training_agree_with_the_search():
    """Sums of random rewards, and the differences of what the LSTM says of them."""
    model, _ = exact()
    reward = jnp.concatenate([jnp.full(1, 99.0), REWARDS])
    target = prefixes(reward, 5)
    by_hand = [0, 3, 2, 2.5, 4.5, 4.5, 7, 3, 4, 5, 10, -2, 4]
    np.testing.assert_array_equal(target, np.array(by_hand, np.float32))
    latents = jnp.arange(1.0, 13)[:, None, None] * jnp.ones((1, 2, 3))
    said = jax.jit(lambda x: model.prefix_logits({}, x))(latents)[..., 0]
    np.testing.assert_array_equal(said[:, 0], target[1:])
    np.testing.assert_array_equal(prefix_rewards(said, 5)[:, 1], REWARDS)


def test_the_nets_say_the_same_stepped_and_unrolled():
    model = ValuePrefix(SPEC, ValuePrefixConfig(**SMALL, prefix_horizon=2))
    params = jax.tree.map(
        lambda x: x + 0.3 * jax.random.normal(KEY, x.shape), model.init(KEY)
    )
    assert "reward" not in params["model"]
    state = model.at(LatentState(jax.random.uniform(KEY, (2, 3))))
    step = jax.jit(lambda s, a: model.step(params, KEY, s, a))
    latents, rewards = [], []
    for k in range(5):
        state, said = step(state, jnp.full(2, k % 2, jnp.int32))
        latents.append(state.base.latent)
        rewards.append(said.reward)
    assert isinstance(state, PrefixState)
    logits = model.prefix_logits(params, jnp.stack(latents))
    unrolled_rewards = prefix_rewards(model.prefix_code.mean(logits), 2)
    np.testing.assert_allclose(unrolled_rewards, jnp.stack(rewards), atol=1e-5)
    assert np.abs(rewards).max() > 1e-3


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="prefix_horizon must be at least 1, got 0"):
        ValuePrefixConfig(prefix_horizon=0)
