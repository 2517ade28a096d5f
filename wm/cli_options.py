"""Command-line options from dataclasses: one line per mistake, nearest name included.

The fields of a dataclass are the options, nested dataclasses are groups, the docstring
under a field is its help. tyro converts values and draws `--help`; the errors are ours.
No command lives here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from wm.errors import UserError


class Option(typing.NamedTuple):
    """One option of a command."""

    name: str
    """Dotted, without dashes in front: `agent.horizon`."""
    type: Any
    """Type annotation; `Any` takes a Python literal or else the text itself."""


def options(cls: type, prefix: str = "") -> dict[str, Option]:
    """The options that a dataclass offers, nested dataclasses flattened."""
    hints = typing.get_type_hints(cls)
    found: dict[str, Option] = {}
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        name, hint = prefix + field.name, hints.get(field.name, Any)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found.update(options(hint, name + "."))
        else:
            found[name] = Option(name, hint)
    return found


def parse(
    tokens: Iterable[str],
    known: Mapping[str, Option],
    command: str,
    open_groups: tuple[str, ...] = (),
) -> tuple[list[str], dict[str, Any]]:
    """Split a command line into positional words and converted options.

    `--name value`, `--name=value`, and `--name` alone for a switch. Hyphens and
    underscores in names are the same.

    Args:
      tokens: everything after the command.
      known: options by name.
      command: `wm train dreamer_v3`, for messages.
      open_groups: prefixes whose names are not known here (`env.`); their values are
        read as Python literals and checked by whoever takes them.

    Returns:
      The positional words in order, and values by option name.

    Raises:
      UserError: an unknown option, a missing value or one of the wrong type.
    """
    words: list[str] = []
    values: dict[str, Any] = {}
    for typed, texts in _grouped(tokens, words):
        name = typed.replace("-", "_")
        if name not in known and not name.startswith(open_groups or ("\0",)):
            raise UserError(_unknown(typed, known, command))
        option = known.get(name, Option(name, Any))
        texts, rest = _own_texts(option, texts)
        words.extend(rest)
        values[name] = convert(option, texts)
    return words, values


def convert(option: Option, texts: list[str]) -> Any:
    """The value that the words after an option stand for.

    Raises:
      UserError: the words do not fit the type; the message names the option.
    """
    import tyro

    if option.type is Any:
        return _finite(option, _literal(" ".join(texts)))
    if not texts:
        if option.type is bool:
            return True
        raise UserError(f"--{option.name} needs {describe(option.type)}")
    words = [_normal(text, option.type) for text in texts]
    try:
        # Positional, so that a value may begin with a dash: "-0.5". Some of tyro's
        # errors are printed whatever `console_outputs` says.
        with contextlib.redirect_stderr(io.StringIO()):
            value = tyro.cli(option.type, args=["--", *words], console_outputs=False)
        return _finite(option, value)
    except SystemExit:
        pass
    got = " ".join(texts)
    raise UserError(f"--{option.name} must be {describe(option.type)}, got {got}")


def fits(hint: Any, value: Any) -> bool:
    """Whether a value given in Python is of an option's type; True where unsure."""
    kinds = {int: int, float: int | float, str: str, bool: bool}
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    hints = typing.get_args(hint) if union else (hint,)
    if any(one not in kinds and one is not type(None) for one in hints):
        return True
    if isinstance(value, bool):
        return bool in hints
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return any(
        value is None if one is type(None) else isinstance(value, kinds[one])
        for one in hints
    )


def _finite(option: Option, value: Any) -> Any:
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise UserError(f"--{option.name} must be finite, got {number}")
    return value


