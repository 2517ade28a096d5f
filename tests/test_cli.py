"""The command line: options, errors in one line, exit codes."""

import dataclasses
import errno
import json
import shutil
import subprocess
import sys
from typing import Any, Literal

import pytest

from tests.train.test_run import stop_after
from wm import cli, cli_train
from wm.cli_options import Option, convert, options, parse, replace
from wm.errors import RunError, UserError
from wm.presets.preset import Preset
from wm.train.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Inner:
    units: int = 8
    """Width."""


@dataclasses.dataclass(frozen=True)
class Config:
    horizon: int = 15
    """Imagination length in model steps."""
    size: Literal["1m", "12m"] = "1m"
    """Model size."""
    core: Inner = Inner()

    def __post_init__(self):
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1, got {self.horizon}")


@pytest.mark.parametrize(
    ("hint", "texts", "value"),
    [
        (int, ["3"], 3),
        (int, ["-3"], -3),
        (int, ["1e6"], 1_000_000),
        (int, ["1_000"], 1000),
        (float, ["1e-4"], 1e-4),
        (float, ["-0.5"], -0.5),
        (int | None, ["none"], None),
        (int | None, ["5"], 5),
        (bool, ["true"], True),
        (bool, [], True),
        (bool, ["false"], False),
        (Literal["a", "b"], ["a"], "a"),
        (tuple[int, ...], ["1", "2"], (1, 2)),
        (str, ["-x"], "-x"),
        (Any, ["[1, 2]"], [1, 2]),
        (Any, ["walker"], "walker"),
        (Any, ["false"], False),
    ],
)
def test_values_are_converted_by_type(hint, texts, value):
    got = convert(Option("agent.x", hint), texts)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("hint", "texts", "line"),
    [
        (int, ["abc"], "--agent.x must be a whole number, got abc"),
        (int, ["0.5"], "--agent.x must be a whole number, got 0.5"),
        (int, [], "--agent.x needs a whole number"),
        (float, ["fast"], "--agent.x must be a number, got fast"),
        (bool, ["maybe"], "--agent.x must be true or false, got maybe"),
        (Literal["a", "b"], ["c"], "--agent.x must be a or b, got c"),
        (int | None, ["x"], "--agent.x must be a whole number or none, got x"),
    ],
)
def test_wrong_values_name_option_and_type(hint, texts, line, capsys):
    with pytest.raises(UserError) as error:
        convert(Option("agent.x", hint), texts)
    assert str(error.value) == line
    assert capsys.readouterr().err == ""


def test_options_flatten_nested_dataclasses():
    known = options(Config, "agent.")
    assert list(known) == ["agent.horizon", "agent.size", "agent.core.units"]


def test_words_and_options_are_told_apart():
    known = {**options(Config, "agent."), "video": Option("video", bool)}
    line = ["runs/a", "--video", "runs/b", "--agent.core.units=3"]
    line += ["--agent.horizon", "7"]
    words, values = parse(line, known, "wm eval")
    assert words == ["runs/a", "runs/b"]
    assert values == {"video": True, "agent.core.units": 3, "agent.horizon": 7}


def test_hyphens_and_underscores_are_the_same():
    known = {"seed_mode": Option("seed_mode", str)}
    assert parse(["--seed-mode", "loop"], known, "wm")[1] == {"seed_mode": "loop"}


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("agent.horizn", "agent.horizon"),
        ("horizon", "agent.horizon"),
        ("agent.core.unit", "agent.core.units"),
    ],
)
def test_a_typo_names_the_nearest_option(typed, nearest):
    with pytest.raises(UserError, match=f"no option --{typed}.*--{nearest}"):
        parse([f"--{typed}", "3"], options(Config, "agent."), "wm train x")


def test_replace_sets_nested_fields():
    got = replace(Config(), {"horizon": 3, "core.units": 4}, "agent")
    assert got == Config(horizon=3, core=Inner(4))


def test_an_impossible_value_names_the_option():
    with pytest.raises(UserError, match=r"^--agent.horizon must be at least 1, got 0$"):
        replace(Config(), {"horizon": 0}, "agent")


