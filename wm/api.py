"""The Python entry points: environments, agents and runs by name or as own objects."""

from __future__ import annotations

from typing import Any

from wm.cli_options import replace
from wm.errors import UserError
from wm.table import load as load_entry
from wm.table import lookup


def env(name: str, /, **options: Any) -> Any:
    """The environment called `source/task`, with its options.

    Raises:
      UserError: unknown name or option, or a missing extra.
    """
    from wm.envs.registry import make

    return make(name, **options)


def agent(system: str, spec: Any, preset: str = "", **settings: Any) -> Any:
    """The system of that name for environments with `spec`.

    Args:
      system: a name of `wm list systems`.
      spec: the environment's `EnvSpec`.
      preset: published settings, joined with `+`.
      **settings: fields of its `Config`; they win over the preset.

    Returns:
      The agent. Its `schedule` holds what the preset says of a run's budget and
      cadence, which `wm.train` takes where none is given.

    Raises:
      UserError: an unknown name, preset or field, or an impossible value.
    """
    from wm.agents.table import AGENTS
    from wm.presets import compose
    from wm.types import EnvSpec

    entry = lookup(AGENTS, system, "system", "wm list systems")
    if not isinstance(spec, EnvSpec):
        raise UserError(
            f"spec must be an EnvSpec, as env.spec is one, got {type(spec).__name__}"
        )
    cls = load_entry(system, entry)
    chosen = compose(system, preset)
    config = configure(cls.Config, {**chosen.agent, **settings}, "agent")
    built = cls(spec, config)
    built.schedule = chosen.schedule
    return built


def configure(cls: Any, values: dict[str, Any], group: str) -> Any:
    """A configuration with `values` in place of its defaults.

    Raises:
      UserError: an unknown field, or a value that the class refuses.
    """
    from wm.cli_options import describe, fits, options
    from wm.table import unknown

    known = options(cls)
    for name, value in values.items():
        if name not in known:
            raise UserError(unknown(name, known, f"{group} option", "wm train --help"))
        if not fits(known[name].type, value):
            raise UserError(
                f"{group}.{name} must be {describe(known[name].type)}, got {value!r}"
            )
    return replace(cls(), values, group)


def diagnose(runs: Any, **options: Any) -> Any:
    """How good the learned models of runs are, and whether it matters to the return.

    Args:
      runs: what `wm.train` or `wm.load` returned, a run directory, or several of them.
      **options: as those of `wm diagnose`, see `wm.report.diagnose.diagnose`.

    Returns:
      What was found: `correlations`, `points` (one per checkpoint), `page`.

    Raises:
      UserError: an impossible option, or a system without a learned model.
      RunError: no run, or none with a checkpoint.
    """
    from wm.report.diagnose import diagnose as diagnose_runs

    return diagnose_runs(runs, **options)


def load(path: Any) -> Any:
    """Open the run in a directory.

    Raises:
      RunError: no run there, or none that can be read.
    """
    from wm.train.run import load as load_run

    return load_run(path)
