"""`wm.planners.cem`, `shooting` and `mppi` on tasks of one line."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.planners.small import (
    KEY,
    POINT,
    Match,
    Target,
    known_maze,
    steps_to_goal,
    values,
)
from wm.models.rules import rules
from wm.planners.cem import ICEM, PETS, PLANET, CEMConfig, cem, icem
from wm.planners.choice import Planning, planner
from wm.planners.gradient import GradientConfig, differentiable, gradient
from wm.planners.mppi import MPPIConfig, mppi, smooth, softmax
from wm.planners.sequences import discounted
from wm.planners.shooting import ShootingConfig, shooting

change = dataclasses.replace
SMALL = change(PETS, horizon=3, samples=100, elites=10, iterations=8)
SHORT = change(ICEM, horizon=3, samples=100, iterations=5, beta=0.0)
GOAL = jnp.array([[0.3, -0.6], [0.9, 0.0]])


def first_action(make, config, model=None, state=GOAL, key=KEY, objective=None):
    policy = make(model or Target(), objective or discounted(), config)
    carry = policy.start({}, len(state))
    carry, action, _ = jax.jit(policy.act)({}, key, carry, state)
    return carry, np.asarray(action)


@pytest.mark.parametrize(
    ("make", "config", "error"),
    [
        (cem, SMALL, 0.05),
        (icem, SHORT, 0.2),
        (mppi, MPPIConfig(3, 100, relative=True, temperature=0.1, blend=1.0), 0.1),
        (shooting, ShootingConfig(1, 2000), 0.1),
        (gradient, GradientConfig(3, 60, 0.05), 0.05),
    ],
)
def test_every_planner_finds_a_target(make, config, error):
    _, action = first_action(make, config)
    np.testing.assert_allclose(action, GOAL, atol=error)


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (cem, SMALL),
        (icem, SHORT),
        (mppi, MPPIConfig(3, 100, temperature=0.1)),
        (shooting, ShootingConfig(3, 200)),
    ],
)
def test_every_sampler_finds_the_right_classes(make, config):
    state = jnp.array([0, 1, 2, 1])
    _, action = first_action(make, config, Match(), state)
    np.testing.assert_array_equal(action, state)
    assert action.dtype == np.int32


def test_with_all_samples_elite_the_mean_is_the_sample_mean():
    """One round, nothing smoothed: the mean of 50 normals cut at two deviations of ½,
    whatever they score."""
    config = CEMConfig(2, 50, 50, 1, 0.0, warm_start=False)
    flat = lambda params, key, trajectory, last: jnp.zeros(trajectory.reward.shape[1])
    _, action = first_action(cem, config, objective=flat)
    key_rounds = jax.random.split(jax.random.split(KEY)[1], 1)[0]
    noise = jax.random.normal(jax.random.split(key_rounds, 3)[0], (2, 50, 2, 2))
    space = cem(Target(), flat, config).space
    drawn = space.draw(space.around(space.blank(2, 2), 0.5), noise, True)
    np.testing.assert_allclose(action, drawn.mean(1)[:, 0], rtol=1e-4, atol=1e-6)


def test_smoothing_keeps_part_of_the_old_mean():
    """From 0, one round: the mean moves by 1 − smoothing of the way."""
    base = change(SMALL, iterations=1, smoothing=0.0)
    _, free = first_action(cem, base)
    _, held = first_action(cem, change(base, smoothing=0.6))
    np.testing.assert_allclose(held, 0.4 * free, rtol=1e-4)


def test_a_row_that_has_converged_is_frozen():
    base = change(SMALL, least_variance=0.2499)
    _, early = first_action(cem, base)
    _, once = first_action(cem, change(base, iterations=1))
    assert abs(early - once).max() < 0.2
    _, never = first_action(cem, change(base, least_variance=0.26))
    np.testing.assert_array_equal(never, 0.0)


def test_rounds_shrink_as_icem_says():
    assert ICEM.sizes() == [40, 32, 25]
    assert ICEM.kept == 3
    assert PETS.sizes() == [400] * 5
    assert change(ICEM, iterations=5).sizes() == [40, 32, 25, 20, 20]


def test_a_plan_is_remembered_shifted_and_filled_up():
    middle, _ = first_action(cem, SMALL)
    np.testing.assert_array_equal(middle.center[:, -1], 0.0)
    assert np.abs(middle.center[:, 0] - GOAL).max() < 0.1
    repeated, _ = first_action(cem, change(SMALL, repeat_last=True))
    np.testing.assert_array_equal(repeated.center[:, -1], repeated.center[:, -2])


@pytest.mark.parametrize("config", [SMALL, SHORT], ids=["cem", "icem"])
def test_a_warm_start_helps_and_a_cold_one_forgets(config):
    error = lambda action: float(np.abs(np.asarray(action) - GOAL).mean())
    weak = change(config, iterations=2, samples=30, elites=8)
    for settings, better in ((weak, True), (change(weak, warm_start=False), False)):
        policy = cem(Target(), discounted(), settings)
        act, carry = jax.jit(policy.act), policy.start({}, 2)
        errors = []
        for turn in range(8):
            carry, action, _ = act({}, jax.random.key(turn), carry, GOAL)
            errors.append(error(action))
        cold = [
            error(act({}, jax.random.key(turn), policy.start({}, 2), GOAL)[1])
            for turn in range(8)
        ]
        if better:
            assert np.mean(errors[3:]) < 0.7 * np.mean(cold[3:])
        else:
            np.testing.assert_allclose(errors, cold, rtol=1e-5)


def test_good_sequences_are_kept_and_tried_again():
    """Without any noise left to find it, the best of the step before comes back."""
    policy = icem(Target(), discounted(), change(SHORT, horizon=1, samples=20))
    carry = policy.start({}, 2)
    carry, first, _ = jax.jit(policy.act)({}, KEY, carry, GOAL)
    assert carry.known.all()
    assert carry.kept.shape == (2, 3, 1, 2)
    kept = carry.kept[:, 0, 0]
    np.testing.assert_array_equal(kept, first)


def test_kept_sequences_are_shifted_by_a_step_and_outlive_the_rounds():
    """Draws stay around the middle of the box. What was kept for the second step is the
    target itself, for the first its opposite; the last action is drawn."""
    config = change(SHORT, horizon=2, spread=0.01, smoothing=1 - 1e-6)
    policy = icem(Target(), discounted(), config)
    sequence = jnp.stack([-GOAL, GOAL], 1)[:, None]
    carry = policy.start({}, 2)
    kept = jnp.broadcast_to(sequence, carry.kept.shape)
    act = jax.jit(policy.act)
    known = carry._replace(kept=kept, known=jnp.ones(2, bool))
    after, action, _ = act({}, KEY, known, GOAL)
    np.testing.assert_array_equal(action, GOAL)
    np.testing.assert_array_equal(after.kept[:, 0, 0], GOAL)
    drawn = np.abs(after.kept[:, 0, 1])
    assert ((drawn > 0) & (drawn < 0.1)).all()
    unknown = carry._replace(kept=kept)
    assert np.abs(act({}, KEY, unknown, GOAL)[1]).max() < 0.1


def test_samples_beyond_the_size_of_a_round_do_not_count():
    """The objective likes the samples drawn last; nothing is refitted. Of the 20
    samples of the second round 5 count, and the fifth is played."""
    sizes = {"horizon": 1, "samples": 20, "elites": 2, "iterations": 2, "decay": 4.0}
    config = change(SHORT, **sizes, reuse=0.0, smoothing=1 - 1e-6, try_mean=False)
    assert config.sizes() == [20, 5]
    number = lambda params, key, trajectory, last: jnp.tile(jnp.arange(20.0), 2)
    _, action = first_action(icem, config, objective=number)
    key_round = jax.random.split(jax.random.split(KEY)[1], 2)[1]
    noise = jax.random.normal(jax.random.split(key_round, 3)[0], (2, 20, 1, 2))
    drawn = np.clip(0.5 * np.asarray(noise), -1, 1)[:, :, 0]
    np.testing.assert_allclose(action, drawn[:, 4], atol=1e-4)


def test_the_mean_is_tried_in_the_last_round():
    """Elites are all samples, so that the mean stays near the middle of the box, which
    is the best there is: nothing drawn beats it."""
    config = change(SHORT, horizon=1, samples=10, elites=10, iterations=2, reuse=0.0)
    state = jnp.zeros((2, 2))
    flat = change(config, smoothing=0.999)
    _, tried = first_action(icem, flat, state=state)
    _, not_tried = first_action(icem, change(flat, try_mean=False), state=state)
    assert np.abs(tried).max() < 0.01
    assert np.abs(not_tried).max() > 0.05


def test_candidates_that_break_the_model_are_not_elite():
    """Beyond 0.2 everything is NaN, though the target lies there."""
    model = Target(broken=0.2)
    for make, config in (
        (cem, SMALL),
        (icem, SHORT),
        (mppi, MPPIConfig(3, 200, temperature=0.1, blend=1.0)),
        (shooting, ShootingConfig(1, 500)),
        (gradient, GradientConfig(3)),
    ):
        _, action = first_action(make, config, model)
        assert np.isfinite(action).all()
        assert action[:, 0].max() <= 0.2


def test_where_everything_breaks_a_plan_is_still_finite():
    for make, config in ((cem, SMALL), (icem, SHORT), (mppi, MPPIConfig(3, 20))):
        carry, action = first_action(make, config, Target(broken=-2.0))
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((carry, action)))


def test_weights_by_hand():
    """Gaps 0, 1, 2 at temperature 2, and −inf: e⁰, e^−½, e^−1, 0 over their sum."""
    scores = jnp.array([[3.0, 2.0, 1.0, -jnp.inf], [-jnp.inf] * 4])
    raw = np.exp([0.0, -0.5, -1.0])
    expected = [[*(raw / raw.sum()), 0.0], [0.25] * 4]
    np.testing.assert_allclose(softmax(scores, 2.0, False), expected, rtol=1e-6)
    # Their standard deviation is √(2 / 3).
    raw = np.exp(-np.arange(3) / np.sqrt(2 / 3) / 2)
    np.testing.assert_allclose(
        softmax(scores, 2.0, True)[0, :3], raw / raw.sum(), rtol=1e-5
    )


def test_mppi_without_temperature_plays_the_best_sample():
    config = MPPIConfig(1, 50, None, 1, 1e-6, sigma=0.5, blend=1.0, bounds="clip")
    _, action = first_action(mppi, config)
    noise = jax.random.split(KEY, 1)[0]
    noise = jax.random.normal(jax.random.split(noise, 3)[0], (2, 50, 1, 2))
    drawn = np.clip(0.5 * np.asarray(noise), -1, 1)[:, :, 0]
    best = np.square(drawn - np.asarray(GOAL)[:, None]).sum(-1).argmin(1)
    np.testing.assert_allclose(action, drawn[[0, 1], best], rtol=1e-5)


def test_sigma_matters():
    """In mbrl-lib it has no effect."""
    spread = lambda sigma: np.asarray(
        first_action(
            mppi, MPPIConfig(1, 200, None, 1, 1e9, sigma=sigma, blend=1.0), state=GOAL
        )[0].before
    )
    assert np.abs(spread(0.01)).max() < 0.002
    assert np.abs(spread(0.4)).max() > 0.01


def test_smoothing_in_time_by_hand():
    drawn = jnp.array([1.0, 0.0, 1.0]).reshape(1, 1, 3, 1)
    found = smooth(drawn, jnp.array([[0.5]]), 0.8)
    np.testing.assert_allclose(found[0, 0, :, 0], [0.9, 0.18, 0.836], rtol=1e-6)


def test_the_presets_are_the_published_values():
    assert (PETS.samples, PETS.elites, PETS.iterations) == (400, 40, 5)
    assert (PETS.smoothing, PETS.spread, PETS.execute) == (0.1, 0.5, "mean")
    assert (PLANET.samples, PLANET.elites, PLANET.iterations) == (1000, 100, 10)
    assert (PLANET.horizon, PLANET.warm_start) == (12, False)
    assert (ICEM.samples, ICEM.elites, ICEM.iterations) == (40, 10, 3)
    assert (ICEM.reuse, ICEM.decay, ICEM.execute) == (0.3, 1.25, "best")


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (CEMConfig, {"elites": 500}, r"elites must be in \[1, samples\], got 500"),
        (CEMConfig, {"smoothing": 1.0}, r"smoothing must be in \[0, 1\), got 1.0"),
        (CEMConfig, {"bounds": "cut"}, "bounds must be truncate or clip, got cut"),
        (CEMConfig, {"execute": "all"}, "execute must be mean or best, got all"),
        (CEMConfig, {"select": "worst"}, "select must be best or random, got worst"),
        (MPPIConfig, {"bounds": "cut"}, "bounds must be truncate or clip, got cut"),
        (MPPIConfig, {"execute": "all"}, "execute must be mean or sample, got all"),
        (CEMConfig, {"horizon": 0}, "horizon must be at least 1, got 0"),
        (MPPIConfig, {"temperature": 0.0}, "temperature must be positive, got 0.0"),
        (MPPIConfig, {"blend": 0.0}, r"blend must be in \(0, 1\], got 0.0"),
        (ShootingConfig, {"samples": 0}, "samples must be at least 1, got 0"),
        (GradientConfig, {"rate": 0.0}, "rate must be positive, got 0.0"),
    ],
)
def test_impossible_settings_name_the_field(config, values, message):
    with pytest.raises(ValueError, match=message):
        config(**values)


def test_planners_by_name():
    for name in ("shooting", "cem", "icem", "mppi", "gradient"):
        policy = planner(name, Planning(), Target(), discounted())
        assert policy.config == getattr(Planning(), name)


def test_gradients_need_continuous_actions():
    with pytest.raises(ValueError, match=r"planner must be cem, icem, .* are classes"):
        gradient(Match(), discounted())


class Deaf(Target):
    """Actions are rounded: nothing has a derivative."""

    def step(self, params, key, state, action):
        return Target.step(
            self, params, key, state, jnp.sign(jax.lax.stop_gradient(action))
        )


def test_gradients_need_a_model_that_has_them():
    assert differentiable(Target())
    assert differentiable(rules(wm.env("classic/pendulum")))
    assert not differentiable(Deaf())
    with pytest.raises(ValueError, match="got gradient: no reward or state of Deaf"):
        gradient(Deaf(POINT), discounted())


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (cem, change(PETS, horizon=4, samples=100, elites=10, iterations=3)),
        (icem, change(ICEM, horizon=4, samples=100, iterations=3, beta=0.0)),
        (mppi, MPPIConfig(4, 200, iterations=3, temperature=0.05, relative=True)),
        (shooting, ShootingConfig(4, 600)),
    ],
)
def test_a_known_table_is_planned_through_by_the_shortest_path(make, config):
    """14 moves, with the table's own values beyond four steps. Without them nothing is
    in sight."""
    model, params, moves = known_maze(wm.env("grid/dyna_maze"))
    worth = values(moves, 0.95)
    tail = lambda params, state: worth[state.state] * state.alive
    policy = make(model, discounted(0.95, tail), config)
    assert steps_to_goal(policy, params, moves) == 14
    blind = make(model, discounted(0.95), config)
    assert steps_to_goal(blind, params, moves, limit=20) == 20
