"""The ensemble: who moves which particle, and what a row earns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.tiny import fresh
from wm.errors import UserError
from wm.models.ensemble import (
    Ensemble,
    EnsembleConfig,
    Particles,
    deal,
    matched,
    mixture,
    undeal,
)
from wm.ops.losses import gaussian_nll, soft_bound
from wm.types import ArraySpec, EnvSpec

SPEC = EnvSpec(
    ArraySpec((3,)),
    ArraySpec((2,)),
    reward_fn=lambda o, a, n: n[0] - 0.1 * a[0],
    terminal_fn=lambda o, a, n: n[1] > 0.5,
)
SMALL = EnsembleConfig(members=4, layers=1, units=8, particles=8, gaussian=False)


@functools.cache
def model_of(seed=0, **changes):
    model = Ensemble(SPEC, dataclasses.replace(SMALL, **changes))
    return model, fresh(model, seed)


def spread(model, rows=3, seed=1):
    """Particles at places of their own, all alive."""
    shape = (rows, model.config.particles, 3)
    place = jax.random.normal(jax.random.key(seed), shape)
    return Particles(place, jnp.ones(shape[:2]))


@pytest.mark.parametrize(("B", "P", "E"), [(3, 8, 4), (5, 1, 4), (8, 1, 4), (2, 4, 1)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_dealing_out_is_undone(B, P, E, shuffled):
    x = jnp.arange(B * P * 2, dtype=jnp.float32).reshape(B, P, 2)
    order = None
    if shuffled:
        slots = P if P > 1 else B + -B % E
        order = jax.random.permutation(jax.random.key(0), slots)
    dealt = deal(x, E, order)
    assert dealt.shape == (E, -(-B * P // E), 2)
    np.testing.assert_array_equal(undeal(dealt, B, P, order), x)


def test_particles_keep_their_member_in_ts_inf():
    """Particle p of every row is moved by member p // (P / E)."""
    model, params = model_of()
    state = spread(model)
    action = jnp.full((3, 2), 0.3)
    after, _ = model.step(params, jax.random.key(2), state, action)
    for member in range(4):
        mine = jax.tree.map(lambda w, m=member: w[m : m + 1], params["model"]["nets"])
        alone = Ensemble(SPEC, dataclasses.replace(SMALL, members=1, particles=1))
        alone_params = {"model": {**params["model"], "nets": mine}}
        for p in (2 * member, 2 * member + 1):
            one = Particles(state.observation[:, p : p + 1], jnp.ones((3, 1)))
            there, _ = alone.step(alone_params, jax.random.key(2), one, action)
            np.testing.assert_allclose(
                after.observation[:, p], there.observation[:, 0], rtol=1e-5
            )


def test_ts1_deals_anew_in_each_step_and_equals_ts_inf_for_equal_members():
    model, params = model_of(propagation="ts1")
    state, action = spread(model), jnp.zeros((3, 2))
    same = jnp.zeros_like(state.observation) + state.observation[:, :1]
    state = state.replace(observation=same)
    places = [
        np.asarray(model.step(params, jax.random.key(i), state, action)[0].observation)
        for i in range(3)
    ]
    # One place for each member, in another order every time.
    np.testing.assert_allclose(np.sort(places[0], 1), np.sort(places[1], 1), rtol=1e-5)
    assert not np.allclose(places[0], places[1])
    equal = jax.tree.map(lambda w: jnp.broadcast_to(w[:1], w.shape), params["model"])
    equal = {"model": {**params["model"], "nets": equal["nets"]}}
    still, _ = model_of(propagation="ts_inf")
    a, _ = model.step(equal, jax.random.key(5), spread(model), action)
    b, _ = still.step(equal, jax.random.key(5), spread(model), action)
    np.testing.assert_allclose(a.observation, b.observation, rtol=1e-5, atol=1e-6)


