"""`brax`, `craftax`, `playground`: the options, without compiling a step."""

import pytest

from wm.envs import make
from wm.errors import UserError


def test_brax_backends_and_limits_are_checked():
    pytest.importorskip("brax")
    with pytest.raises(UserError, match="backend must be one of spring, "):
        make("brax/hopper", backend="warp")
    with pytest.raises(UserError, match="brax/hopper: time_limit must be at least 1"):
        make("brax/hopper", time_limit=0)


def test_playground_says_its_control_rate_and_length():
    pytest.importorskip("mujoco_playground")
    env = make("playground/PendulumSwingup", action_repeat=2)
    assert (env.spec.time_limit, env.spec.action_repeat) == (500, 2)
    assert env.spec.action.shape == (1,)
    assert env.autoreset == "lazy"
    with pytest.raises(UserError, match="impl must be jax or warp"):
        make("playground/PendulumSwingup", impl="cuda")


def test_craftax_symbols_have_no_size():
    pytest.importorskip("craftax")
    spec = make("craftax/classic-symbolic", size=32, time_limit=500).spec
    assert spec.observation.shape == (1345,)
    assert spec.action.classes == 17
    assert spec.time_limit == 500
    with pytest.raises(UserError, match="time_limit must be at least 1"):
        make("craftax/classic-symbolic", time_limit=0)


def test_craftax_pictures_are_padded_or_resized():
    pytest.importorskip("craftax")
    assert make("craftax/classic-pixels").kind == "pad"
    assert make("craftax/classic-pixels", size=32).kind == "resize"
    shape = make("craftax/classic-pixels", size=None).spec.observation.shape
    assert shape == (63, 63, 3)
