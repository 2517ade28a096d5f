"""Hyperparameters as a part of the state: one compiled program trains a whole sweep.

A setting that an agent only computes with (a step size, a weight of entropy, a
discount) may be an array that differs between the rows of the seed axis. `Population`
keeps such settings in its state and builds the agent anew, with traced values in its
configuration, inside every function that is compiled. Agents know nothing of it. What
decides how a program is built (a width, a horizon, a switch) cannot be swept like this;
then every value is a run of its own (`wm sweep`).
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.errors import UserError
from wm.nodes import Node
from wm.types import Key, Tree

LEARNING = ("update", "fit", "label", "reanalyse")
"""Methods that an agent may have and whose first argument is its state."""


class State(Node):
    """An agent's state with its hyperparameters."""

    hypers: dict[str, jax.Array]
    """f32 `[]` each, by dotted name."""
    agent: Tree

    @property
    def params(self) -> Tree:
        """The agent's."""
        return self.agent.params


class Population:
    """An agent whose rows differ in some settings; itself an `Agent`."""

    def __init__(
        self, agent: Any, values: Mapping[str, Sequence[float]], seeds: int = 1
    ):
        """Set up all combinations of `values`, each for `seeds` learners.

        Args:
          agent: built from `(spec, config)`, as all of ours are.
          values: settings of its config by dotted name (`actor_rate`, `model.rate`).
          seeds: learners per combination. Rows that differ in anything differ in their
            seed too: row r has the number `first + r`.

        Raises:
          UserError: no such setting, one that is no number, or a value that the
            configuration refuses.
        """
        self.base = agent
        # By name: rows must be the same whichever way round a run is continued.
        self.values = {name: tuple(map(float, values[name])) for name in sorted(values)}
        for name, each in self.values.items():
            _check(agent, name, each)
        combined = itertools.product(*self.values.values())
        self.members = [
            dict(zip(self.values, one, strict=True))
            for one in combined
            for _ in range(seeds)
        ]
        """`{name: value}` per row."""

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """The hyperparameters of all rows, f32 `[S]` each; for the seed axis."""
        columns = {name: [one[name] for one in self.members] for name in self.values}
        return {name: np.asarray(x, np.float32) for name, x in columns.items()}

    def init(self, key: Key, hypers: Mapping[str, Any] | None = None) -> State:
        """A row's state; without `hypers` that of the first."""
        given = self.members[0] if hypers is None else hypers
        hypers = {name: jnp.asarray(x, jnp.float32) for name, x in given.items()}
        return State(hypers, self._call(hypers, "init", key))

    def actor(self, state: State) -> tuple[dict, Tree]:
        """The hyperparameters, and what acting needs."""
        return state.hypers, self._call(state.hypers, "actor", state.agent)

    def start(self, actor: tuple, batch: int) -> Tree:
        """As the agent's."""
        return self._call(actor[0], "start", actor[1], batch)

    def act(self, actor: tuple, *rest: Any) -> Any:
        """As the agent's."""
        return self._call(actor[0], "act", actor[1], *rest)

    def __getattr__(self, name: str) -> Any:
        """What else the agent has; methods of learning with its hyperparameters."""
        if name == "base":  # while being copied there is none yet
            raise AttributeError(name)
        found = getattr(self.base, name)
        return getattr(self, f"_{name}") if name in LEARNING else found

    def _update(self, state: State, *rest: Any) -> Any:
        learnt, *out = self._call(state.hypers, "update", state.agent, *rest)
        return state.replace(agent=learnt), *out

    def _fit(self, state: State, *rest: Any) -> Any:
        learnt, *out = self._call(state.hypers, "fit", state.agent, *rest)
        return state.replace(agent=learnt), *out

    def _label(self, state: State, *rest: Any) -> Any:
        return self._call(state.hypers, "label", state.agent, *rest)

    def _reanalyse(self, state: State, *rest: Any) -> Any:
        return self._call(state.hypers, "reanalyse", state.agent, *rest)

    def _call(self, hypers: Mapping[str, jax.Array], method: str, *args: Any) -> Any:
        """A method of the agent that these settings make.

        Raises:
          UserError: it decides by one of them how the program is built.
        """
        config = self.base.config
        for name, value in hypers.items():
            config = _with(config, name, value)
        try:
            agent = type(self.base)(self.base.spec, config)
            return getattr(agent, method)(*args)
        except (jax.errors.ConcretizationTypeError, TypeError) as error:
            concrete = isinstance(error, jax.errors.ConcretizationTypeError)
            if not concrete and "Tracer" not in str(error):
                raise
            names = " and ".join(f"--hypers.{name}" for name in hypers)
            raise UserError(
                f"{names}: {type(self.base).__name__} builds its program by this value,"
                " so it cannot differ between rows; train each value as a run of its "
                "own (`wm sweep`)"
            ) from error


def member(agent: Any, row: int) -> dict[str, float]:
    """Columns `hypers/…` of a row; none where the agent is no population."""
    if not isinstance(agent, Population):
        return {}
    return {f"hypers/{name}": x for name, x in agent.members[row].items()}


def _with(config: Any, name: str, value: Any) -> Any:
    """A copy with one setting, unchecked: a traced value cannot be compared."""
    head, _, rest = name.partition(".")
    if rest:
        value = _with(getattr(config, head), rest, value)
    changed = copy.copy(config)
    object.__setattr__(changed, head, value)
    return changed


def _check(agent: Any, name: str, values: tuple[float, ...]) -> None:
    """Refuse what is no setting, no number, or not allowed."""
    if not values:
        raise UserError(f"--hypers.{name} needs values: 1e-4,3e-4,1e-3")
    twice = next((x for x in values if values.count(x) > 1), None)
    if twice is not None:
        advice = "for more learners of each value raise --seeds"
        raise UserError(f"--hypers.{name} has {twice:g} twice; {advice}")
    known = numbers(getattr(agent, "config", None))
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.6)
        hint = f" Did you mean {near[0]}?" if near else ""
        some = ", ".join(sorted(known)) or "none"
        raise UserError(
            f"--hypers.{name}: {type(agent).__name__} has no such number.{hint} "
            f"There are: {some}"
        )
    for value in values:
        try:
            type(agent)(agent.spec, _replaced(agent.config, name, value))
        except ValueError as error:
            raise UserError(f"--hypers.{name} {value:g}: {error}") from error


def numbers(config: Any, prefix: str = "") -> list[str]:
    """Settings that are numbers and no counts, by dotted name."""
    if not dataclasses.is_dataclass(config):
        return []
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found += numbers(value, f"{prefix}{field.name}.")
        elif isinstance(value, float):
            found.append(prefix + field.name)
    return found


def _replaced(config: Any, name: str, value: float) -> Any:
    head, _, rest = name.partition(".")
    inner = _replaced(getattr(config, head), rest, value) if rest else value
    return dataclasses.replace(config, **{head: inner})
