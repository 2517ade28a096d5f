"""The run directory: what it says of a run, and whether a run may go on in it.

`config.json` is enough to build agent and environment again: classes by name, settings
as JSON. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from wm.errors import RunError, UserError
from wm.train import recipes
from wm.train.population import Population
from wm.train.schedule import Schedule

FORMAT = 1
"""Of the directory."""

CONFIG = "config.json"
MAY_GROW = "schedule.total"
"""The one setting of what is trained that a continued run may change."""
FREE = ("keep_checkpoints", "nonfinite", "save_minutes")
"""Settings of the schedule that change nothing that is trained, as long as all of it is
finite."""


def describe(
    agent: Any,
    env: Any,
    schedule: Schedule,
    seeds: int,
    seed: int,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that config.json says, as JSON values.

    Args:
      agent: recorded by class and `config`.
      env: recorded by name, spec, and how it was built.
      schedule: resolved.
      seeds: how many.
      seed: the first.
      about: what only the caller knows: `system`, `env_options`, `preset`, `command`.
    """
    about = dict(about or {})
    population = agent if isinstance(agent, Population) else None
    agent = agent if population is None else population.base
    config = getattr(agent, "config", None)
    spec = env.spec
    described = {
        "format": FORMAT,
        "agent": {
            "name": about.get("system") or snake(type(agent).__name__),
            "target": recipes.target_of(agent),
            "config": plain(config) if dataclasses.is_dataclass(config) else {},
        },
        "env": {
            "name": spec.name,
            "options": plain(about.get("env_options", {})),
            "built": recipes.built(env),
            "spec": recipes.spec_of(spec),
        },
        "preset": about.get("preset", ""),
        "schedule": dataclasses.asdict(schedule),
        "seeds": seeds,
        "seed": seed,
        "command": list(about.get("command", ())),
    }
    if population is not None:
        described["hypers"] = population.values
    return json.loads(json.dumps(described))


def prepare(path: Path, config: dict[str, Any]) -> bool:
    """Make the directory ready for `config`; True where a run continues.

    Raises:
      UserError: it holds a run with other settings.
      RunError: it holds something else, or cannot be written.
    """
    path = Path(path)
    old = read_config(path) if (path / CONFIG).exists() else None
    # What is left of a process that was killed while it wrote its first file.
    begun = lambda: all(x.suffix == ".part" for x in path.iterdir())
    if old is None and path.exists() and (not path.is_dir() or not begun()):
        raise RunError(
            f"{path} exists and holds no run (no {CONFIG}). Choose another --out"
        )
    if old is not None:
        compare(path, old, config)
        return True
    write(path, config)
    return False


def hold(path: Path) -> contextlib.ExitStack:
    """Keep others from training this run, until what is returned is closed.

    The kernel lets go when the process ends, however it does. A file system that knows
    no locks is used without.

    Raises:
      RunError: somebody else trains it.
    """
    held, handle = contextlib.ExitStack(), os.open(path, os.O_RDONLY)
    held.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise RunError(
            f"another process trains {path}: wait until it has ended, or stop it"
        ) from None
    except OSError:
        pass
    return held


def extend(path: Path, schedule: Schedule, command: Sequence[str] = ()) -> None:
    """Let config.json say the larger budget with its command, and what may be chosen
    anew.

    Raises:
      RunError: it cannot be written.
    """
    config = read_config(path)
    old = config["schedule"]
    total = max(schedule.total, old["total"])
    new = {**old, "total": total, **{name: getattr(schedule, name) for name in FREE}}
    if new != old:
        # The command that began the run would be refused from now on.
        said = list(command) if total > old["total"] and command else config["command"]
        write(path, {**config, "schedule": new, "command": said})


def write(path: Path, config: dict[str, Any]) -> None:
    """Make the directory and write what it says of the run.

    Raises:
      RunError: it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        # First, so that a directory is never left without it.
        write_json(path / CONFIG, config)
        write_json(path / "versions.json", versions())
        (path / "report").mkdir(exist_ok=True)
        # Empty: nothing saved yet. Missing: somebody removed it.
        (path / "checkpoints").mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def read_config(path: Path) -> dict[str, Any]:
    """config.json of a run.

    Raises:
      RunError: there is none, or it cannot be read by this version.
    """
    file = Path(path) / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        form = config["format"]
    except FileNotFoundError as error:
        raise RunError(f"{path} holds no run: {CONFIG} is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise RunError(
            f"{file} cannot be read ({why}). Restore it from a copy, or take another "
            "folder"
        ) from error
    if form != FORMAT:
        raise RunError(f"{path} has format {form}, this version reads {FORMAT}")
    return config


def compare(path: Path, old: dict, new: dict) -> None:
    """Refuse to continue a run with other settings.

    Raises:
      UserError: naming the first setting that differs.
    """
    what = f"{path} holds a run of {old['agent']['name']} on {old['env']['name']}"
    if old["env"]["name"] != new["env"]["name"]:
        raise UserError(
            f"{what}; it cannot be continued with --env {new['env']['name']}. "
            "Choose another --out"
        )
    if old["agent"]["name"] != new["agent"]["name"]:
        raise UserError(
            f"{what}; it cannot be continued with {new['agent']['name']}. "
            "Choose another --out"
        )
    steps = [config["schedule"]["total"] for config in (old, new)]
    if steps[1] < steps[0]:
        raise UserError(
            f"{what} for {steps[0]:,} steps; --steps {steps[1]:,} cannot shorten it. "
            f"Give --steps {steps[0]} or more, or choose another --out"
        )
    before, after = flat(old), flat(new)
    free = {MAY_GROW, *(f"schedule.{name}" for name in FREE)}
    # How the environment was built only where nothing that was asked for differs.
    names = sorted(before.keys() | after.keys(), key=lambda x: ("env.built" in x, x))
    for name in names:
        if name.split(".")[0] in ("command", "preset") or name in free:
            continue
        if before.get(name) != after.get(name):
            raise UserError(
                f"{what} with {option(name)} {before.get(name, 'unset')}; it cannot be "
                f"continued with {after.get(name, 'unset')}. Choose another --out"
            )


def option(name: str) -> str:
    """How a setting is called on the command line."""
    group, _, rest = name.partition(".")
    if group == "agent":
        return f"--agent.{rest.removeprefix('config.')}"
    if group == "schedule":
        return f"--train.{rest}"
    if group == "env":
        return f"--env.{rest.removeprefix('options.')}"
    return f"--{name}"


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts with dotted names; lists are values."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}.{name}" if prefix else name)
    return found


def plain(value: Any) -> Any:
    """Settings as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def versions() -> dict[str, Any]:
    """Python, packages, device and cores of this process."""
    from importlib import metadata

    from wm.train.seeds import cores

    found: dict[str, Any] = {"python": platform.python_version()}
    for package in ("wm-jax", "jax", "jaxlib", "flax", "optax", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return found | {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": len(jax.devices()),
        "cores": cores(),
        "cpu": cpu_name(),
        "system": platform.platform(),
    }


def cpu_name() -> str:
    """Model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (
        line.split(":")[1].strip() for line in lines if line.startswith("model name")
    )
    return next(names, platform.processor())


def write_json(path: Path, value: Any) -> None:
    """Write atomically."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def snake(name: str) -> str:
    """`DreamerV3` → `dreamer_v3`."""
    pairs = zip(" " + name, name, strict=False)
    parts = ["_" + b if b.isupper() and a.islower() else b for a, b in pairs]
    return "".join(parts).lower()