def test_one_particle_per_row_is_dealt_over_all_members():
    model, params = model_of(propagation="ts1", particles=1)
    place = jnp.zeros((8, 1, 3)) + 0.3
    state = Particles(place, jnp.ones((8, 1)))
    after, _ = model.step(params, jax.random.key(0), state, jnp.zeros((8, 2)))
    found = np.unique(np.round(np.asarray(after.observation[:, 0, 0]), 5))
    assert len(found) == 4


@pytest.mark.parametrize("rows", [1, 6])
def test_every_member_moves_every_row_alike_often(rows):
    """Also with fewer rows than members, and where they do not divide."""
    model, params = model_of(members=5, propagation="ts1", particles=1)
    nets = params["model"]["nets"]
    nets["out"]["bias"] = jnp.arange(5.0)[:, None] * 100 + jnp.zeros((5, 3))
    state = Particles(jnp.zeros((rows, 1, 3)), jnp.ones((rows, 1)))

    @jax.jit
    def moved(keys):
        step = lambda key: model.step(params, key, state, jnp.zeros((rows, 2)))[0]
        return jax.vmap(step)(keys).observation[:, :, 0, 0]

    members = np.round(moved(jax.random.split(jax.random.key(0), 1_000)) / 100)
    shares = (members[..., None] == np.arange(5)).mean(0)
    # Five standard errors.
    np.testing.assert_allclose(shares, 0.2, atol=0.064)
    # And none moves more rows at once than its part.
    assert (members[..., None] == np.arange(5)).sum(1).max() == -(-rows // 5)


def test_with_one_member_ts1_is_ts_inf():
    """Where all particles are in one place: the same draws, in another order."""
    action, key = jnp.zeros((3, 2)), jax.random.key(5)
    found = []
    for propagation in ("ts1", "ts_inf"):
        model, params = model_of(members=1, gaussian=True, propagation=propagation)
        state = Particles(jnp.full((3, 8, 3), 0.3), jnp.ones((3, 8)))
        after, earned = model.step(params, key, state, action)
        found.append((np.sort(after.observation, 1), earned.reward))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_only_elites_move_particles():
    model, params = model_of(elites=2)
    params["model"]["elites"] = jnp.array([3, 1])
    nets = params["model"]["nets"]
    nets["out"]["bias"] = jnp.arange(4.0)[:, None] * 100 + jnp.zeros((4, 3))
    state = Particles(jnp.zeros((1, 8, 3)), jnp.ones((1, 8)))
    after, _ = model.step(params, jax.random.key(0), state, jnp.zeros((1, 2)))
    moved_by = np.round(np.asarray(after.observation[0, :, 0]) / 100)
    np.testing.assert_array_equal(moved_by, [3] * 4 + [1] * 4)


def test_the_mixture_has_the_mean_and_the_variance_of_all_members():
    mean = jnp.array([[[1.0]], [[3.0]]])
    logvar = jnp.log(jnp.array([[[0.5]], [[1.5]]]))
    center, log_variance = mixture(mean, logvar)
    assert center == 2.0
    np.testing.assert_allclose(jnp.exp(log_variance), 1.0 + 1.0, rtol=1e-6)


@pytest.mark.parametrize("gaussian", [True, False])
def test_beliefs_are_the_mixture_of_the_elites(gaussian):
    model, params = model_of(elites=2, gaussian=gaussian)
    params["model"]["elites"] = jnp.array([3, 1])
    here, action = jnp.ones((5, 3)), jnp.full((5, 2), 0.5)
    state = Particles(jnp.broadcast_to(here[:, None], (5, 8, 3)), jnp.ones((5, 8)))
    belief = model.predictive(params, state, action)
    x = jnp.concatenate([here, action], -1)
    mean, logvar = model.predict(params["model"], jnp.broadcast_to(x, (4, 5, 5)))
    mean, variance = np.asarray(mean)[[1, 3]], np.exp(logvar)[[1, 3]]
    np.testing.assert_allclose(belief.mean, 1 + mean.mean(0), rtol=1e-5)
    expected = variance.mean(0) + np.square(mean[0] - mean[1]) / 4
    np.testing.assert_allclose(belief.variance, expected, rtol=1e-4, atol=1e-9)


def test_moment_matching_keeps_mean_and_variance():
    x = jax.random.normal(jax.random.key(0), (2, 20_000, 3)) * 2.0 + 1.0
    y = matched(jax.random.key(1), x)
    np.testing.assert_allclose(y.mean(1), x.mean(1), atol=0.1)
    np.testing.assert_allclose(y.std(1), x.std(1), rtol=0.05)


@pytest.mark.parametrize("propagation", ["ds", "mm", "mean", "ts1", "ts_inf"])
def test_every_propagation_moves_all_particles(propagation):
    particles = 1 if propagation == "mean" else 8
    model, params = model_of(
        gaussian=True, propagation=propagation, particles=particles
    )
    state = spread(model)
    step = jax.jit(model.step)
    after, earned = step(params, jax.random.key(0), state, jnp.zeros((3, 2)))
    assert after.observation.shape == state.observation.shape
    assert np.isfinite(after.observation).all()
    assert (after.observation != state.observation).all()
    assert earned.reward.shape == (3,)
    other, _ = step(params, jax.random.key(1), state, jnp.zeros((3, 2)))
    repeats = bool((other.observation == after.observation).all())
    assert repeats == (propagation == "mean")


def test_a_rollout_earns_the_mean_of_its_particles():
    """Sum of prod(discount) reward = mean over particles of each one's own sum."""
    model, params = model_of(seed=3)
    state = spread(model)
    action = jnp.full((3, 2), 0.2)
    alive, own, total, weight = np.ones((3, 8)), np.zeros((3, 8)), 0.0, 1.0
    for t in range(5):
        state, earned = model.step(params, jax.random.key(t), state, action)
        after = np.asarray(state.observation)
        own += alive * (after[..., 0] - 0.1 * 0.2)
        alive *= after[..., 1] <= 0.5
        total = total + weight * np.asarray(earned.reward)
        weight = weight * np.asarray(earned.discount)
    assert 0 < alive.mean() < 1
    np.testing.assert_allclose(total, own.mean(1), rtol=1e-4)
    np.testing.assert_allclose(weight, alive.mean(1), rtol=1e-5)


def test_a_particle_that_is_no_number_costs_and_ends_but_leaves_other_rows():
    model, params = model_of()
    nets = params["model"]["nets"]
    nets["out"]["bias"] = nets["out"]["bias"].at[2].set(jnp.nan)
    state = spread(model).replace(observation=jnp.zeros((3, 8, 3)))
    after, earned = model.step(params, jax.random.key(0), state, jnp.zeros((3, 2)))
    assert np.isfinite(after.observation).all()
    np.testing.assert_allclose(earned.reward, -0.25e6, rtol=1e-3)
    np.testing.assert_array_equal(after.alive.sum(1), [6, 6, 6])


def test_after_the_end_nothing_is_earned():
    model, params = model_of()
    state = spread(model).replace(alive=jnp.zeros((3, 8)))
    after, earned = model.step(params, jax.random.key(0), state, jnp.ones((3, 2)))
    np.testing.assert_array_equal(earned.reward, 0)
    np.testing.assert_array_equal(earned.discount, 0)
    np.testing.assert_array_equal(after.observation, state.observation)


def test_angles_are_seen_as_sine_and_cosine():
    model, _ = model_of(angles=(1,))
    seen = model.features(jnp.array([5.0, jnp.pi / 2, 7.0]), jnp.array([8.0, 9.0]))
    np.testing.assert_allclose(seen, [1, 0, 5, 7, 8, 9], atol=1e-6)


def test_bounds_are_soft_and_pass_gradients():
    x = jnp.array([-100.0, -3.0, 100.0])
    bounded = soft_bound(x, jnp.float32(-10.0), jnp.float32(0.5))
    np.testing.assert_allclose(bounded[0], -10.0, atol=1e-4)
    np.testing.assert_allclose(bounded[1], -3.0, atol=0.04)
    np.testing.assert_allclose(bounded[2], 0.5, atol=1e-4)
    high = jax.grad(lambda h: soft_bound(x[2], jnp.float32(-10.0), h))(0.5)
    assert high > 0.9


def test_bounds_are_two_softplus_in_a_row():
    def written(x, low, high):
        x = high - jax.nn.softplus(high - x)
        return low + jax.nn.softplus(x - low)

    at = jnp.array([-300.0, -40.0, -10.5, -2.0, 0.4, 9.0, 300.0])
    low, high = jnp.float32(-10.0), jnp.float32(0.5)
    ours, theirs = (f(at, low, high) for f in (soft_bound, written))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=2e-6)
    for argument in range(3):
        total = lambda f: lambda *args: f(*args).sum()
        ours, theirs = (
            jax.grad(total(f), argument)(at, low, high) for f in (soft_bound, written)
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_likelihood_by_hand():
    value = gaussian_nll(jnp.float32(1.0), jnp.float32(jnp.log(4.0)), jnp.float32(3.0))
    np.testing.assert_allclose(value, 4 / 4 + np.log(4), rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"particles": 6},
            "--agent.model.particles must be a multiple of the 4 members",
        ),
        ({"elites": 5}, r"--agent.model.elites must be in \[1, 4\]"),
        ({"elites": 0}, r"--agent.model.elites must be in \[1, 4\] .*, got 0"),
        ({"members": 0}, "--agent.model.members must be at least 1, got 0"),
        ({"units": -5}, "--agent.model.units must be at least 1, got -5"),
        (
            {"propagation": "TS1"},
            "--agent.model.propagation must be one of ts_inf, ts1",
        ),
        ({"particles": 0}, "--agent.model.particles must be at least 1, got 0"),
        ({"layers": -1}, "--agent.model.layers must be at least 0, got -1"),
        ({"propagation": "mean"}, "needs --agent.model.particles 1"),
        ({"angles": (3,)}, r"--agent.model.angles must be in \[0, 2\]"),
        ({"absolute": (-1,)}, r"--agent.model.absolute must be in \[0, 2\]"),
        ({"absolute": (1,), "angles": (1,)}, "exclude each other"),
    ],
)
def test_what_cannot_work_is_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        model_of(**changes)


