"""`wm train`: from words to an agent, an environment and a schedule, then the runner.

Settings come from the defaults, then the preset, then the command line; later wins.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from wm import cli_cache
from wm.cli_options import Option, named, numbers, options, parse, replace, show_help
from wm.errors import UserError
from wm.table import load, lookup

USAGE = """usage: wm train SYSTEM --env NAME [options]

  wm train SYSTEM --help             every option of that system
  wm train SYSTEM --env NAME --help  and those of that environment

Start the same command again to continue a run that was interrupted, or with a larger
--steps to extend one that is done. Systems:"""


@dataclasses.dataclass(frozen=True)
class Run:
    """Options of the run itself."""

    env: str
    """Environment, `source/task` (`wm list envs`)."""
    preset: str = ""
    """Published settings, joined with + (`wm list presets SYSTEM`)."""
    steps: int | None = None
    """Environment steps of the whole run; short for --train.total."""
    seeds: int = 1
    """Independent learners trained in one program."""
    seed: int = 0
    """First seed; the others count up from it."""
    out: str = ""
    """Run directory (default: runs/SYSTEM-SOURCE-TASK)."""
    seed_mode: Literal["vmap", "loop", "shard"] | None = None
    """How seeds share the machine: at once, in turn, or spread over devices
    (default: in turn on a CPU, else at once or spread)."""
    dry: bool = False
    """Say what the run would occupy, refuse what cannot fit, and train nothing."""


def run(words: list[str]) -> int:
    """Train; see `USAGE`.

    Raises:
      UserError: a wrong name, option or value.
      RunError: the run directory is foreign, damaged or cannot be written.
    """
    if not words or words[0] in ("--help", "-h"):
        from wm.cli_list import run as list_names

        print(USAGE)
        list_names(["systems"])
        return 0 if words else 2
    if words[0].startswith("--"):
        raise UserError("wm train needs a SYSTEM first (`wm list systems`)")
    from wm.agents.table import AGENTS

    system, *rest = words
    entry = lookup(AGENTS, system, "system", "wm list systems")
    wanted = _peek(rest, "env")
    if "--help" in rest or "-h" in rest:
        return _help(system, load(system, entry).Config, wanted, _peek(rest, "preset"))
    cli_cache.enable()
    from wm.train import distributed

    distributed.begin()  # before anything that an import may put on a device
    agent_class = load(system, entry)
    values = _read(system, agent_class.Config, rest, wanted)
    return _train(system, agent_class, values, ["wm", "train", *words])


def typed(words: list[str]) -> tuple[Any, Any, dict]:
    """`parts` of a command line, SYSTEM first; nothing is trained.

    Raises:
      UserError: a wrong name, option or value.
    """
    from wm.agents.table import AGENTS

    system, *rest = words
    entry = lookup(AGENTS, system, "system", "wm list systems")
    agent_class = load(system, entry)
    values = _read(system, agent_class.Config, rest, _peek(rest, "env"))
    return parts(system, agent_class, values)


def _train(system: str, agent_class: Any, values: dict, command: list[str]) -> int:
    from wm.train import distributed
    from wm.train.run import train

    agent, env, given = parts(system, agent_class, values)
    given["about"]["command"] = command
    chosen = replace(Run(env=""), _group(values, ""), "run")
    if chosen.dry:
        from wm.train.dry import occupied

        occupied(agent, env, quiet=False, **given)
        return 0
    out = chosen.out or _folder(system, chosen.env)
    path = train(agent, env, out=out, **given).path
    return _report(path) if distributed.chief() else 0


def parts(system: str, agent_class: Any, values: dict) -> tuple[Any, Any, dict]:
    """Agent, environment and the rest that `wm.train` takes, `out` aside.

    Raises:
      UserError: an impossible setting.
    """
    from wm.presets import compose
    from wm.train.sharding import Layout

    chosen = replace(Run(env=""), _group(values, ""), "run")
    _check_run(chosen)
    preset = compose(system, chosen.preset)
    config = settings(agent_class.Config, preset.agent, _group(values, "agent"))
    schedule = _schedule(preset, values, chosen)
    env_values = {**_applicable(chosen, preset), **_group(values, "env")}
    env = _environment(chosen, schedule, env_values)
    first = env[0] if isinstance(env, list) else env
    try:
        agent = agent_class(first.spec, config)
    except ValueError as error:
        raise named(error, config, "agent") from error
    about = {
        "system": system,
        "env_options": env_values,
        "preset": chosen.preset,
    }
    return (
        agent,
        env,
        {
            "schedule": schedule,
            "seeds": chosen.seeds,
            "seed": chosen.seed,
            "seed_mode": chosen.seed_mode,
            "mesh": replace(Layout(), _group(values, "mesh"), "mesh"),
            "hypers": numbers(values, "hypers", "agent"),
            "about": about,
        },
    )


def _report(path: Any) -> int:
    """Write the page; a run without one is still a run."""
    from wm.report import write

    try:
        page = write([path])
    except (ImportError, UserError) as error:
        print(f"wm: no report: {error}", file=sys.stderr)
        return 1
    print(f"report: {page}")
    return 0


def settings(config_class: type, preset: Mapping, typed: Mapping) -> Any:
    """A configuration: defaults, then a preset, then what was typed.

    Raises:
      UserError: an impossible value; the message names the option.
    """
    return replace(config_class(), {**preset, **typed}, "agent")


def _schedule(preset: Any, values: dict, chosen: Run) -> Any:
    from wm.train.schedule import Schedule

    typed = _group(values, "train")
    if chosen.steps is not None:
        if "total" in typed:
            raise UserError("--steps and --train.total mean the same; give one")
        typed["total"] = chosen.steps
    return replace(Schedule(), {**preset.schedule, **typed}, "train")


def _check_run(chosen: Run) -> None:
    if not chosen.env:
        raise UserError("wm train needs --env NAME (`wm list envs`)")
    for name, least in {"seeds": 1, "seed": 0, "steps": 1}.items():
        value = getattr(chosen, name)
        if value is not None and value < least:
            raise UserError(f"--{name} must be at least {least}, got {value}")


def _environment(chosen: Run, schedule: Any, env_values: dict) -> Any:
    """An `Env`, or a `HostEnv` (one for each of several seeds)."""
    from wm import envs
    from wm.envs.registry import is_host

    given, count = [dict(env_values)], 1
    if is_host(chosen.env):
        count = chosen.seeds
        # Row r of an environment starts with its seed + r: leave room between.
        first = env_values.get("seed", 10_000 * chosen.seed)
        given = [
            {"num_envs": schedule.envs, **env_values, "seed": first + 10_000 * i}
            for i in range(count)
        ]
    try:
        each = [envs.make(chosen.env, **values) for values in given]
    except UserError:
        raise
    except ValueError as error:
        word = str(error).split()[0]
        prefix = "--env." if f"env.{word}" in env_options(chosen.env) else ""
        raise UserError(f"{prefix}{error}") from error
    return each if count > 1 else each[0]


def _applicable(chosen: Run, preset: Any) -> dict[str, Any]:
    """The preset's environment options that this environment takes; says which not."""
    known = env_options(chosen.env)
    left_out = [name for name in preset.env if f"env.{name}" not in known]
    told = [name for name in left_out if name != "rules"]  # agents say that themselves
    if told:
        line = f"  note         {chosen.env} has no option {', '.join(told)}"
        print(f"{line}; preset {chosen.preset or 'default'} sets it", file=sys.stderr)
    return {name: v for name, v in preset.env.items() if name not in left_out}


