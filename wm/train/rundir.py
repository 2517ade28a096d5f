"""The run directory: what it says of a run, and whether a run may go on in it.

`config.json` is enough to build agent and environment again: classes by name, settings
as JSON. Nothing is pickled.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from wm.errors import RunError, UserError
from wm.train.schedule import Schedule

FORMAT = 1
"""Of the directory."""

EVALUATION_SEED = 1_000_003
"""Distance of the seeds of evaluation from those of training."""
EVALUATION_ENVS = 16
"""Instances of a host environment that play at once, if that many episodes are due."""

CONFIG = "config.json"
MAY_GROW = "schedule.total"
"""The one setting that a continued run may change."""


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
    config = getattr(agent, "config", None)
    spec = env.spec
    described = {
        "format": FORMAT,
        "agent": {
            "name": about.get("system") or snake(type(agent).__name__),
            "target": target_of(agent),
            "config": plain(config) if dataclasses.is_dataclass(config) else {},
        },
        "env": {
            "name": spec.name,
            "options": plain(about.get("env_options", {})),
            "built": built(env),
            "spec": spec_of(spec),
        },
        "preset": about.get("preset", ""),
        "schedule": dataclasses.asdict(schedule),
        "seeds": seeds,
        "seed": seed,
        "command": list(about.get("command", ())),
    }
    return json.loads(json.dumps(described))


def prepare(path: Path, config: dict[str, Any]) -> bool:
    """Make the directory ready for `config`; True where a run continues.

    Raises:
      UserError: it holds a run with other settings.
      RunError: it holds something else, or cannot be written.
    """
    path = Path(path)
    old = read_config(path) if (path / CONFIG).exists() else None
    if old is None and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(
            f"{path} exists and holds no run (no {CONFIG}). Choose another --out"
        )
    if old is not None:
        compare(path, old, config)
        return True
    write(path, config)
    return False


def extend(path: Path, total: int) -> None:
    """Let config.json say the larger of its budget and `total`.

    Raises:
      RunError: it cannot be written.
    """
    config = read_config(path)
    if total > config["schedule"]["total"]:
        write(path, {**config, "schedule": {**config["schedule"], "total": total}})


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
        raise RunError(f"{file} cannot be read: {error}") from error
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
    before, after = flat(old), flat(new)
    for name in sorted(before.keys() | after.keys()):
        if name.split(".")[0] in ("command", "preset") or name == MAY_GROW:
            continue
        if before.get(name) != after.get(name):
            raise UserError(
                f"{what} with {option(name)} {before.get(name)}; it cannot be "
                f"continued with {after.get(name)}. Choose another --out"
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


def rebuild_env(config: dict[str, Any]) -> Any:
    """The environment of a run.

    Raises:
      RunError: it was an object of the user's own that JSON cannot describe.
    """
    entry = config["env"]
    if entry["built"] is not None:
        env = unbuilt(entry["built"])
    else:
        from wm.envs.registry import is_host, make
        from wm.envs.table import ENVS

        if entry["name"] not in ENVS:
            raise RunError(f"{entry['name']} is no named environment: pass env=")
        options = dict(entry["options"])
        if is_host(entry["name"]):
            defaults = {"num_envs": config["schedule"]["envs"], "seed": config["seed"]}
            options = defaults | options
        env = make(entry["name"], **options)
    if json.loads(json.dumps(spec_of(env.spec))) != entry["spec"]:
        raise RunError(f"{entry['name']} is not what the run was trained on: pass env=")
    return env


def evaluation_env(config: dict[str, Any]) -> Any:
    """A second host environment of the same name, with seeds of its own.

    None where it has no name that `make` knows.
    """
    from wm.envs.registry import is_host, make
    from wm.envs.table import ENVS

    name, options = config["env"]["name"], dict(config["env"]["options"])
    if name not in ENVS or not is_host(name):
        return None
    schedule = config["schedule"]
    # One after another would take as many times as long.
    count = max(schedule["envs"], min(schedule["eval_episodes"], EVALUATION_ENVS))
    options |= {"seed": config["seed"] + EVALUATION_SEED, "num_envs": count}
    return make(name, **options)


def rebuild_agent(config: dict[str, Any], spec: Any) -> Any:
    """The agent of a run, for environments with `spec`.

    Raises:
      RunError: its class is gone, or its settings are not those of this version.
    """
    entry = config["agent"]
    try:
        cls = attribute(entry["target"])
        settings = getattr(cls, "Config", None)
        if settings is None:
            return cls(spec)
        return cls(spec, settings(**as_declared(settings(), entry["config"])))
    except (ImportError, AttributeError, TypeError) as error:
        raise RunError(f"{entry['target']} cannot be built: {error}") from error


def as_declared(default: Any, values: dict[str, Any]) -> dict[str, Any]:
    """JSON lists back to tuples, and groups to dataclasses, as the default has them."""

    def value(name, x):
        declared = getattr(default, name, None)
        if dataclasses.is_dataclass(declared):
            return type(declared)(**as_declared(declared, x))
        return _tuples(x) if isinstance(declared, tuple) else x

    return {name: value(name, x) for name, x in values.items()}


def built(env: Any) -> dict[str, Any] | None:
    """How to build an environment of dataclasses; None where JSON cannot say it."""
    kind = type(env)
    plain_types = (bool, int, float, str, type(None))
    if not dataclasses.is_dataclass(env) or "<locals>" in kind.__qualname__:
        return None
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(env):
        value = getattr(env, field.name)
        if dataclasses.is_dataclass(value):
            value = built(value)
            if value is None:
                return None
        elif not isinstance(value, plain_types):
            return None
        fields[field.name] = value
    return {"class": target_of(env), "fields": fields}


def unbuilt(entry: dict[str, Any]) -> Any:
    """The inverse of `built`."""
    value = lambda x: unbuilt(x) if isinstance(x, dict) else x
    fields = {name: value(x) for name, x in entry["fields"].items()}
    try:
        return attribute(entry["class"])(**fields)
    except (ImportError, AttributeError, TypeError) as error:
        raise RunError(f"{entry['class']} cannot be built: {error}") from error


def target_of(thing: Any) -> str:
    """`module:Class` of an object."""
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


def attribute(target: str) -> Any:
    """What `module:Class` names."""
    module, name = target.split(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def spec_of(spec: Any) -> dict[str, Any]:
    """An EnvSpec as JSON values; functions are left out."""
    array = lambda x: {**dataclasses.asdict(x), "shape": list(x.shape)}

    def observation(x):
        if isinstance(x, Mapping):
            return {name: observation(value) for name, value in x.items()}
        return array(x)

    fields = {
        field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)
    }
    fields = {
        name: x for name, x in fields.items() if not callable(x) and name != "rules"
    }
    fields["observation"] = observation(spec.observation)
    fields["action"] = array(spec.action)
    return fields


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


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