def test_absolute_entries_are_predicted_but_not_seen():
    """PETS' half-cheetah: a mean velocity says nothing of the next one."""
    model, params = model_of(absolute=(0,), angles=(2,))
    assert model.inputs == 3 - 1 + 1 + 2
    here, after = jnp.array([5.0, 1.0, 2.0]), jnp.array([7.0, 1.5, 1.0])
    seen = model.features(here, jnp.array([0.25, 0.5]))
    expected = [np.sin(2.0), np.cos(2.0), 1.0, 0.25, 0.5]
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    targets = model.targets(here, after)
    np.testing.assert_allclose(targets, [7.0, 0.5, -1.0])
    np.testing.assert_allclose(model.moved(here, targets), after)
    state = model.start(params, 2)
    moved = []
    for speed in (-3.0, 4.0):
        shifted = state.replace(observation=state.observation.at[..., 0].set(speed))
        moved.append(model.step(params, jax.random.key(1), shifted, jnp.ones((2, 2))))
    np.testing.assert_array_equal(moved[0][0].observation, moved[1][0].observation)


def test_other_spaces_and_unknown_rewards_are_refused():
    discrete = dataclasses.replace(SPEC, action=ArraySpec((), "int32", 3))
    with pytest.raises(UserError, match="one vector of numbers"):
        Ensemble(discrete, SMALL)
    silent = dataclasses.replace(SPEC, reward_fn=None)
    with pytest.raises(UserError, match=r"--agent\.model\.learn_reward"):
        Ensemble(silent, SMALL)
    Ensemble(silent, dataclasses.replace(SMALL, learn_reward=True))
    for name in ("mujoco/HalfCheetah", "brax/halfcheetah"):
        with pytest.raises(UserError, match=r"--env\.velocity true.* or --agent"):
            Ensemble(dataclasses.replace(silent, name=name), SMALL)