def env_options(name: str) -> dict[str, Option]:
    """The options of an environment, typed where its factory says so.

    Raises:
      UserError: no such environment, or its extra is missing.
    """
    return {
        f"env.{parameter.name}": Option(f"env.{parameter.name}", _hint(parameter))
        for parameter in _parameters(name)
    }


def _parameters(name: str) -> list[inspect.Parameter]:
    from wm.envs.registry import is_host
    from wm.envs.table import ENVS

    entry = lookup(ENVS, name, "environment", "wm list envs")
    factory = load(name, entry)
    try:
        signature = inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation that only type checkers can resolve
        signature = inspect.signature(factory)
    found = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.name not in entry.options
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    return [*found, STACK] if is_host(name) else [*found, STACK, RULES]


STACK = inspect.Parameter(
    "stack", inspect.Parameter.KEYWORD_ONLY, default=1, annotation=int
)
RULES = inspect.Parameter(
    "rules", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool
)
"""The options that every environment has, or every one on the device; see
`registry.make`."""


def _hint(parameter: inspect.Parameter) -> Any:
    hint = parameter.annotation
    return Any if hint is parameter.empty or isinstance(hint, str) else hint


def _read(system: str, config_class: type, rest: list[str], env: str) -> dict[str, Any]:
    """All typed options, converted, by dotted name."""
    known = _known(config_class)
    if env:
        known |= env_options(env)
    command = f"wm train {system}"
    open_groups = ("hypers.",) if env else ("hypers.", "env.")
    words, values = parse(rest, known, command, open_groups)
    if words:
        before = rest[rest.index(words[0]) - 1].removeprefix("--")
        if known.get(before, Option("", None)).type is bool:
            raise UserError(f"--{before} must be true or false, got {words[0]}")
        raise UserError(f'unexpected word "{words[0]}" (`{command} --help`)')
    return values


