"""Sources of host environments, where they are installed."""

import importlib.util

import numpy as np
import pytest

from wm.envs import atari, crafter, dmc, registry
from wm.envs.names import ATARI_GAMES
from wm.errors import UserError
from wm.types import ArraySpec, HostEnv

needs_envpool = pytest.mark.skipif(
    importlib.util.find_spec("envpool") is None, reason="envpool is not installed"
)
needs_crafter = pytest.mark.skipif(
    importlib.util.find_spec("crafter") is None, reason="crafter is not installed"
)


def play(env, steps):
    """The stream of random play, checked step by step against the contract."""
    assert isinstance(env, HostEnv)
    spec, generator = env.spec, np.random.default_rng(0)
    timestep, stream = env.reset(), []
    assert timestep.is_first.all()
    for _ in range(steps):
        shape = (env.num_envs, *spec.action.shape)
        if spec.action.discrete:
            action = generator.integers(0, spec.action.classes, shape)
        else:
            action = generator.uniform(-1.5, 1.5, shape)
        before, timestep = timestep, env.step(action)
        np.testing.assert_array_equal(timestep.is_first, before.is_last)
        assert not timestep.reward[timestep.is_first].any()
        assert (timestep.is_last | (timestep.discount == 1)).all()
        stream.append(timestep)
    for name in ("reward", "discount"):
        value = getattr(timestep, name)
        assert (value.dtype, value.shape) == (np.float32, (env.num_envs,))
    env.close()
    return stream


def matches(spec, observation):
    """Whether an observation `[B, …]` has the shape and type of its spec."""
    return observation.shape[1:] == spec.shape and observation.dtype == spec.dtype


@needs_envpool
def test_pong_by_the_atari100k_protocol():
    env = registry.make("atari/Pong", num_envs=2, seed=1)
    assert env.spec.observation == ArraySpec((64, 64, 3), "uint8")
    assert env.spec.action.classes == 6
    assert env.spec.random_return == -20.7
    assert (env.spec.time_limit, env.spec.action_repeat) == (27_000, 4)
    timestep = play(env, 4)[-1]
    assert matches(env.spec.observation, timestep.observation)
    assert timestep.observation.std() > 1


@needs_envpool
def test_pong_by_the_atari_protocol():
    env = atari.make("Pong", num_envs=1, protocol="atari")
    assert env.spec.observation == ArraySpec((96, 96, 1), "uint8")
    assert env.spec.action.classes == 18
    assert matches(env.spec.observation, play(env, 2)[-1].observation)


@needs_envpool
def test_atari_truncation_keeps_its_discount_and_resets_next():
    env = atari.make("Pong", num_envs=2, frames=12, resize="area", noops=1)
    assert env.spec.random_return is None
    stream = play(env, 8)
    last = np.stack([t.is_last[0] for t in stream])
    np.testing.assert_array_equal(last, [0, 0, 1, 0, 0, 0, 1, 0])
    assert all(t.discount.all() for t in stream)


def test_resizing_one_colour_changes_nothing_and_grey_weighs_channels():
    frames = np.zeros((1, 3, 210, 160), np.uint8)
    frames[0, 0], frames[0, 1] = 200, 100
    image = atari.resized(frames, 8, gray=False)
    np.testing.assert_array_equal(image[0, 3, 3], [200, 100, 0])
    gray = atari.resized(frames, 8, gray=True)
    assert gray.shape == (1, 8, 8, 1)
    assert (gray == 118).all()  # 0.299 * 200 + 0.587 * 100 = 118.5


def test_every_game_has_a_random_score():
    assert set(atari.RANDOM) == set(ATARI_GAMES)


def test_impossible_atari_options_are_one_line():
    with pytest.raises(UserError, match="protocol must be atari100k or atari, got x"):
        atari.make("Pong", protocol="x")
    with pytest.raises(UserError, match="noops must be at least 1, got 0"):
        atari.make("Pong", noops=0)


