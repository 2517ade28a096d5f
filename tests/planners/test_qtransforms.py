"""`wm.planners.qtransforms`: Gumbel's completed values over the range of the tree."""

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest

from wm.planners.mcts import MCTSConfig, mcts
from wm.planners.qtransforms import completed
from wm.types import ArraySpec, EnvSpec, Prediction

KEY = jax.random.key(0)


class Bandit:
    """Rewards of one step; the state is the row of them."""

    spec = EnvSpec(ArraySpec((1,)), ArraySpec((), "int32", 2), name="bandit")

    def step(self, params, key, state, action):
        reward = jnp.take_along_axis(state, action[:, None], 1)[:, 0]
        return jnp.zeros_like(state), Prediction(reward, jnp.zeros(len(reward)))


def found(q, **settings):
    heads = lambda params, key, state: (None, jnp.zeros(len(q)), None)
    policy = mcts(Bandit(), heads, MCTSConfig(8, gumbel_scale=0.0, **settings))
    return jax.jit(lambda x: policy.search({}, KEY, x))(jnp.asarray(q, jnp.float32))


def test_noise_is_not_stretched_to_a_decision():
    """Differences of 1e-6, 1e-3 and 0.5, eight simulations: among siblings they all
    give the same policy, over the tree it depends on them."""
    q = [[0.0, 1e-6], [0.0, 1e-3], [0.0, 0.5]]
    among = np.asarray(found(q).action_weights[:, 1])
    over = np.asarray(found(q, statistics="tree").action_weights[:, 1])
    np.testing.assert_allclose(among, among[2], atol=1e-3)
    np.testing.assert_allclose(over[0], 0.5, atol=1e-3)
    assert 0.55 < over[1] < 0.7
    np.testing.assert_allclose(over[2], among[2], atol=1e-6)


@pytest.mark.parametrize("mixed", [True, False])
def test_completed_values_by_hand(mixed):
    """One action of two visited three times, its value 0.4, the net's 0.1 and prior
    0.25: the other is worth (0.1 + 3 · 0.4) / 4 as the mixture has it."""
    shape = lambda *x: jnp.array(x, jnp.float32)
    tree = mctx.Tree(
        node_visits=jnp.array([4, 3]),
        raw_values=shape(0.1, 0.4),
        node_values=shape(0.3, 0.4),
        parents=jnp.array([-1, 0]),
        action_from_parent=jnp.array([-1, 0]),
        children_index=jnp.array([[1, -1], [-1, -1]]),
        children_prior_logits=jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]])),
        children_values=jnp.array([[0.3, 0.0], [0.0, 0.0]]),
        children_visits=jnp.array([[3, 0], [0, 0]]),
        children_rewards=jnp.array([[0.1, 0.0], [0.0, 0.0]]),
        children_discounts=jnp.ones((2, 2)),
        embeddings=jnp.zeros(2),
        root_invalid_actions=jnp.zeros(2),
        extra_data=None,
    )
    other = (0.1 + 3 * 0.4) / 4 if mixed else 0.1
    settings = {"value_scale": 0.1, "value_visits": 50.0, "mixed": mixed}
    got = completed(tree, 0, bounds=(0.0, 1.0), **settings)
    np.testing.assert_allclose(got, 0.1 * 53 * np.array([0.4, other]), rtol=1e-5)
    # Of the tree's own range, 0.4 to 0.4, but at least 1 wide.
    got = completed(tree, 0, least_range=1.0, **settings)
    np.testing.assert_allclose(got, [0.0, 0.0], atol=1e-6)
    blank = jax.tree.map(jnp.zeros_like, tree)
    np.testing.assert_array_equal(completed(blank, 0, least_range=0.01, **settings), 0)
