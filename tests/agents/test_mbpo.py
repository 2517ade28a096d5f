"""MBPO: the schedule of lengths, what enters the pool, and SAC without a model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.data import pool
from wm.errors import UserError
from wm.models.ensemble import Particles
from wm.presets import of
from wm.train.device import DeviceRunner
from wm.train.loop import loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys

TINY = {
    "model.members": 3,
    "model.elites": 2,
    "model.layers": 1,
    "model.units": 8,
    "fit.batch_size": 8,
    "fit.epochs": 2,
    "sac.layers": (8,),
    "batch_size": 8,
    "real_ratio": 0.25,
    "rollouts": 6,
    "retain_fits": 2,
    "length": (0, 2, 1, 3),
    "epoch_steps": 40,
}
SCHEDULE = Schedule(
    total=80, envs=2, chunk=1, updates=2, prefill=20, fit_steps=20, replay=100
)
SPEC = wm.env("classic/pendulum").spec


def agent_of(**settings):
    return wm.agent("mbpo", SPEC, **{**TINY, **settings})


@functools.cache
def collected():
    """The agent, its loop, and one seed after the prefill."""
    agent = agent_of()
    loop = loop_of(agent, SCHEDULE)
    runner = DeviceRunner(
        loop, wm.env("classic/pendulum"), Seeds(seed_keys(0, 1), "loop")
    )
    return agent, loop, runner.prefill(runner.init(), [10])[0]


@functools.cache
def fit():
    """`(state of the agent, key)`, with what was collected."""
    agent, loop, state = collected()
    dataset = loop.buffer.dataset(state.buffer)
    program = jax.jit(agent.fit)
    return lambda own, key: program(own, key, dataset)


@functools.cache
def ready():
    """The agent, and one seed after the prefill and a fit."""
    agent, loop, state = collected()
    fitted, metrics = fit()(state.agent, jax.random.key(1))
    _, batch = loop.buffer.sample(state.buffer, jax.random.key(2), 2, 2)
    return agent, fitted, metrics, {"replay": batch}


@pytest.mark.parametrize(
    ("epoch", "length"), [(0, 1), (20, 1), (85, 8), (150, 15), (400, 15)]
)
def test_rollouts_of_hopper_grow_as_published(epoch, length):
    settings = dict(of("mbpo")["hopper"].agent)
    agent = agent_of(length=settings["length"], epoch_steps=1_000)
    assert int(agent.length(jnp.int32(1_000 * epoch + 999))) == length


def test_published_entropies_are_not_minus_the_size_of_actions():
    wanted = {"hopper": (3, -1), "walker2d": (6, -3), "humanoid": (17, -2)}
    for name, (size, entropy) in wanted.items():
        share = of("mbpo")[name].agent["sac.entropy_target"]
        np.testing.assert_allclose(-share * size, entropy)


def test_a_fit_fills_the_pool_from_real_states():
    _, fitted, metrics, _ = ready()
    assert metrics["model/rollout_length"] == 1
    assert int(fitted.pool.held) == 6
    drawn = pool.sample(fitted.pool, jax.random.key(0), 50)
    circle = np.square(np.asarray(drawn.observation[:, :2])).sum(-1)
    np.testing.assert_allclose(circle, 1.0, rtol=1e-5)
    assert (drawn.next_observation != drawn.observation).any()
    assert np.asarray(drawn.mask).all()
    assert (np.abs(drawn.action) <= 1).all()
    begun = np.unique(fitted.pool.rows.observation[:6], axis=0)
    assert len(begun) > 3
    _, loop, state = collected()
    real = loop.buffer.dataset(state.buffer).steps.timestep.observation
    near = np.abs(begun[:, None] - np.asarray(real).reshape(-1, 3)).max(-1).min(1)
    np.testing.assert_array_equal(near, 0.0)


def test_a_fit_goes_on_with_the_optimizer_of_the_last():
    _, fitted, _, _ = ready()
    again, _ = fit()(fitted, jax.random.key(2))
    once = int(fitted.optimizer[0].count)
    assert once > 0
    assert again.optimizer[0].count == 2 * once


def test_as_an_environment_every_elite_moves_it_and_no_other():
    agent, fitted, _, _ = ready()
    nets = jax.tree.map(jnp.zeros_like, fitted.model["nets"])
    nets["out"]["bias"] += jnp.arange(3.0)[:, None] * 100
    params = {"model": {**fitted.model, "nets": nets, "elites": jnp.array([2, 0])}}
    starts = Particles(jnp.zeros((1, 1, 3)), jnp.ones((1, 1)))
    dream = wm.as_env(agent.model, params, starts=starts)

    @jax.jit
    def seen(key):
        state, _ = dream.reset(key)

        def body(state, _):
            state, timestep = dream.step(state, jnp.zeros(1))
            return state, timestep.observation[0]

        return jax.lax.scan(body, state, None, 30)[1]

    moved = np.diff(np.asarray(seen(jax.random.key(0))), prepend=0.0)
    assert set(np.round(moved / 100)) == {0.0, 2.0}


def test_longer_rollouts_continue_and_keep_the_newest():
    agent, fitted, _, _ = ready()
    starts = jnp.tile(jnp.array([[1.0, 0.0, 0.0]]), (6, 1))
    imagine = jax.jit(agent.imagine)
    three = imagine(fitted, jax.random.key(3), starts, jnp.int32(3))
    assert int(three.size) == 2 * 6 * 3
    assert int(three.written) == int(fitted.pool.written) + 18
    rows, begin = three.rows, int(fitted.pool.written)
    for turn in range(2):
        ends = rows.next_observation[begin + 6 * turn : begin + 6 * turn + 6]
        begins = rows.observation[begin + 6 * turn + 6 : begin + 6 * turn + 12]
        np.testing.assert_array_equal(ends, begins)
    # Samples of the policy, not its mode: all rollouts begin alike.
    assert len(np.unique(rows.action[begin : begin + 6])) == 6


def test_rollouts_that_ended_or_broke_write_nothing():
    agent, fitted, _, _ = ready()
    ends = agent_of()
    ends.model.spec = wm.types.EnvSpec(
        SPEC.observation, SPEC.action, terminal_fn=lambda o, a, n: n[0] > -10.0
    )
    starts = jnp.zeros((6, 3))
    filled = ends.imagine(fitted, jax.random.key(0), starts, jnp.int32(3))
    assert int(filled.written) == int(fitted.pool.written) + 6
    nets = jax.tree.map(lambda x: x * jnp.nan, fitted.model["nets"])
    broken = fitted.replace(model={**fitted.model, "nets": nets})
    filled = agent.imagine(broken, jax.random.key(0), starts, jnp.int32(3))
    assert int(filled.written) == int(fitted.pool.written)


def test_with_real_transitions_only_it_is_sac():
    _, fitted, _, batches = ready()
    only = agent_of(real_ratio=1.0)
    assert only.batches(SCHEDULE) == {"replay": (8, 2)}
    sac = wm.agent("sac", SPEC, layers=(8,))

    @jax.jit
    def both(fitted, key, batches):
        mine = only.update(fitted, key, batches)[0].learner
        return mine, sac.update(fitted.learner, key, batches)[0]

    mine, theirs = both(fitted, jax.random.key(5), batches)
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_real_and_imagined_parts_of_a_batch():
    agent, fitted, _, batches = ready()
    assert agent.batches(SCHEDULE) == {"replay": (2, 2)}
    assert agent_of(batch_size=256, real_ratio=0.05).real == 12
    assert agent_of(real_ratio=0.0).batches(SCHEDULE) == {}
    update = jax.jit(agent.update)
    one = update(fitted, jax.random.key(1), batches)[0].learner
    rows = fitted.pool.rows
    other = fitted.replace(
        pool=fitted.pool.replace(rows=rows._replace(reward=rows.reward + 100.0))
    )
    two = update(other, jax.random.key(1), batches)[0].learner
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), one.critic, two.critic)
    assert any(jax.tree.leaves(changed))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"real_ratio": 1.5}, r"--agent.real_ratio must be in \[0, 1\], got 1.5"),
        ({"rollouts": 0}, "--agent.rollouts must be at least 1, got 0"),
        ({"length": (5, 1, 1, 3)}, "--agent.length must be epochs in order"),
        ({"model.learn_reward": False}, "--agent.model.learn_reward true"),
        ({"sac.gamma": 2.0}, r"gamma must be in \[0, 1\], got 2.0"),
    ],
)
def test_what_cannot_work_is_one_line(settings, message):
    with pytest.raises(UserError, match=message):
        agent_of(**settings)


def test_replay_that_cannot_hold_the_growth_of_rollouts_is_refused():
    """Their length is read off the steps in replay, which would stop growing."""
    agent = wm.agent("mbpo", wm.env("classic/pendulum").spec, length=(0, 10, 1, 5))
    schedule = Schedule(total=5_000, replay=4_000)
    with pytest.raises(
        UserError, match=r"^--train.replay must be at least 5000: .* 4000"
    ):
        agent.buffer(schedule)
    agent.buffer(Schedule(total=50_000, replay=10_000))
