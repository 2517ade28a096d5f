"""One published cell: its command, its protocol, and inside or outside."""

import json

import numpy as np
import pytest

from tests.report import runs
from tests.report.test_aggregate import change, summaries
from wm import cli
from wm.errors import UserError
from wm.presets import compose
from wm.report import verdict
from wm.report.cells import BENCHMARKS, cell

PONG = ("dreamer_v3", "atari100k", "Pong")


def pong(path, score: float, seeds: int = 5, first: int = 0, steps: int = 100_000):
    """A run whose training episodes of the last tenth return `score` and 0.1 noise."""
    run = runs.fake_run(
        path,
        "atari/Pong",
        seeds,
        steps,
        low=-21,
        high=20,
        observation={"shape": [64, 64, 3], "dtype": "uint8"},
        action_repeat=4,
        levels=None,
    )
    change(run, preset="atari100k", seed=first)
    rows = []
    for seed in range(first, first + seeds):
        for step in range(500, steps + 1, 500):
            late = step > 0.975 * steps
            value = score + 0.1 * (seed - first) if late else -21.0
            row = {"step": step, "seed": seed, "episode/return": value}
            rows.append(row | {"episode/count": 1 + (step % 1000 == 0)})
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return run


def test_every_cell_has_a_preset_a_number_and_a_command():
    for system, benchmarks in BENCHMARKS.items():
        for name, group in benchmarks.items():
            for env in group.envs:
                one = cell(system, name, env.partition("/")[2])
                preset = compose(system, one.group.preset)
                repeat = preset.env.get("repeat", 1)
                assert one.words[:2] == ("train", system)
                if name.startswith("dmc"):
                    assert one.group.repeat == repeat
                assert one.row.env_steps == group.frames


def test_a_cell_is_the_published_preset_seeds_and_budget():
    one = cell(*PONG)
    assert " ".join(one.words) == (
        "train dreamer_v3 --env atari/Pong --preset atari100k --seeds 4 "
        "--steps 100000 --train.log_steps 500"
    )
    assert one.protocol.window == pytest.approx(10_000 / 400_000)
    # As many seeds as there are published runs.
    assert [cell(*PONG[:2], x).seeds for x in ("Pong", "Alien")] == [4, 5]
    # Published with two frames per action and 30,000 frames at the end.
    one = cell("dreamer_v3", "dmc_proprio", "walker_walk")
    assert one.steps == 250_000
    assert one.group.preset == "v1_2023_dmc"
    assert one.protocol.window == pytest.approx(30_000 / 500_000)


def test_the_published_interval_by_hand():
    # -4 over 4 runs with deviation 2.94392; t of 3 degrees at 97.5 % is 3.18245.
    found = verdict.published_interval(cell(*PONG))
    reach = 3.182446 * 2.94392 / 2
    assert found == pytest.approx((-4, -4 - reach, -4 + reach))
    # The runs are not counted: one deviation. No spread: no interval.
    crafter = cell("dreamer_v3", "crafter", "reward")
    assert verdict.published_interval(crafter) == pytest.approx((11.7, 9.8, 13.6))
    craftax = cell("dreamer_v3", "craftax", "classic-pixels")
    assert verdict.published_interval(craftax) is None
    assert craftax.scale == pytest.approx(100 / 22)


def test_only_episodes_of_the_window_count_each_once(tmp_path):
    run = pong(tmp_path / "a", -3.0, seeds=1)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    rows[-1]["episode/return"], rows[-1]["episode/count"] = 7.0, 6
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = verdict.seed_scores(cell(*PONG), summaries(run)[0])
    # Five rows after step 97,500: of 2, 1, 2, 1 episodes at -3, and 6 at 7.
    assert found == {0: pytest.approx((6 * -3 + 6 * 7) / 12)}


def test_inside_and_outside(tmp_path):
    inside = verdict.judge(cell(*PONG), summaries(pong(tmp_path / "a", -3.2)))
    assert inside.inside
    assert inside.ours.value == pytest.approx(-3.0)
    assert not inside.notes
    assert inside.line.startswith("inside: dreamer_v3 atari100k Pong with −3 lies in")
    outside = verdict.judge(cell(*PONG), summaries(pong(tmp_path / "b", 15.0)))
    assert outside.inside is False
    assert "above the published interval, −8.68 to 0.684" in outside.line


def test_seeds_of_several_runs_are_pooled(tmp_path):
    a = pong(tmp_path / "a", -3.0, seeds=3)
    b = pong(tmp_path / "b", -4.0, seeds=2, first=3)
    found = verdict.judge(cell(*PONG), summaries(a, b))
    assert list(found.seeds) == [0, 1, 2, 3, 4]
    assert found.ours.value == pytest.approx(np.mean([-3, -2.9, -2.8, -4, -3.9]))
    with pytest.raises(UserError, match="seed 0 is in two of the runs"):
        verdict.judge(cell(*PONG), summaries(a, a))


def test_what_weakens_a_verdict_is_said(tmp_path):
    run = change(pong(tmp_path / "a", -3.0, 2, steps=50_000), preset="size1m")
    found = verdict.judge(cell(*PONG), summaries(run))
    assert found.notes == (
        "a has 200,000 of 400,000 simulator steps: not the published budget",
        "preset size1m, not atari100k",
        "0 of 4 seeds",
    )
    # It never came to the frames that count.
    assert (
        found.line == "open: dreamer_v3 atari100k Pong has no episode that counts yet"
    )
    other = runs.fake_run(tmp_path / "b", "atari/Boxing")
    with pytest.raises(UserError, match="not of dreamer_v3 on atari/Pong"):
        verdict.judge(cell(*PONG), summaries(other))


def test_from_the_command_line(tmp_path, capsys):
    run = pong(tmp_path / "a", -3.0)
    assert cli.main(["reproduce", *PONG, "--verdict", str(run)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("inside: ")
    said = json.loads((run / "report/verdict.json").read_text())
    assert said["inside"] is True
    far = pong(tmp_path / "b", 15.0)
    assert cli.main(["reproduce", *PONG, "--verdict", str(far)]) == 1
    assert cli.main(["reproduce", *PONG, "--dry"]) == 0
    assert "--preset atari100k --seeds 4 --steps 100000" in capsys.readouterr().out
    assert cli.main(["reproduce"]) == 2
    assert "atari100k dmc_proprio" in capsys.readouterr().out
    assert cli.main(["reproduce", "dreamer_v3", "atari100k", "Pongg"]) == 2
    assert "Did you mean Pong?" in capsys.readouterr().err


def test_reproduce_runs_and_judges(tmp_path, monkeypatch, capsys):
    seen = []

    def dispatch(words):
        seen.append(words)
        pong(tmp_path / "run", -3.0)
        return 0

    original = cli.dispatch
    monkeypatch.setattr(
        cli, "dispatch", lambda w: dispatch(w) if w[0] == "train" else original(w)
    )
    words = ["reproduce", *PONG, "--out", str(tmp_path / "run")]
    assert cli.main(words) == 0
    assert seen == [[*cell(*PONG).words, "--out", str(tmp_path / "run")]]
    assert "inside: " in capsys.readouterr().out
