"""Imports point one way, and listing names imports nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from wm.agents.table import AGENTS

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "wm").rglob("*.py"))

RANK = {
    **dict.fromkeys(("types", "errors", "table", "nodes"), 0),
    "ops": 1,
    **dict.fromkeys(("nets", "data", "envs"), 2),
    "imagine": 3,
    "models": 4,
    **dict.fromkeys(("planners", "behaviors"), 5),
    "agents": 6,
    "presets": 7,
    "report": 8,
    "sweep": 9,
    "top": 10,
}
"""A room imports itself and rooms of lower rank; `train` has its own list."""

SHARED = {"types", "errors", "table", "nodes"}
"""Files of rank 0 that every room may import, one another included."""

TRAIN = {"ops", "data", "envs", "imagine"}

HEAVY = ("jax", "jaxlib", "flax", "optax", "numpy", "gymnax", "brax", "envpool", "tyro")


def room(module: str) -> str:
    """`wm.nets.conv` → nets; the command line and `wm` itself are at the top."""
    name = [*module.split("."), "__init__"][1]
    return "top" if name.startswith(("cli", "api", "__init__", "__main__")) else name


def imports(path: Path) -> list[tuple[str, int]]:
    """Every imported module, functions and type checking included, with its line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module == "wm":
                found += [(f"wm.{alias.name}", node.lineno) for alias in node.names]
            else:
                found.append((node.module, node.lineno))
        elif isinstance(node, ast.ImportFrom):
            found.append(("wm.relative", node.lineno))
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_one_way(path):
    own = room(name_of(path))
    assert own == "train" or own in RANK, f"{path} is in no known room"
    for module, line in imports(path):
        if module.split(".")[0] != "wm":
            continue
        other = room(module)
        place = f"{path.relative_to(ROOT)}:{line} imports {module}"
        if own == other or other in SHARED:
            continue
        if own == "train":
            assert other in TRAIN, place
        elif other == "train":
            assert RANK[own] >= RANK["report"], place
        else:
            assert RANK[other] < RANK[own], place


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_linen_stays_in_nets(path):
    allowed = room(name_of(path)) == "nets"
    lines = [line for module, line in imports(path) if module.startswith("flax.linen")]
    lines += [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "flax"
        if any(alias.name in ("linen", "nnx") for alias in node.names)
    ]
    assert allowed or not lines, f"{path}: flax.linen at lines {lines}"


def system(stem: str) -> str:
    """The system a file under `wm/agents` belongs to: its parts carry its name."""
    return max((name for name in AGENTS if stem.startswith(name)), key=len, default="")


def test_agents_never_import_each_other():
    for path in (ROOT / "wm" / "agents").glob("*.py"):
        for module, line in imports(path):
            if module.startswith("wm.agents."):
                same = system(module.split(".")[2]) == system(path.stem) != ""
                assert same, f"{path}:{line} imports {module}"


@pytest.mark.parametrize(
    "words", [["list"], ["list", "envs"], ["list", "presets"], ["--help"]], ids=" ".join
)
def test_listing_names_imports_nothing_heavy(words):
    program = (
        "import sys\n"
        "from wm.cli import main\n"
        f"assert main({words!r}) == 0\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        f"assert not loaded & set({HEAVY!r}), loaded & set({HEAVY!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") > 3
