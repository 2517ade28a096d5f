"""The tables of `experiments/`: commands, tasks, published numbers."""

import runpy
from pathlib import Path

import pytest

from wm.errors import UserError
from wm.report.experiment import Experiment

FOLDER = Path(__file__).parents[2] / "experiments"


def table(name: str) -> Experiment:
    """The experiment that a file defines; nothing is run."""
    return runpy.run_path(str(FOLDER / f"{name}.py"))["EXPERIMENT"]


@pytest.mark.parametrize(
    ("name", "count"), [("atari100k", 26), ("dmc", 38), ("craftax", 2), ("mujoco", 5)]
)
def test_every_task_has_a_command_and_published_numbers(name, count):
    experiment = table(name)
    lines = experiment.commands()
    assert len(lines) == len(experiment.tasks) == count
    assert set(experiment.published()) == set(lines)
    folders = [line[line.index("--out") + 1] for line in lines.values()]
    assert len(set(folders)) == count


def test_commands_are_those_of_the_command_line():
    line = table("atari100k").commands(
        ["Pong"], seeds=2, seed=3, out="x", add="+size1m", rest=["--steps", "9"]
    )["Pong"]
    assert " ".join(line) == (
        "wm train dreamer_v3 --env atari/Pong --preset atari100k+size1m --seeds 2 "
        "--seed 3 --out x/Pong --steps 9"
    )


def test_tasks_with_two_presets_say_which():
    experiment = table("dmc")
    assert "dmc_proprio:walker_walk" in experiment.tasks
    assert "dmc_vision:walker_walk" in experiment.tasks
    assert "quadruped_run" in experiment.tasks
    line = experiment.commands(["dmc_vision:walker_walk"])["dmc_vision:walker_walk"]
    assert line[line.index("--preset") + 1] == "dmc_vision"
    assert line[line.index("--out") + 1] == "runs/dmc/dmc_vision-walker_walk"


def test_published_numbers_are_in_units_of_the_return():
    published = table("craftax").published()
    # 53.2 percent of 22 achievements.
    assert published["classic-pixels"]["DreamerV3"] == pytest.approx(11.704)
    assert published["reward"]["DreamerV3 (2023)"] == 11.7
    assert table("atari100k").published()["Pong"]["human"] == 14.6
    assert "SAC" in table("mujoco").published()["Hopper"]
    vision = table("dmc").published()["dmc_vision:walker_walk"]
    assert "DreamerV3 (2024)" in vision


def test_an_unknown_task_names_the_nearest(capsys):
    experiment = table("atari100k")
    with pytest.raises(UserError, match="Did you mean Pong"):
        experiment.commands(["Pongg"])
    assert experiment.main(["--task", "Pongg", "--print"]) == 2
    assert "Did you mean Pong" in capsys.readouterr().err


def test_print_runs_nothing(capsys):
    assert table("dmc").main(["--print", "--task", "quadruped_run"]) == 0
    assert capsys.readouterr().out.startswith("wm train dreamer_v3 --env dmc/quadruped")


def test_a_failing_task_does_not_stop_the_others(monkeypatch, tmp_path):
    import subprocess

    seen = []

    def run(words):
        seen.append(words)
        return subprocess.CompletedProcess(words, 1 if "atari/Pong" in words else 0)

    monkeypatch.setattr(subprocess, "run", run)
    words = ["--task", "Pong", "--task", "Boxing", "--out", str(tmp_path)]
    assert table("atari100k").main(words) == 1
    assert [words[words.index("--env") + 1] for words in seen] == [
        "atari/Pong",
        "atari/Boxing",
    ]
