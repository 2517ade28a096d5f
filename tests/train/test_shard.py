"""Seeds spread over devices, in a process that has two."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from wm.errors import UserError
from wm.train import sharding

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys, types
# Some installed packages bring a package called tests along.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = ["tests"]
import jax, numpy as np
from benchmarks import collectives
from tests.train.test_loop import runner_of, run, assert_same
from wm.train import sharding
assert len(jax.devices()) == 2
shard, loop = runner_of("shard"), runner_of("loop")
a, report = run(shard, (2,))
b, _ = run(loop, (2,))
for seed in range(2):
    assert_same(shard.seeds.pick(a, seed), b[seed], 1e-5)
leaf = jax.tree.leaves(a.agent)[0]
assert len(leaf.sharding.device_set) == 2
assert shard.evaluate(a, 3).returns.shape == (2, 3)
text = shard.program("train", None, a, 2).executable.as_text()
assert "num_partitions=2" in text and not collectives.traffic(text).calls
# Rows of a seed on both: what the same count finds there.
split = runner_of("loop", seeds=1, layout=sharding.Layout(data=2))
text = split.program("train", split.stretch, split.init(), 2).executable.as_text()
assert collectives.traffic(text).calls["all-reduce"] > 0
assert collectives.partners(text) == {frozenset({0, 1})}
print("same")
"""


def test_two_devices_give_the_same_states_without_communication():
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == "same", done.stderr[-2000:]


def test_a_mesh_needs_its_devices():
    devices = len(jax.devices())
    assert sharding.mesh().shape == {"seed": 1, "data": 1, "model": 1}
    with pytest.raises(UserError, match=f"{devices} exist"):
        sharding.mesh(seed=devices + 1)
