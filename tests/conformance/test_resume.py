"""A run that was interrupted equals one that was not, bit for bit, for every agent."""

import dataclasses

import pytest

import wm
from tests.conformance.test_agents import AGENTS
from tests.train.test_run import rows, saved, stop_after
from wm import envs
from wm.train.run import load, train

FAST = ("q_learning",)
"""And DreamerV3 in `tests/train/test_run.py`; here all of them, slowly."""
PARAMS = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in AGENTS
]


@pytest.mark.parametrize("name", PARAMS, ids=lambda name: name.replace(" ", "_"))
def test_an_interrupted_run_equals_the_uninterrupted_one(name, tmp_path, monkeypatch):
    case = AGENTS[name]
    env = envs.make(case.env) if isinstance(case.env, str) else case.env
    total = max(case.schedule.total, 120)
    schedule = dataclasses.replace(case.schedule, total=total, eval_episodes=2)
    # Without a horizon SVG fits its model in every update.
    if "fit" in dir(case.make(env.spec)) and name != "svg infinity":
        schedule = dataclasses.replace(schedule, fit_steps=schedule.fit_steps or 48)
    go = lambda out: train(case.make(env.spec), env, schedule, out=out, quiet=True)
    whole = go(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(wm.Stopped):
            go(tmp_path / "run")
    assert 0 < load(tmp_path / "run").saved()[-1] < whole.saved()[-1]
    again = go(tmp_path / "run")
    assert len(rows(again)) > 2
    assert rows(again) == rows(whole)
    assert rows(again, "scores") == rows(whole, "scores")
    assert saved(again) == saved(whole)
