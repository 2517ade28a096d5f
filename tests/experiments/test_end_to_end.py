"""Every published preset trains end to end on a CPU, cut down to size1m.

    python -m pytest tests/experiments -m slow

Needs the extras `host`, `craftax` and `crafter`; pixels of the control suite need an
OpenGL library too. What is not installed is skipped with its reason.
"""

import json
import runpy
from pathlib import Path

import pytest

from wm import cli, report
from wm.report import reference

FOLDER = Path(__file__).parents[2] / "experiments"
SMALL = {
    "train.batch_size": 4,
    "train.batch_length": 16,
    "train.prefill": 200,
    "train.replay": 2_000,
    "train.log_steps": 16,
    "train.eval_episodes": 2,
}
CASES = [
    ("atari100k", "Pong", 206),
    ("dmc", "dmc_proprio:walker_walk", 300),
    ("dmc", "dmc_vision:walker_walk", 300),
    ("craftax", "classic-pixels", 300),
    ("craftax", "reward", 206),
]
"""File, task, environment steps: enough for 24 updates or more at each ratio."""


@pytest.mark.slow
@pytest.mark.parametrize(("file", "task", "steps"), CASES)
def test_preset_trains_and_reports(file, task, steps, tmp_path, capsys):
    experiment = runpy.run_path(str(FOLDER / f"{file}.py"))["EXPERIMENT"]
    rest = [f"--{name}={value}" for name, value in SMALL.items()]
    rest.append(f"--steps={steps}")
    line = experiment.commands(
        [task], seeds=1, out=str(tmp_path), add="+size1m", rest=rest
    )[task]
    code = cli.main(line[1:])
    complaint = capsys.readouterr().err
    if code == 2 and " needs " in complaint:
        pytest.skip(complaint)
    assert code == 0
    run = Path(line[line.index("--out") + 1])
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert max(json.loads(row).get("updates", 0) for row in rows) >= 20
    page = report.write([run], against="dreamer_v3").read_text()
    assert reference.method_name("dreamer_v3").split()[0] in page
    assert "The dream" in page
