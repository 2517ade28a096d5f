"""The command line: options, errors in one line, exit codes."""

import dataclasses
import errno
from typing import Any, Literal

import pytest

from wm import cli
from wm.cli_options import Option, convert, options, parse, replace
from wm.errors import RunError, UserError


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


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("trian", 2, 'no command "trian". Did you mean train? (`wm --help`)'),
        ("list env", 2, 'no table "env". Did you mean envs? (`wm list --help`)'),
        ("list envs pixels/cach", 2, 'no environment "pixels/cach". Did you mean pixe'),
        ("eval", 2, "wm eval needs one RUN, got 0"),
        ("eval a b", 2, "wm eval needs one RUN, got 2"),
        ("eval nowhere", 1, "nowhere: no such run directory"),
        ("eval . --episodes 0", 2, "--episodes must be at least 1, got 0"),
        ("eval . --episods 1", 2, "no option --episods. Did you mean --episodes?"),
        ("report", 2, "wm report needs at least one RUN"),
        ("doctor --quik", 2, "no option --quik"),
    ],
)
def test_bad_command_lines(line, code, message, capsys):
    assert cli.main(line.split()) == code
    text = capsys.readouterr().err
    assert text.startswith(f"wm: {message}")
    assert text.count("\n") == 1


def test_a_folder_without_a_run_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("command", ["", "list", "eval", "report", "doctor"])
def test_help_prints_and_succeeds(command, capsys):
    assert cli.main([*command.split(), "--help"]) == 0
    assert "usage: wm" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("wm ")