def describe(hint: Any) -> str:
    """What a type accepts, in words."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(str(arg) for arg in args)
    if origin in (tuple, list):
        several = "" if Ellipsis in args or origin is list else f"{len(args)} "
        return f"{several}values with spaces between, each {describe(args[0])}"
    if args and origin is not dict:
        return " or ".join(describe(arg) for arg in args)
    names = {int: "a whole number", float: "a number", str: "a text"}
    names |= {bool: "true or false", type(None): "none"}
    return names.get(hint, str(hint))


def replace(instance: Any, values: Mapping[str, Any], group: str) -> Any:
    """A copy of a (nested) dataclass with dotted `values` set.

    Raises:
      UserError: the class refuses a value; the message names the option.
    """
    direct = {name: value for name, value in values.items() if "." not in name}
    nested = {name.split(".")[0] for name in values if "." in name}
    for head in nested:
        tail = {
            name.split(".", 1)[1]: value
            for name, value in values.items()
            if name.startswith(head + ".")
        }
        direct[head] = replace(getattr(instance, head), tail, f"{group}.{head}")
    try:
        return dataclasses.replace(instance, **direct)
    except ValueError as error:
        raise named(error, instance, group) from error


def named(error: ValueError, cls: Any, group: str) -> UserError:
    """A refusal by a configuration class, with its field spelled as the option.

    Classes that are an agent's settings elsewhere (PPO's in MB-MF) say `--agent.field`.
    """
    line = str(error)
    fields = {field.name for field in dataclasses.fields(cls)}
    word = re.match(r"(?:--agent\.)?(\w+)", line)
    if word and word[1] in fields:
        line = f"--{group}.{line[word.start(1) :]}"
    return UserError(line)


def show_help(cls: Any, default: Any, command: str, description: str) -> None:
    """Print every option of a dataclass with meaning, default and source."""
    import tyro

    try:
        tyro.cli(
            cls,
            args=["--help"],
            default=default,
            prog=command,
            description=description,
            use_underscores=True,
            config=(tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands),
        )
    except SystemExit:
        return


def _grouped(tokens: Iterable[str], words: list[str]) -> list[tuple[str, list[str]]]:
    """Each option with the words up to the next one; words before the first go to
    `words`."""
    groups: list[tuple[str, list[str]]] = []
    for token in tokens:
        if token.startswith("--") and len(token) > 2:
            name, equals, text = token[2:].partition("=")
            groups.append((name, [text] if equals else []))
        elif groups:
            groups[-1][1].append(token)
        else:
            words.append(token)
    return groups


def _own_texts(option: Option, texts: list[str]) -> tuple[list[str], list[str]]:
    """The words an option takes, and those after it that are positional again."""
    if _is_sequence(option.type):
        return texts, []
    if option.type is bool and texts and texts[0].lower() not in _BOOLEANS:
        return [], texts
    return texts[:1], texts[1:]


def _is_sequence(hint: Any) -> bool:
    hints = (hint, *typing.get_args(hint))
    return any(typing.get_origin(one) in (tuple, list, dict) for one in hints)


_BOOLEANS = {"true": "True", "false": "False", "yes": "True", "no": "False"}


def _normal(text: str, hint: Any) -> str:
    """A word as tyro spells it: True, None, and 1e6 for a whole number."""
    hints = {hint, *typing.get_args(hint)}
    if bool in hints and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if type(None) in hints and text.lower() == "none":
        return "None"
    if int in hints and float not in hints and re.fullmatch(r"[\d_.]+[eE]\d+", text):
        number = float(text)
        return str(int(number)) if number == int(number) else text
    return text


def _literal(text: str) -> Any:
    import ast

    lowered = {"true": True, "false": False, "none": None}
    if text.lower() in lowered:
        return lowered[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _unknown(typed: str, known: Mapping[str, Option], command: str) -> str:
    name = typed.replace("-", "_")
    group, _, tail = name.rpartition(".")
    inside = [key for key in known if not group or key.startswith(group + ".")]
    # By their last parts: whole names of a group are alike for their group alone.
    tails = {key.rpartition(".")[2]: key for key in inside or known}
    close = [tails[x] for x in difflib.get_close_matches(tail, tails, 1, 0.7)]
    hint = f" Did you mean --{close[0]}?" if close else ""
    return f"no option --{typed}.{hint} (`{command} --help`)"


def numbers(
    values: Mapping[str, Any], group: str, settings: str
) -> dict[str, tuple[float, ...]]:
    """`--GROUP.NAME 1e-4,3e-4`: the values of every name of a group.

    Args:
      values: all typed options.
      group: whose names stand for several values each.
      settings: the group that holds the same names, for one value.

    Raises:
      UserError: a value that is no number, or a name typed in both groups.
    """
    found = {}
    for option, given in values.items():
        head, _, name = option.partition(".")
        if head != group:
            continue
        if f"{settings}.{name}" in values:
            both = f"--{option} and --{settings}.{name}"
            raise UserError(f"{both} set the same number; give one")
        listed = given if isinstance(given, list | tuple) else (given,)
        if any(isinstance(x, bool) or not isinstance(x, int | float) for x in listed):
            raise UserError(f"--{group}.{name} needs numbers, 1e-4,3e-4, got {given}")
        found[name] = tuple(listed)
    return found
