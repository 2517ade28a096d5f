"""Agents and environments as JSON values, and back: classes by name and settings."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from collections.abc import Mapping
from typing import Any

from wm.errors import RunError
from wm.train.population import Population

EVALUATION_SEED = 1_000_003
"""Distance of the seeds of evaluation from those of training."""
EVALUATION_ENVS = 16
"""Instances of a host environment that play at once, if that many episodes are due."""


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
    agent, hypers = _rebuilt(config, spec), config.get("hypers")
    if not hypers:
        return agent
    combinations = math.prod(map(len, hypers.values()))
    return Population(agent, hypers, config["seeds"] // combinations)


def _rebuilt(config: dict[str, Any], spec: Any) -> Any:
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


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
