"""The table of environments: strings only, see `wm.table`."""

from __future__ import annotations

from wm.envs import names
from wm.table import Entry

ENVS: dict[str, Entry] = {}
"""`source/task` → where it is made, one line about it, the extra it needs."""


def _own(name: str, target: str, description: str, **options: object) -> None:
    ENVS[name] = Entry(target, description, options=options)


def _family(source, tasks, target, description, extra=None) -> None:
    for task in tasks:
        line = f"{task}: {description}"
        ENVS[f"{source}/{task}"] = Entry(target, line, extra, {"name": task})


for _task, _line in {
    "dyna_maze": "maze of Sutton & Barto's Figure 8.2",
    "blocking": "its way to the goal closes, a longer one opens (Figure 8.4)",
    "shortcut": "a shorter way opens (Figure 8.5)",
}.items():
    ENVS[f"grid/{_task}"] = Entry("wm.envs.grid:make", _line, options={"name": _task})

for _task, _line in {
    "pendulum": "swing up and hold a pendulum, gym's constants",
    "cartpole": "balance a pole on a cart, gym's constants",
    "cartpole_swingup": "swing a pole up with a cart, PILCO's constants",
    "pendulum_swingup": "swing up a pendulum, PILCO's constants",
}.items():
    ENVS[f"classic/{_task}"] = Entry(
        "wm.envs.classic:make", _line, options={"name": _task}
    )

_own(
    "classic/pendulum_masses",
    "wm.envs.pendulum_masses:make",
    "swing up a pendulum whose hidden mass keeps changing",
)
_own("pixels/catch", "wm.envs.pixels:make_catch", "catch a falling ball, from pixels")

_own(
    "probe/catch",
    "wm.envs.pixels:make_vector_catch",
    "catch a falling ball, as a vector",
)
_own(
    "probe/hidden_point",
    "wm.envs.probe:make_hidden_point",
    "hold a point whose velocity is hidden",
)
_own("probe/sparse_point", "wm.envs.probe:SparsePoint", "reach and hold, sparse reward")
_own("probe/recall", "wm.envs.probe:Recall", "remember a cue for two steps")
_own("probe/chain20", "wm.envs.probe:Chain20", "explore 20 cells without a reward")
_own(
    "probe/double_integrator",
    "wm.envs.probe_control:make_double_integrator",
    "bring points to rest, best return known",
)
_own("probe/lqr", "wm.envs.probe_control:LQR", "linear and quadratic, closed form")
for _task, _line in {
    "constant": "learn a constant value",
    "observed": "learn a value that depends on the observation",
    "delayed": "learn a value that reaches back in time",
    "choice": "learn to choose",
    "matched": "learn to choose by what is seen",
}.items():
    _own(f"probe/{_task}", "wm.envs.probe_bandits:Bandit", _line, task=_task)
_own(
    "probe/trace_counter",
    "wm.envs.probe_bandits:make_trace_counter",
    "counts how often step is traced",
)
_own(
    "probe/step_counter",
    "wm.envs.probe_bandits:make_step_counter",
    "every record says where it comes from",
)

_family(
    "gymnax",
    [task for task in names.GYMNAX if task.endswith(("-v0", "-v1"))],
    "wm.envs.gymnax:make",
    "classic control",
)
_family(
    "gymnax",
    [task for task in names.GYMNAX if task.endswith("-MinAtar")],
    "wm.envs.gymnax:make",
    "small Atari, 10×10 cells",
)
_family(
    "gymnax",
    [task for task in names.GYMNAX if task.endswith("-bsuite")],
    "wm.envs.gymnax:make",
    "behaviour suite",
)
_family(
    "gymnax",
    [task for task in names.GYMNAX if task.endswith("-misc")],
    "wm.envs.gymnax:make",
    "small task",
)
_family(
    "brax",
    names.BRAX,
    "wm.envs.brax:make",
    "rigid bodies, 1000 steps",
    extra="brax",
)
for _task, _line in {
    "symbolic": "Craftax, symbols",
    "pixels": "Craftax, image",
    "classic-symbolic": "Crafter's game in JAX, symbols",
    "classic-pixels": "Crafter's game in JAX, image",
}.items():
    ENVS[f"craftax/{_task}"] = Entry(
        "wm.envs.craftax:make", _line, "craftax", {"name": _task}
    )
_family(
    "playground",
    names.PLAYGROUND,
    "wm.envs.playground:make",
    "control suite in MJX",
    extra="playground",
)
for _task, _line in {
    "tic_tac_toe": "tic-tac-toe",
    "connect_four": "connect four, 6×7",
    "othello": "Othello, 8×8",
    "gardner_chess": "chess on 5×5",
    "go_9x9": "Go on 9×9, komi 7.5",
    "2048": "2048, one player",
}.items():
    ENVS[f"pgx/{_task}"] = Entry("wm.envs.pgx:make", _line, "boards", {"name": _task})
_family(
    "atari",
    names.ATARI_GAMES,
    "wm.envs.atari:make",
    "Atari 2600, on the host",
    extra="host",
)
_family(
    "dmc",
    names.DMC_TASKS,
    "wm.envs.dmc:make",
    "control suite, on the host",
    extra="host",
)
for _task, _body in names.MUJOCO.items():
    _line = f"{_task}: gym's MuJoCo benchmark, on the host"
    _values = {"name": _task, "body": _body}
    ENVS[f"mujoco/{_task}"] = Entry("wm.envs.mujoco:make", _line, "host", _values)
ENVS["crafter/reward"] = Entry(
    "wm.envs.crafter:make",
    "Crafter with rewards, on the host",
    "crafter",
    {"name": "reward"},
)
