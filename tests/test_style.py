"""Sizes and docstrings: the part of the style that a program can check."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = {path: path.read_text() for path in sorted((ROOT / "wm").rglob("*.py"))}
TREES = {path: ast.parse(text) for path, text in SOURCES.items()}
FUNCTIONS = [
    (path, node)
    for path, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef)
]


def place(path, node) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_files_are_at_most_400_lines():
    long = [str(path) for path, text in SOURCES.items() if text.count("\n") > 400]
    assert not long


def test_functions_are_at_most_50_lines():
    assert not [place(*pair) for pair in FUNCTIONS if body_lines(pair[1]) > 50]


def body_lines(function) -> int:
    """Lines of a function, its docstring aside."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        first = function.body[0]
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_public_names_have_docstrings():
    missing = [
        str(path.relative_to(ROOT))
        for path, tree in TREES.items()
        if tree.body and not ast.get_docstring(tree)
    ]
    for path, tree in TREES.items():
        missing += [
            place(path, node)
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            if not node.name.startswith("_") and not ast.get_docstring(node)
        ]
    assert not missing


def test_nothing_is_left_unimplemented():
    assert not [path for path, text in SOURCES.items() if "NotImplemented" in text]
