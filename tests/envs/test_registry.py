"""`wm.envs.registry` and the table of names."""

import subprocess
import sys

import pytest

from wm.envs import ENVS, make
from wm.envs.names import (
    ATARI_100K,
    ATARI_GAMES,
    DMC_PROPRIO,
    DMC_VISION,
    GYMNAX,
    PLAYGROUND,
)
from wm.envs.registry import is_host
from wm.errors import UserError
from wm.table import Entry


def test_listing_imports_neither_jax_nor_an_environment():
    code = (
        "import sys, wm.envs.table\n"
        "heavy = {'jax', 'numpy', 'gymnax', 'brax', 'craftax', 'envpool'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_families_are_complete():
    assert len(GYMNAX) == 26
    assert (len(ATARI_100K), len(set(ATARI_GAMES))) == (26, 57)
    assert (len(DMC_PROPRIO), len(DMC_VISION)) == (18, 20)
    assert "atari/Pong" in ENVS
    assert "dmc/walker_walk" in ENVS
    assert "crafter/reward" in ENVS


def test_gymnax_names_are_those_of_the_library():
    import gymnax

    assert set(GYMNAX) == set(gymnax.registered_envs)


def test_playground_names_are_those_of_the_library():
    pytest.importorskip("mujoco_playground")
    from mujoco_playground import dm_control_suite

    assert set(PLAYGROUND) == set(dm_control_suite.ALL_ENVS)


def test_unknown_name_gives_the_nearest():
    with pytest.raises(UserError, match="Did you mean gymnax/CartPole-v1"):
        make("gymnax/CartPol")


def test_unknown_option_gives_the_nearest():
    with pytest.raises(UserError, match=r'no option "sise".*Did you mean size'):
        make("pixels/catch", sise=3)
    with pytest.raises(UserError, match="options of probe/recall: none"):
        make("probe/recall", size=3)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "brax", None)
    from wm.envs import brax

    brax._load.cache_clear()
    with pytest.raises(UserError, match=r"brax/ant needs .*'wm-jax\[brax\]'"):
        make("brax/ant")


def test_host_environments_are_told_apart():
    assert is_host("atari/Pong")
    assert not is_host("pixels/catch")


def test_every_entry_is_strings_and_says_what_it_is():
    for name, entry in ENVS.items():
        assert isinstance(entry, Entry)
        assert name.count("/") == 1
        assert ":" in entry.target
        assert 0 < len(entry.description) < 60


def test_made_environments_have_the_name_they_were_asked_by():
    for name in ("pixels/catch", "probe/catch", "probe/recall", "gymnax/CartPole-v1"):
        assert make(name).spec.name == name