def _known(config_class: type) -> dict[str, Option]:
    from wm.train.schedule import Schedule
    from wm.train.sharding import Layout

    return {
        **options(Run),
        **options(Layout, "mesh."),
        **options(config_class, "agent."),
        **options(Schedule, "train."),
    }


def _group(values: dict[str, Any], group: str) -> dict[str, Any]:
    """The values of one group without its prefix; of the run itself for ""."""
    if not group:
        return {name: value for name, value in values.items() if "." not in name}
    head = group + "."
    return {
        name.removeprefix(head): value
        for name, value in values.items()
        if name.startswith(head)
    }


def _peek(words: list[str], option: str) -> str:
    """The value of an option before the command line is parsed."""
    for index, word in enumerate(words):
        if word == f"--{option}" and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(f"--{option}="):
            return word.split("=", 1)[1]
    return ""


def _folder(system: str, env: str) -> str:
    return f"runs/{system}-{env.replace('/', '-')}"


def _help(system: str, config_class: type, env: str, preset_name: str) -> int:
    import tyro

    from wm.presets import compose, of
    from wm.train.schedule import Schedule
    from wm.train.sharding import Layout

    preset = compose(system, preset_name)
    fields: list[Any] = [
        ("agent", config_class, settings(config_class, preset.agent, {})),
        ("train", Schedule, replace(Schedule(), preset.schedule, "train")),
        ("mesh", Layout, Layout()),
    ]
    if env:
        group = dataclasses.make_dataclass("Environment", _help_fields(env, preset.env))
        named_env = Annotated[group, tyro.conf.arg(name="env")]
        fields.insert(1, ("environment", named_env, group()))
    defaults = {name: value for name, _, value in fields}
    cls = dataclasses.make_dataclass(
        "Train",
        [(name, hint) for name, hint, _ in fields],
        bases=(Run,),
        kw_only=True,
        frozen=True,
    )
    default = cls(env=env or tyro.MISSING, preset=preset_name, **defaults)
    about = "Defaults are those of --preset, where it is given."
    show_help(cls, default, f"wm train {system}", f"Train {system}. {about}")
    if not env:
        print("--env.OPTION: with --env NAME this help lists them.")
    print("--hypers.NAME 1e-4,3e-4: values of agent.NAME, trained as rows of one run.")
    print(f"presets of {system}, joined with + (later ones win):")
    for name, one in of(system).items():
        print(f"  {name:<12} {_values(one)}\n{'':<15}{one.source}")
    return 0


def _values(preset: Any) -> str:
    """What a preset sets, as options without dashes."""
    groups = {"agent": preset.agent, "train": preset.schedule, "env": preset.env}
    return " ".join(
        f"{group}.{name}={value}".replace(" ", "")
        for group, values in groups.items()
        for name, value in values.items()
    )


def _help_fields(env: str, preset: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Fields for the options of an environment, with the help of its docstring."""
    import docstring_parser
    import tyro

    from wm.envs.table import ENVS

    text = load(env, ENVS[env]).__doc__ or ""
    parsed = docstring_parser.parse(text)
    meaning = {one.arg_name: one.description or "" for one in parsed.params}
    meaning["rules"] = "Open them to agents that plan on them."
    meaning["stack"] = "Observations that are seen at once (Atari 4)."
    found = []
    for parameter in _parameters(env):
        help_text = tyro.conf.arg(help=meaning.get(parameter.name, ""))
        hint = Annotated[_hint(parameter), help_text]
        default = preset.get(parameter.name, parameter.default)
        if default is parameter.empty:
            default = tyro.MISSING
        found.append((parameter.name, hint, dataclasses.field(default=default)))
    return found
