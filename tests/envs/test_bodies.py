"""Rewards and ends as functions of observations, against the tasks themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.envs import batch, make
from wm.envs.bodies import BODIES
from wm.envs.names import BRAX, MUJOCO, PLAYGROUND
from wm.envs.suite import PLAYGROUND as PLAYGROUND_REWARDS
from wm.envs.suite import REWARDS
from wm.errors import UserError

MOVING = [task for task, body in MUJOCO.items() if BODIES[body].forward is not None]


def host_stream(env, steps, scale=1.0):
    """`steps` records of random actions, time first, and the actions."""
    rng, records, actions = np.random.default_rng(0), [env.reset()], []
    for _ in range(steps):
        shape = (env.num_envs, *env.spec.action.shape)
        actions.append(rng.uniform(-scale, scale, shape).astype(np.float32))
        records.append(env.step(actions[-1]))
    env.close()
    return jax.tree.map(lambda *x: np.stack(x), *records), np.stack(actions)


def foretold(spec, stream, actions):
    """Rewards and ends of all transitions: (foretold, seen) each, flat."""
    real = ~np.asarray(stream.is_first)[1:]
    before, after = stream.observation[:-1][real], stream.observation[1:][real]
    rewards = ends = None
    if spec.reward_fn is not None:
        said = jax.vmap(spec.reward_fn)(before, actions[real], after)
        seen = stream.reward[1:][real]
        if "ouble" in spec.name:
            # Speeds beyond 10 rad/s, which it rewards, look like 10.
            slow = np.abs(after[:, 6:8]).max(1) < 10
            assert slow.mean() > 0.5
            said, seen = said[slow], seen[slow]
        rewards = said, seen
    if spec.terminal_fn is not None:
        said = jax.vmap(spec.terminal_fn)(before, actions[real], after)
        ends = said, stream.discount[1:][real] == 0
    return rewards, ends


def agree(spec, stream, actions, tolerance=2e-3):
    rewards, ends = foretold(spec, stream, actions)
    if rewards is not None:
        np.testing.assert_allclose(*rewards, atol=tolerance, rtol=1e-4)
    if ends is not None:
        np.testing.assert_array_equal(*ends)
    return rewards, ends


@pytest.mark.parametrize("task", sorted(MUJOCO))
def test_rewards_and_ends_of_mujoco_follow_from_observations(task):
    pytest.importorskip("envpool")
    env = make(f"mujoco/{task}", num_envs=4, velocity=task in MOVING)
    rewards, ends = agree(env.spec, *host_stream(env, 250))
    assert rewards is not None
    if BODIES[MUJOCO[task]].alive is not None and task != "Ant":
        assert ends[1].any(), "no episode ended: nothing was compared"


def test_the_velocity_is_that_of_the_step_and_zero_at_first():
    pytest.importorskip("envpool")
    env = make("mujoco/HalfCheetah", num_envs=2, velocity=True, time_limit=20)
    stream, actions = host_stream(env, 45)
    assert env.spec.observation.shape == (18,)
    assert env.spec.time_limit == 20
    first = np.asarray(stream.is_first)
    assert first.sum() == 6
    assert (stream.observation[..., 0][first] == 0).all()
    assert (stream.observation[..., 0][~first] != 0).all()
    agree(env.spec, stream, actions)


def test_without_the_velocity_its_reward_is_unknown():
    pytest.importorskip("envpool")
    spec = make("mujoco/Hopper", num_envs=1).spec
    assert spec.reward_fn is None
    assert spec.terminal_fn is not None
    assert spec.observation.shape == (11,)
    other = make("mujoco/Hopper", num_envs=1, version=5).spec
    assert (other.reward_fn, other.terminal_fn) == (None, None)


def test_what_cannot_be_is_refused():
    pytest.importorskip("envpool")
    with pytest.raises(UserError, match="mujoco/Reacher: velocity is for tasks that"):
        make("mujoco/Reacher", velocity=True)
    with pytest.raises(UserError, match="version must be 3, 4 or 5, got 2"):
        make("mujoco/Ant", version=2)
    with pytest.raises(UserError, match="velocity needs version 4, got 5"):
        make("mujoco/Ant", version=5, velocity=True)
    with pytest.raises(UserError, match="time_limit must be at least 1"):
        make("mujoco/Ant", time_limit=0)
    with pytest.raises(UserError, match="flat and pixels exclude each other"):
        make("dmc/cartpole_swingup", flat=True, pixels=True)


def test_specs_are_equal_and_hashable():
    """Programs are compiled by them: a new function each time would recompile."""
    pytest.importorskip("brax")
    one, two = (make("brax/hopper", velocity=True).spec for _ in range(2))
    assert (one, hash(one)) == (two, hash(two))
    with pytest.raises(UserError, match="brax/reacher: velocity is for tasks"):
        make("brax/reacher", velocity=True)


def test_wrappers_that_change_steps_forget_what_no_longer_holds():
    pytest.importorskip("brax")
    spec = make("brax/hopper", velocity=True, action_repeat=2).spec
    assert spec.reward_fn is None
    assert spec.terminal_fn is not None


@pytest.mark.parametrize("task", sorted(REWARDS))
def test_rewards_of_the_control_suite_follow_from_flat_observations(task):
    pytest.importorskip("envpool")
    env = make(f"dmc/{task}", num_envs=16, flat=True)
    assert len(env.spec.observation.shape) == 1
    stream, actions = host_stream(env, 400)
    (said, _), _ = agree(env.spec, stream, actions, 1e-4)
    if task not in ("cartpole_swingup_sparse", "pendulum_swingup", "reacher_hard"):
        assert np.asarray(said).any()


def test_flat_is_the_vectors_in_order_of_their_names():
    pytest.importorskip("envpool")
    flat = make("dmc/walker_walk", num_envs=2, flat=True).reset().observation
    parts = make("dmc/walker_walk", num_envs=2).reset().observation
    np.testing.assert_array_equal(
        flat, np.concatenate([parts[name] for name in sorted(parts)], 1)
    )
    assert make("dmc/cartpole_swingup", num_envs=1, flat=True, repeat=2).spec == (
        make("dmc/cartpole_swingup", num_envs=1, flat=True, repeat=2).spec
    )


def test_sparse_rewards_by_hand():
    """Places that random play does not reach."""
    x = lambda *values: jnp.array(values, jnp.float32)
    none = x(0.0)
    swingup, hard = REWARDS["cartpole_swingup_sparse"], REWARDS["reacher_hard"]
    assert swingup(none, none, x(0.2, 0.999, 0.0, 0.0, 0.0)) == 1
    assert swingup(none, none, x(0.3, 0.999, 0.0, 0.0, 0.0)) == 0
    assert swingup(none, none, x(0.2, 0.99, 0.1, 0.0, 0.0)) == 0
    assert REWARDS["pendulum_swingup"](none, none, x(0.991, 0.13, 0.0)) == 1
    assert REWARDS["pendulum_swingup"](none, none, x(0.990, 0.14, 0.0)) == 0
    assert PLAYGROUND_REWARDS["PendulumSwingup"](none, none, x(0.1, 0.995, 0.0)) == 1
    assert hard(none, none, x(0.0, 0.0, 0.02, 0.01, 0.0, 0.0)) == 1
    assert hard(none, none, x(0.0, 0.0, 0.02, 0.02, 0.0, 0.0)) == 0


def device_stream(env, steps):
    batched = batch(env, "exact")
    action = jax.random.uniform(
        jax.random.key(1), (steps, 4, *env.spec.action.shape), minval=-1.0
    )
    state, first = batched.reset(jax.random.key(0), 4)
    _, stream = jax.lax.scan(batched.step, state, action)
    stream = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, stream)
    return jax.tree.map(np.asarray, (stream, action))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Accessing .* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("task", sorted(set(BODIES) & set(BRAX)))
def test_rewards_and_ends_of_brax_follow_from_observations(task):
    pytest.importorskip("brax")
    moving = BODIES[task].forward is not None
    env = make(f"brax/{task}", velocity=moving)
    stream, actions = device_stream(env, 150)
    if task != "inverted_double_pendulum":
        assert agree(env.spec, stream, actions)[0] is not None
        return
    # Joints stretch: what angles say of the tip is nearly right.
    (said, seen), (ended, really) = foretold(env.spec, stream, actions)
    assert np.mean(np.abs(said - seen) < 0.1) > 0.99
    assert np.mean(ended == really) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(PLAYGROUND_REWARDS))
def test_rewards_of_playground_follow_from_observations(task):
    pytest.importorskip("mujoco_playground")
    assert task in PLAYGROUND
    env = make(f"playground/{task}")
    agree(env.spec, *device_stream(env, 60), 1e-4)


@pytest.mark.parametrize(
    ("body", "standing", "outside"),
    [
        ("hopper", 1.25, [(0, 0.69), (1, 0.21), (1, -0.21), (7, 101.0), (7, -101.0)]),
        ("walker2d", 1.25, [(0, 0.79), (0, 2.01), (1, 1.01), (1, -1.01)]),
        ("ant", 0.75, [(0, 0.19), (0, 1.01), (5, np.nan), (5, np.inf)]),
        ("humanoid", 1.4, [(0, 0.99), (0, 2.01)]),
        ("inverted_pendulum", 0.0, [(1, 0.21), (1, -0.21), (3, np.nan)]),
    ],
)
def test_every_limit_ends(body, standing, outside):
    """Just outside of each; random play meets few of them."""
    known = jnp.zeros(11).at[0].set(standing)
    assert BODIES[body].alive(known)
    for entry, value in outside:
        assert not BODIES[body].alive(known.at[entry].set(value)), (entry, value)
