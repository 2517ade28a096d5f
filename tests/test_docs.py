"""What the documentation says works: code runs, commands parse, links lead on."""

import re
import shlex
from pathlib import Path

import pytest

from wm import cli, cli_reproduce, cli_runs, cli_sweep, cli_train
from wm.agents.table import AGENTS
from wm.cli_options import options, parse
from wm.envs.table import ENVS
from wm.report import cells
from wm.sweep import plan
from wm.table import load
from wm.train.schedule import Schedule

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if page.name != "progress.md"]
name_of = lambda page: str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line number and text of every fenced block of a language."""
    found = []
    pattern = rf"^```{language}\n(.*?)^```"
    text = page.read_text()
    for match in re.finditer(pattern, text, re.DOTALL | re.MULTILINE):
        found.append((text[: match.start()].count("\n") + 1, match[1]))
    return found


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=name_of
)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "__main__"}
    for line, code in blocks(page, "python"):
        padded = "\n" * line + code  # so that a traceback shows the line of the page
        exec(compile(padded, name_of(page), "exec"), names)


COMMANDS = [
    (name_of(page), shlex.split(line, comments=True))
    for page in PAGES
    for language in ("bash", "console", "")
    for _, block in blocks(page, language)
    for line in block.splitlines()
    if line.removeprefix("$ ").startswith("wm ") and "COMMAND" not in line
]


def trained(system, words):
    """Options of `wm train`, and that the schedule takes them."""
    known = cli_train._known(load(system, AGENTS[system]).Config)
    _, values = parse(words, known, "wm train", ("env.", "hypers."))
    own = {name.partition(".")[2]: value for name, value in values.items()}
    fields = Schedule.__dataclass_fields__
    Schedule(**{k: own[k] for k in own if k in fields and f"train.{k}" in values})
    return values


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[" ".join(words) for _, words in COMMANDS]
)
def test_commands_exist_with_their_options(page, words):
    words = words[words.index("wm") + 1 :]
    if not words[0].isalpha():
        return  # an error message, not a command
    assert words[0] in cli.COMMANDS
    rest = [word for word in words[1:] if word != "--help"]
    if words[0] == "train":
        system, *rest = rest
        values = trained(system, rest)
        assert values.get("env", "pixels/catch") in ENVS
        if "preset" in values:
            from wm.presets import compose

            compose(system, values["preset"])
    elif words[0] in ("eval", "play", "report", "diagnose", "resume"):
        kind = getattr(cli_runs, words[0].replace("eval", "evaluate").title())
        parse(rest, options(kind), "wm")
    elif words[0] == "sweep":
        own, _, more = " ".join(rest).partition(" -- ")
        (file,), _ = parse(own.split(), options(cli_sweep.Sweep), "wm")
        trained(plan.experiment(ROOT / file).system, more.split())
    elif words[0] == "reproduce":
        names, _ = parse(rest, options(cli_reproduce.Reproduce), "wm")
        cells.cell(*names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", page.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