@needs_envpool
def test_walker_observes_vectors_by_name():
    env = registry.make("dmc/walker_walk", num_envs=2, seed=1)
    assert env.spec.observation == {
        "height": ArraySpec((1,)),
        "orientations": ArraySpec((14,)),
        "velocity": ArraySpec((9,)),
    }
    timestep = play(env, 3)[-1]
    assert list(timestep.observation) == list(env.spec.observation)
    for key, spec in env.spec.observation.items():
        assert matches(spec, timestep.observation[key])
    assert ((timestep.reward > 0) & (timestep.reward <= 1)).all()


@needs_envpool
def test_repeated_actions_add_up_and_end_at_the_limit():
    one = dmc.make("cartpole_balance", num_envs=2, seed=3)
    two = dmc.make("cartpole_balance", num_envs=2, seed=3, repeat=3)
    one.reset(), two.reset()
    action = np.full((2, 1), 0.3)
    for step in range(334):
        singles = [one.step(action) for _ in range(3 if step < 333 else 1)]
        repeated = two.step(action)
        total = sum(t.reward for t in singles)
        np.testing.assert_allclose(repeated.reward, total, rtol=1e-5)
    assert (repeated.is_last & (repeated.discount == 1)).all()
    fresh, single = two.step(action), one.step(action)
    assert (fresh.is_first & (fresh.reward == 0)).all()
    np.testing.assert_array_equal(
        fresh.observation["position"], single.observation["position"]
    )
    one.close(), two.close()


@needs_envpool
def test_only_what_the_suite_observes_is_observed():
    for name, keys in {
        "finger_spin": {"position", "velocity", "touch"},
        "fish_upright": {"joint_angles", "upright", "velocity"},
        "fish_swim": {"joint_angles", "upright", "velocity", "target"},
    }.items():
        env = dmc.make(name, num_envs=1)
        assert set(env.spec.observation) == keys
        assert set(env.reset().observation) == keys
        env.close()


@needs_envpool
def test_pixels_of_the_control_suite_or_one_line(monkeypatch):
    monkeypatch.setattr(dmc, "opengl_works", lambda: False)
    with pytest.raises(UserError, match="dmc/walker_walk from pixels needs OpenGL"):
        dmc.make("walker_walk", pixels=True)
    monkeypatch.setattr(dmc, "opengl_works", lambda: True)
    monkeypatch.setattr(dmc, "load_opengl", lambda: False)
    with pytest.raises(UserError, match="before `import envpool`"):
        dmc.make("walker_walk", pixels=True)
    monkeypatch.undo()
    if not (dmc.opengl_works() and dmc.load_opengl()):
        pytest.skip("no OpenGL")
    env = dmc.make("walker_walk", num_envs=1, pixels=True, repeat=2)
    assert (env.spec.time_limit, env.spec.action_repeat) == (500, 2)
    image = play(env, 1)[-1].observation
    assert matches(env.spec.observation, image)
    assert image.std() > 1


@needs_crafter
def test_crafter_repeats_with_its_seed_which_goes_up_by_row():
    pair = registry.make("crafter/reward", num_envs=2, seed=5)
    alone = crafter.make(num_envs=1, seed=6)
    assert pair.spec.observation == ArraySpec((64, 64, 3), "uint8")
    assert (pair.spec.action.classes, pair.spec.time_limit) == (17, 10_000)
    two, one = pair.reset().observation, alone.reset().observation
    assert matches(pair.spec.observation, two)
    np.testing.assert_array_equal(two[1], one[0])
    assert (two[0] != one[0]).any()
    play_on = pair.step(np.array([3, 5]))
    assert matches(pair.spec.observation, play_on.observation)
    assert not (play_on.is_first | play_on.is_last).any()


@needs_crafter
def test_death_in_crafter_is_terminal_and_the_limit_is_not(monkeypatch):
    monkeypatch.setattr(crafter, "TIME_LIMIT", 2)
    row = crafter.CrafterRow(64, reward=True)
    row.reset(0)
    assert row.step(np.int32(0))[2:] == (False, False)
    assert row.step(np.int32(0))[2:] == (False, True)
    row.reset(None)
    row._game._player.health = 0
    assert row.step(np.int32(0))[2:] == (True, False)


@needs_crafter
def test_impossible_crafter_options_are_one_line():
    with pytest.raises(UserError, match="name must be reward or noreward"):
        crafter.make("score")
    with pytest.raises(UserError, match="size must be at least 9"):
        crafter.make(size=8)