def run(monkeypatch, capsys, failure) -> tuple[int, str]:
    """Exit code and standard error of a command that fails in a given way."""

    def fail(words):
        raise failure

    monkeypatch.setattr(cli, "dispatch", fail)
    code = cli.main(["train"])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (UserError("no system"), 2, "wm: no system\n"),
        (RunError("runs/a is\ndamaged"), 1, "wm: runs/a is damaged\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a"),
            1,
            "wm: runs/a: no space left on device. Choose another place with --out\n",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "runs/a"),
            1,
            "wm: runs/a: read-only file system. Choose another place with --out\n",
        ),
        (KeyboardInterrupt(), 130, "wm: interrupted\n"),
    ],
    ids=["user", "run", "full", "read-only", "interrupt"],
)
def test_failures_are_one_line(monkeypatch, capsys, failure, code, line):
    assert run(monkeypatch, capsys, failure) == (code, line)


def test_debug_adds_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("WM_DEBUG", "1")
    code, text = run(monkeypatch, capsys, UserError("no system"))
    assert code == 2
    assert "Traceback" in text
    assert text.endswith("wm: no system\n")


def test_bugs_keep_their_traceback(monkeypatch, capsys):
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, capsys, ZeroDivisionError())


CATCH = "train dreamer_v3 --env pixels/catch --out nowhere"


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("trian", 2, 'no command "trian". Did you mean train? (`wm --help`)'),
        ("list env", 2, 'no table "env". Did you mean envs? (`wm list --help`)'),
        ("list envs pixels/cach", 2, 'no environment "pixels/cach". Did you mean pixe'),
        ("eval", 2, "wm eval needs one RUN, got 0"),
        ("eval a b", 2, "wm eval needs one RUN, got 2"),
        ("eval nowhere", 1, "nowhere: no such folder"),
        ("eval . --episodes 0", 2, "--episodes must be at least 1, got 0"),
        ("eval . --episods 1", 2, "no option --episods. Did you mean --episodes?"),
        ("report", 2, "wm report needs at least one RUN"),
        ("doctor --quik", 2, "no option --quik"),
        ("train dreamr", 2, 'no system "dreamr". '),
        ("train --env pixels/catch", 2, "wm train needs a SYSTEM first"),
        ("train dreamer_v3", 2, "wm train needs --env NAME (`wm list envs`)"),
        (f"{CATCH} extra", 2, 'unexpected word "extra"'),
        (f"{CATCH} --preset dem", 2, 'no dreamer_v3 preset "dem". Did you mean demo?'),
        (
            f"{CATCH} --agent.dter 3",
            2,
            "no option --agent.dter. Did you mean --agent.d",
        ),
        (f"{CATCH} --agent.imagine_length 0", 2, "--agent.imagine_length must be at l"),
        (f"{CATCH} --agent.norm batch", 2, "--agent.norm must be rms or layer or none"),
        (f"{CATCH} --train.envs 0", 2, "--train.envs must be at least 1, got 0"),
        (f"{CATCH} --train.envs many", 2, "--train.envs must be a whole number, got m"),
        (f"{CATCH} --steps 0", 2, "--steps must be at least 1, got 0"),
        (f"{CATCH} --steps 9 --train.total 9", 2, "--steps and --train.total mean the"),
        (f"{CATCH} --seeds 0", 2, "--seeds must be at least 1, got 0"),
        (f"{CATCH} --seed_mode pmap", 2, "--seed_mode must be vmap or loop or shard"),
        (f"{CATCH} --env.sise 8", 2, "no option --env.sise. Did you mean --env.size?"),
        (f"{CATCH} --env.rows 1", 2, "--env.rows"),
        (
            f"{CATCH} --preset demo+demo",
            2,
            "--preset demo+demo names demo twice",
        ),
        (
            f"{CATCH} --preset demo --hypers.entropy 1e-3,1e-2 --agent.entropy 1e-3",
            2,
            "--hypers.entropy and --agent.entropy set the same number; give one",
        ),
        (f"{CATCH} --preset demo+", 2, "--preset demo+ has a + without a name"),
        (f"{CATCH} --agent.learning_rate inf", 2, "--agent.learning_rate must be fin"),
        (f"{CATCH} --agent.learn_model maybe", 2, "--agent.learn_model must be true"),
        (f"{CATCH} --train.prefill 9000000000", 2, "--train.prefill must be below"),
        (f"{CATCH} --agent.planning_steps 5", 2, "no option --agent.planning_steps. ("),
        (
            "train dyna_q --env grid/dyna_maze --env.scale 0",
            2,
            "--env.scale must be at",
        ),
        ("train dreamer_v3 --env pixels/cach", 2, 'no environment "pixels/cach". Did'),
    ],
)
def test_bad_command_lines(line, code, message, capsys):
    assert cli.main(line.split()) == code
    text = capsys.readouterr().err
    assert text.startswith(f"wm: {message}")
    assert text.count("\n") == 1


