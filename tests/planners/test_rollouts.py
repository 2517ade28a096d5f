"""`wm.planners.rollouts`: whose moves are played, and what mixtures are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.planners.small import KEY
from tests.planners.test_mcts import DUEL, at, guess, table
from wm.planners.rollouts import mixed, random_rollouts


def test_playouts_are_drawn_from_the_policy_given():
    """From 0 action 1 leads to 2, where the second player then wins by 1 or loses by 0;
    three of four times by 1."""
    model, params = table(2, DUEL)

    def policy(params, state):
        first = jnp.array([-100.0, 0.0])
        then = jnp.log(jnp.array([0.25, 0.75]))
        return jnp.where((state.state == 0)[:, None], first, then)

    heads = random_rollouts(model, 9, policy=policy)
    logits, value, _ = jax.jit(heads)(params, KEY, at(*[0] * 4_000))
    assert logits is None
    assert set(np.unique(value)) == {-1.0, 1.0}
    assert value.mean() == pytest.approx(-0.5, abs=0.05)


def test_a_mixture_has_the_prior_and_both_values():
    _model, params = table(2, DUEL)
    ours, theirs = guess(0.2, (0.5, -0.5)), guess(-0.6)
    said = mixed(ours, theirs, 0.25)(params, KEY, at(0, 1))
    np.testing.assert_array_equal(said[0], [[0.5, -0.5]] * 2)
    np.testing.assert_allclose(said[1], 0.75 * 0.2 - 0.25 * 0.6, atol=1e-7)
    assert said[2] is None


def test_without_playouts_a_mixture_is_the_heads_and_all_of_them_need_no_value():
    ours = guess(float("nan"))
    assert mixed(ours, guess(), 0.0) is ours
    np.testing.assert_array_equal(mixed(ours, guess(0.5), 1.0)({}, KEY, at(0))[1], 0.5)
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"^share must be in \[0, 1\], got"):
            mixed(ours, ours, share)
