"""`wm.planners.sequences`: scores, draws and fits, by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.planners.small import COIN, KEY, POINT, Match, Target
from wm.planners.sequences import (
    Box,
    Classes,
    Moments,
    discounted,
    evaluate,
    moments_of,
    shifted,
    space_of,
)
from wm.types import ArraySpec, EnvSpec, Prediction, Trajectory

BOX, CLASSES = Box(POINT.action), Classes(COIN.action)


def test_returns_stop_at_the_end_and_add_the_value_beyond():
    """γ ½: 1 + ½ · 2 + ¼ · (4 where alive), then ⅛ · 8 of the value."""
    discount = jnp.array([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    reward = jnp.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    trajectory = Trajectory(None, reward, reward, discount, {})
    plain = discounted(0.5)(None, KEY, trajectory, None)
    np.testing.assert_allclose(plain, [3.0, 2.0])
    value = lambda params, last: jnp.full(2, 8.0)
    full = discounted(0.5, value)(None, KEY, trajectory, None)
    np.testing.assert_allclose(full, [4.0, 2.0])


def test_candidates_are_scored_from_their_own_row():
    actions = jnp.zeros((2, 3, 4, 2)).at[1, 2].set(1.0)
    state = jnp.array([[0.0, 0.5], [1.0, 1.0]])
    scores = evaluate(Target(), discounted(), {}, KEY, state, actions, 2)
    np.testing.assert_allclose(scores, [[-1.0, -1.0, -1.0], [-8.0, -8.0, 0.0]])


class Fragile(Target):
    """NaN in every second row."""

    def step(self, params, key, state, action):
        rows = jnp.arange(action.shape[0])
        reward = jnp.where(rows % 2 == 1, jnp.nan, 1e6)
        return state, Prediction(reward, jnp.ones(len(rows)))


def test_one_particle_of_nan_ranks_a_candidate_last_however_good_the_others():
    actions, state = jnp.zeros((1, 2, 1, 2)), jnp.zeros((1, 2))
    scores = evaluate(Fragile(), discounted(), {}, KEY, state, actions, 2)
    assert (scores == -jnp.inf).all()
    alone = evaluate(Fragile(), discounted(), {}, KEY, state, actions, 1)
    np.testing.assert_array_equal(alone, [[1e6, -np.inf]])


def test_particles_average_chance():
    model = Target(noise=1.0)
    actions, state = jnp.zeros((1, 40, 1, 2)), jnp.zeros((1, 2))
    spread = lambda p: float(
        evaluate(model, discounted(), {}, KEY, state, actions, p).std()
    )
    assert abs(spread(1) - 1) < 0.35
    assert spread(100) < 0.2


class Masked(Match):
    """Class 0 is never legal."""

    def legal(self, params, state):
        return jnp.broadcast_to(jnp.array([False, True, True]), (len(state), 3))


def test_an_illegal_first_action_ranks_last():
    model = Masked(dataclasses.replace(COIN, legal=True))
    actions = jnp.array([[[0, 0], [1, 0], [2, 0]]])
    state = jnp.zeros(1, jnp.int32)
    scores = evaluate(model, discounted(), {}, KEY, state, actions, 1)
    np.testing.assert_array_equal(scores, [[-np.inf, 0.0, 0.0]])


@pytest.mark.parametrize("center", [-0.99, 0.0, 0.99])
def test_cut_normals_stay_inside_without_a_clip(center):
    moments = Moments(jnp.full((1, 1, 1), center), jnp.full((1, 1, 1), 4.0))
    noise = jax.random.normal(KEY, (1, 100_000, 1, 1))
    drawn = np.asarray(BOX.draw(moments, noise, True))
    assert np.abs(drawn).max() <= 1
    assert (np.abs(drawn) == 1).mean() < 1e-3
    # At ±2 of a deviation that reaches from the center to the bound at 2.
    assert np.abs(drawn - center).max() == pytest.approx(1 - abs(center), abs=1e-4)


def test_a_cut_normal_has_the_moments_of_one():
    """Cut at two deviations: variance 1 − 4 φ(2) / (2 Φ(2) − 1) = 0.7737."""
    moments = Moments(jnp.zeros((1, 1, 1)), jnp.full((1, 1, 1), 0.01))
    noise = jax.random.normal(KEY, (1, 100_000, 1, 1))
    drawn = np.asarray(BOX.draw(moments, noise, True))
    assert drawn.var() == pytest.approx(0.01 * 0.7737, rel=0.02)


def test_a_fit_with_equal_weights_is_the_sample_mean_and_variance():
    actions = jax.random.normal(KEY, (2, 5, 3, 2))
    found = BOX.fit(actions, jnp.full((2, 5), 0.2))
    np.testing.assert_allclose(found.center, actions.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.spread, actions.var(1), rtol=1e-4)


def test_classes_are_drawn_by_their_probabilities_and_fitted_back():
    probabilities = jnp.array([0.2, 0.5, 0.3]).reshape(1, 1, 1, 3)
    noise = jax.random.normal(KEY, (1, 50_000, 1, 1))
    drawn = CLASSES.draw(moments_of(probabilities), noise, False)
    assert drawn.dtype == jnp.int32
    found = CLASSES.fit(drawn, jnp.full((1, 50_000), 1 / 50_000))
    np.testing.assert_allclose(found.center, probabilities, atol=0.01)


def test_a_class_of_probability_zero_is_never_drawn():
    moments = moments_of(jnp.array([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3))
    extreme = jnp.array([-9.0, 0.0, 9.0]).reshape(1, 3, 1, 1)
    np.testing.assert_array_equal(CLASSES.draw(moments, extreme, False), 1)


def test_uniform_noise_covers_box_and_classes():
    noise = jnp.array([0.0, 0.5, 0.9999]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(BOX.uniform(noise)[0, :, 0, 0], [-1, 0, 0.9998])
    np.testing.assert_array_equal(CLASSES.uniform(noise)[0, :, 0, 0], [0, 1, 2])


def test_plans_move_on_by_one():
    plan = jnp.arange(6.0).reshape(1, 3, 2)
    found = shifted(plan, jnp.full((1, 1, 2), 9.0))
    np.testing.assert_array_equal(found, [[[2, 3], [4, 5], [9, 9]]])


def test_two_players_are_refused():
    spec = EnvSpec(ArraySpec((3,)), COIN.action, name="chess", players=2)
    with pytest.raises(ValueError, match=r"players must be 1 .* got 2"):
        space_of(spec)