def test_host_environments_of_several_seeds_have_seeds_of_their_own(monkeypatch):
    made = []
    monkeypatch.setattr("wm.envs.make", lambda name, **values: made.append(values))
    schedule = Schedule(envs=4)
    for values in ({}, {"seed": 7}):
        chosen = cli_train.Run(env="atari/Pong", seed=3, seeds=2)
        cli_train._environment(chosen, schedule, values)
    assert [x["seed"] for x in made] == [30_000, 40_000, 7, 10_007]


def test_options_of_a_preset_that_an_environment_lacks_are_left_out(capsys):
    """Rules too; of those an agent that plans on them speaks itself."""
    preset = Preset(env={"rules": True, "scale": 4, "protocol": "atari"})
    for name in ("", "small"):
        chosen = cli_train.Run(env="atari/Pong", preset=name)
        assert cli_train._applicable(chosen, preset) == {"protocol": "atari"}
        note = f"atari/Pong has no option scale; preset {name or 'default'} sets it"
        assert capsys.readouterr().err.split("note")[1].strip() == note
    cli_train._applicable(chosen, Preset(env={"rules": True}))
    assert capsys.readouterr().err == ""


def test_a_folder_without_a_run_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "command", ["", "list", "train", "eval", "report", "diagnose", "doctor"]
)
def test_help_prints_and_succeeds(command, capsys):
    assert cli.main([*command.split(), "--help"]) == 0
    assert "usage: wm" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("wm ")


def test_train_help_shows_meaning_default_and_presets(capsys):
    line = "train dreamer_v3 --env pixels/catch --preset demo --help"
    assert cli.main(line.split()) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--agent.imagine_length INT" in text
    assert "--train.batch_length INT" in text
    assert "--env.rows INT" in text
    assert "Steps per sequence that enter the loss. (default: 16)" in text  # demo's
    assert "agent.deter=2048" in text
    assert "configs.yaml (size12m)" in text


