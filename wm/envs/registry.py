"""`make(name, …)`: an environment from the table, with its options checked."""

from __future__ import annotations

import inspect
from typing import Any

from wm.envs.table import ENVS
from wm.errors import UserError
from wm.table import Entry, load, lookup, missing_extra, unknown


def make(name: str, /, rules: bool = False, stack: int = 1, **options: Any) -> Any:
    """The environment called `source/task`.

    Args:
      name: a name of `wm list envs`.
      rules: open them, for agents that plan on them; not for host environments.
      stack: observations that are seen at once, joined along their last axis.
      **options: of that environment (`size=64`); host environments take `num_envs`
        and `seed`.

    Returns:
      An `Env`, or a `HostEnv` where `is_host(name)`.

    Raises:
      UserError: unknown name or option, missing extra, impossible value.
    """
    entry = lookup(ENVS, name, "environment", "wm list envs")
    factory = load(name, entry)
    check_options(name, factory, entry, options)
    if rules and is_host(name):
        raise UserError(f"rules must be false, got true: {name} runs on the host")
    try:
        env = factory(**entry.options, **options)
    except ImportError as error:
        raise missing_extra(name, entry.extra, error) from error
    if stack != 1:
        from wm.envs.stacking import stacked

        env = stacked(env, stack)
    if not rules:
        return env
    from wm.envs.wrappers import with_rules

    return with_rules(env)


def is_host(name: str) -> bool:
    """Whether this environment runs outside the device.

    Raises:
      UserError: unknown name.
    """
    entry = lookup(ENVS, name, "environment", "wm list envs")
    return entry.target.split(":")[0] in HOST_MODULES


HOST_MODULES = tuple(
    f"wm.envs.{source}" for source in ("atari", "dmc", "mujoco", "crafter")
)


def check_options(name: str, factory: Any, entry: Entry, options: dict) -> None:
    """Complain about the first option that `factory` does not take.

    Raises:
      UserError: naming the nearest option and the command that lists them.
    """
    parameters = inspect.signature(factory).parameters
    if any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [option for option in parameters if option not in entry.options]
    for option in options:
        if option not in known:
            allowed = ", ".join(known) or "none"
            listing = f"options of {name}: {allowed}"
            raise UserError(unknown(option, known, "option", listing))
