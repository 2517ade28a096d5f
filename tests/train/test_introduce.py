"""The opening lines of a run."""

import jax
import jax.numpy as jnp
import pytest

from wm.nodes import Node
from wm.train import introduce, memory
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys
from wm.types import ArraySpec, EnvSpec

DISCRETE, VECTOR = ArraySpec((), "int32", 3), ArraySpec((6,))
IMAGE = ArraySpec((16, 16, 1), "uint8")
BOTH = {"eye": IMAGE, "joints": ArraySpec((4,)), "speed": ArraySpec(())}


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            EnvSpec(IMAGE, DISCRETE, "a/b", 1, 7, random_return=-0.6, optimal_return=1),
            "a/b: image 16×16×1, 3 actions, episodes of up to 7 steps; "
            "random -0.6, optimal 1",
        ),
        (
            EnvSpec(BOTH, VECTOR, "c/d", optimal_return=0.0),
            "c/d: image 16×16×1 and 5 numbers in 2 arrays, 6 continuous actions; "
            "optimal 0",
        ),
        (EnvSpec(ArraySpec((1,)), DISCRETE, "e"), "e: 1 number, 3 actions"),
    ],
)
def test_an_environment_in_a_line(spec, line):
    assert introduce.environment(spec) == line


class State(Node):
    params: dict


class Shapes(Node):
    agent: State


def test_an_agent_in_a_line():
    shapes = jax.eval_shape(lambda: Shapes(State({"w": jnp.zeros((1000, 204))})))
    one = introduce.agent("dyna", "", shapes, Seeds(seed_keys(0, 1)))
    assert one == "dyna: 0.20 M parameters"
    four = introduce.agent("dyna", "demo", shapes, Seeds(seed_keys(0, 4), "vmap"))
    assert four == "dyna (demo): 0.20 M parameters × 4 seeds, at once"


def test_budget_and_memory_in_a_line():
    plan = Schedule(total=14_000, envs=16, replay=4_000)
    line = introduce.schedule(plan, 1, 1)
    assert line == "14,000 steps; 1 update after every 1 × 16 steps"
    longer = introduce.schedule(Schedule(total=3_000, envs=16), 2, 1)
    assert longer.startswith("3,000 steps (up to 31 more: chunks are whole); 1 update")
    line = introduce.occupied(memory.Need(41_000_000, 14_000_000, None), plan)
    assert line == "replay 41 MB (the newest 4,000 of 14,000 steps), learner 14 MB"
    share = introduce.occupied(memory.Need(41_000_000, 14_000_000, None), plan, True)
    assert share.endswith("learner 14 MB on each device")
    parts = memory.Need(5_000, 14_000_000, 10**9, None, 4_000_000, 8_000_000, 2_000_000)
    assert introduce.occupied(parts, Schedule(total=9)) == (
        "replay 5 kB, learner 14 MB (params 4 MB, optimizer 8 MB), search tree 2 MB, "
        "of 1.0 GB free"
    )


def test_a_rough_estimate_in_a_line():
    # 8 of 64,000 steps take 1 ms.
    line = introduce.rough(2.5e6, 1e-3, 64_000, 8)
    assert line == (
        "roughly 0:08, counted from the program (2.5 MFLOP per 8 steps) and not "
        "measured yet"
    )
    table = introduce.rough(0.0, 1e-3, 64_000, 1)
    assert table == "roughly 1:04, counted from the program and not measured yet"


def test_an_estimate_in_a_line():
    line = introduce.estimate(steps=500, seconds=2.0, left=50_000)
    assert line == "about 3:20 left, as measured over 500 steps"
