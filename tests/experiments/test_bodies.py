"""PETS, MBPO and SAC on articulated bodies, end to end on a CPU, cut down.

    python -m pytest tests/experiments -m slow

On the host (gym's MuJoCo tasks, the control suite through envpool) and on the device
(brax, MuJoCo Playground), with the published rewards and ends where they are known.
"""

import json
from pathlib import Path

import pytest

from wm import cli

FEW = {
    "train.prefill": 60,
    "train.fit_steps": 60,
    "train.log_steps": 60,
    "train.replay": 1_000,
    "train.eval_episodes": 1,
    "env.time_limit": 60,
}
NETS = {"agent.model.layers": 1, "agent.model.units": 16, "agent.fit.epochs": 1}
PLAN = {"agent.plan.samples": 20, "agent.plan.elites": 4, "agent.plan.horizon": 5}
PETS = {**FEW, **NETS, **PLAN}
MBPO = {**FEW, **NETS, "agent.rollouts": 64, "agent.batch_size": 32}
MBPO = {**MBPO, "train.updates": 1, "agent.sac.layers": "16 16"}
SAC = {**FEW, "train.batch_size": 32, "agent.layers": "16 16"}
SAC.pop("train.fit_steps")
CASES = {
    "mujoco/HalfCheetah": [("pets", "halfcheetah", PETS), ("sac", "default", SAC)],
    "mujoco/Hopper": [("mbpo", "hopper", MBPO)],
    "dmc/cartpole_swingup": [("pets", "default", PETS)],
    "brax/halfcheetah": [("pets", "halfcheetah", PETS)],
    "brax/hopper": [("mbpo", "hopper", MBPO), ("sac", "default", SAC)],
    "playground/CartpoleSwingup": [
        ("pets", "default", PETS),
        ("mbpo", "default", MBPO),
    ],
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Accessing .* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("env", CASES)
def test_systems_train_on_bodies(env, tmp_path, capsys):
    for system, preset, settings in CASES[env]:
        run = tmp_path / system
        line = ["train", system, "--env", env, "--preset", preset, "--steps", "240"]
        values = dict(settings)
        if env.startswith(("dmc/", "playground/")):
            values.pop("env.time_limit")  # the suite's own, 1000
        if env.startswith("dmc/"):
            values["env.flat"] = "true"
        for name, value in values.items():
            line += [f"--{name}", *str(value).split()]
        code = cli.main([*line, "--out", str(run)])
        complaint = capsys.readouterr().err
        if code == 2 and " needs " in complaint:
            pytest.skip(complaint)
        assert code == 0, complaint
        rows = [json.loads(row) for row in lines(run / "metrics.jsonl")]
        assert rows[-1]["step"] >= 240
        assert all(value == value for row in rows for value in row.values())
        assert lines(run / "scores.jsonl")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
