"""Where the arrays of a run lie on a mesh, and that results are those of one device."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from tests.train.test_loop import SCHEDULE, runner_of
from wm.errors import UserError
from wm.ops.spread import spread, ways
from wm.train import introduce, memory, sharding
from wm.train.seeds import Seeds, default_mode, seed_keys
from wm.train.sharding import Layout

ROOT = Path(__file__).parents[2]

PROGRAM = """
import runpy, sys, types
# Some installed packages bring a package called tests along.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = ["tests"]
sys.argv = ["", *sys.argv[1:]]
runpy.run_module("tests.train.many_devices", run_name="__main__")
"""


def check(*names, timeout=600):
    """Run functions of many_devices.py on eight devices."""
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    wanted = [f"{name} same" for name in names]
    assert done.stdout.splitlines() == wanted, done.stderr[-3000:]


def test_a_toy_on_eight_devices_is_that_of_one_and_goes_on_with_others():
    check("toy")


@pytest.mark.slow
def test_populations_and_repeated_stretches_on_eight_devices():
    check("population", "recheck")


@pytest.mark.slow
def test_seeds_dqn_and_ppo_on_eight_devices_are_those_of_one():
    check("seeds", "dqn", "ppo", "ppo_model")


@pytest.mark.slow
def test_dreamer_on_eight_devices_is_that_of_one():
    check("dreamer", "dreamer_model")


MESH = AbstractMesh((1, 4, 2), ("seed", "data", "model"))


def test_rows_are_split_and_the_rest_is_whole():
    shapes = runner_of("loop").shapes()  # four environments
    specs = sharding.specs(shapes, MESH)
    assert specs.timestep.reward == specs.carry == P("data")
    rows = jax.tree.leaves(specs.buffer.ring.columns)
    assert set(rows) == {P("data")}
    assert specs.buffer.ring.count == specs.key == specs.step == P()
    assert set(jax.tree.leaves(specs.agent)) == {P()}
    local = sharding.local_shapes(shapes, MESH)
    assert local.timestep.reward.shape == (1,)
    ring = shapes.buffer.ring.columns
    parts = memory.size_bytes(local.buffer.ring.columns)
    assert 4 * parts == memory.size_bytes(ring)


def test_rows_that_do_not_divide_stay_whole_and_it_is_said():
    mesh = AbstractMesh((1, 3, 1), ("seed", "data", "model"))
    specs = sharding.specs(runner_of("loop").shapes(), mesh)
    assert set(jax.tree.leaves(specs)) == {P()}


@pytest.mark.parametrize(
    ("name", "shape", "spec"),
    [
        ("params/model/blocks/0/query/kernel", (8, 16), P(None, "model")),
        ("params/model/blocks/0/query/bias", (16,), P("model")),
        ("params/model/blocks/0/output/kernel", (16, 8), P("model", None)),
        ("optimizer/1/nu/model/up/kernel", (8, 32), P(None, "model")),
        ("params/model/down/kernel", (32, 8), P("model", None)),
        ("params/model/core/gates/kernel", (8, 4, 12), P("model")),
        ("params/policy/actor/layer1/kernel", (8, 8), P("model", None)),
        ("params/model/token/embedding", (512, 64), P(None, "model")),
        ("params/model/up/kernel", (8, 33), P(None, None)),
        ("params/model/norm/scale", (8,), P()),
    ],
)
def test_rules_of_the_model_axis(name, shape, spec):
    found = sharding.rule_for(f"agent/{name}", sharding.RULES)
    assert sharding.fitting(found, shape, MESH) == spec


def test_without_a_mesh_nothing_is_constrained():
    assert ways() == 1
    text = str(jax.make_jaxpr(spread)(jnp.zeros((8, 2))))
    assert "sharding_constraint" not in text


def test_a_mesh_decides_the_mode_of_the_seed_axis():
    assert default_mode(4, "gpu", Layout(seed=2)) == "shard"
    assert default_mode(4, "gpu", Layout(data=2)) == "loop"
    assert default_mode(4, "cpu", Layout()) == "loop"


@pytest.mark.parametrize(
    ("layout", "seeds", "mode", "line"),
    [
        (Layout(seed=2), 2, "vmap", "--mesh.seed 2 needs --seed_mode shard, got vmap"),
        (
            Layout(seed=2),
            3,
            None,
            "--mesh.seed 2 needs seeds .* 2 devices, got --seeds 3",
        ),
        (Layout(seed=2, data=2), 3, None, "divide by 2 groups of devices"),
        (Layout(data=999), 1, None, "a mesh of 999 devices was asked for"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(layout, seeds, mode, line):
    with pytest.raises(UserError, match=line):
        Seeds(seed_keys(0, seeds), mode, mesh=layout)


def test_batches_must_divide_and_host_environments_cannot_share():
    with pytest.raises(UserError, match=r"4 does not divide the 6 sequences"):
        sharding.check(MESH, {"replay": (6, 3)})
    with pytest.raises(UserError, match="environment and replay on the device"):
        sharding.check(None, {}, Layout(data=2), on_host=True)
    with pytest.raises(ValueError, match="data must be at least 1, got 0"):
        Layout(data=0)


def test_a_mesh_of_one_device_is_no_mesh():
    assert sharding.mesh_for(Layout(data=1), 1, "loop") is None
    mesh = sharding.mesh()
    text = introduce.mesh(mesh, SCHEDULE)
    assert text.startswith("seed 1 × data 1 × model 1: 1 of 1 device (cpu)")