TINY = (
    "train dreamer_v3 --env pixels/catch --preset demo --agent.deter 16 "
    "--agent.units 8 --agent.hidden 8 --agent.groups 2 --agent.classes 4 "
    "--agent.depth 4 --agent.imagine_length 2 --agent.blocks 2 --train.batch_size 2 "
    "--train.batch_length 4 --train.envs 2 --train.train_ratio 1 --train.prefill 24 "
    "--train.replay 64 --train.log_steps 8 --train.eval_episodes 3 --steps 40"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert cli.main([*TINY.split(), "--out", str(out)]) == 0
    return out


def test_a_stopped_run_exits_with_75_and_is_proved_to_resume(
    tmp_path, monkeypatch, capsys
):
    out = str(tmp_path / "run")
    line = "train q_learning --env grid/dyna_maze --steps 400 --train.log_steps 50"
    words = [*line.split(), "--train.eval_episodes", "2", "--out", out]
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert cli.main(words) == 75
    said = capsys.readouterr().out
    assert "saved. The same command continues" in said
    heads = ("environment", "agent", "schedule", "memory", "compile", "estimate")
    for head in heads:
        assert f"\n  {head:<12} " in f"\n{said}", said
    assert cli.main(words) == 0
    assert cli.main(["resume", "--check", out]) == 0
    assert "all equal, bit for bit" in capsys.readouterr().out
    assert cli.main(["resume", out]) == 2
    assert "start again: wm train q_learning" in capsys.readouterr().err


def test_train_writes_run_and_report(trained):
    names = {path.name for path in trained.iterdir()}
    wanted = {"config.json", "versions.json", "metrics.jsonl", "scores.jsonl"}
    assert names >= wanted | {"checkpoints", "report"}
    assert (trained / "report" / "index.html").stat().st_size > 1000
    config = json.loads((trained / "config.json").read_text())
    assert config["command"][:3] == ["wm", "train", "dreamer_v3"]
    assert config["preset"] == "demo"
    assert config["schedule"]["total"] == 40


def test_another_setting_is_refused_and_the_run_unharmed(trained, capsys):
    before = {path: path.read_bytes() for path in trained.glob("*.json*")}
    line = [*TINY.split(), "--out", str(trained), "--agent.free", "2"]
    assert cli.main(line) == 2
    text = capsys.readouterr().err
    assert "--agent.free" in text
    assert text.count("\n") == 1
    assert before == {path: path.read_bytes() for path in trained.glob("*.json*")}


def test_eval_adds_scores(trained, capsys):
    before = (trained / "scores.jsonl").read_text().count("\n")
    assert cli.main(["eval", str(trained), "--episodes", "4"]) == 0
    assert (trained / "scores.jsonl").read_text().count("\n") == before + 4
    assert "4 episodes" in capsys.readouterr().out


def test_report_of_an_unknown_method_names_the_nearest(trained, capsys):
    assert cli.main(["report", str(trained), "--against", "dreamer_v33"]) == 2
    assert "dreamer" in capsys.readouterr().err.lower()


@pytest.mark.parametrize("command", ["report", "diagnose"])
def test_a_run_named_twice_is_not_counted_twice(command, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert cli.main([command, str(tmp_path), f"{tmp_path}/."]) == 2
    assert "is named twice; leave one out" in capsys.readouterr().err


def test_report_prints_where_the_page_is(trained, capsys):
    assert cli.main(["report", str(trained)]) == 0
    assert "index.html" in capsys.readouterr().out


def test_a_folder_with_other_things_is_not_trained_in(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main([*TINY.split(), "--out", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unwritable_place_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main([*TINY.split(), "--out", str(tmp_path / "file" / "run")]) == 1
    text = capsys.readouterr().err
    assert text.startswith("wm: ")
    assert text.count("\n") == 1


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_without_a_whole_checkpoint_is_refused_and_unharmed(
    trained, tmp_path, capsys
):
    run = shutil.copytree(trained, tmp_path / "run")
    for manifest in run.glob("checkpoints/*/manifest.json"):
        manifest.write_text("{")
    before = contents(run)
    longer = TINY.replace("--steps 40", "--steps 60").split()
    for command in (["eval", str(run)], [*longer, "--out", str(run)]):
        assert cli.main(command) == 1
        line = capsys.readouterr().err
        assert line.startswith("wm: checkpoint")
        assert "no other is left" in line
        assert line.count("\n") == 1
    assert contents(run) == before


def test_a_full_disk_before_the_first_save_is_one_line(tmp_path, monkeypatch, capsys):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wm.train.checkpoint.write_item", full)
    assert cli.main([*TINY.split(), "--out", str(tmp_path / "run")]) == 1
    line = capsys.readouterr().err
    assert line.startswith("wm: cannot save to")
    assert "no space left" in line
    assert line.count("\n") == 1
    assert not any((tmp_path / "run" / "checkpoints").iterdir())
    assert (tmp_path / "run" / "metrics.jsonl").stat().st_size > 0


def test_a_full_disk_at_the_start_is_one_line(tmp_path, monkeypatch, capsys):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wm.train.rundir.write_json", full)
    assert cli.main([*TINY.split(), "--out", str(tmp_path / "run")]) == 1
    line = capsys.readouterr().err
    assert "No space left" in line
    assert line.count("\n") == 1


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "wm", "list"], capture_output=True, text=True, check=True
    )
    assert "dreamer_v3" in done.stdout
