"""Processes that train one run: found, joined, one checkpoint."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train.test_guard import Fails
from tests.train.test_mesh import PROGRAM
from tests.train.test_run import ENV, SCHEDULE, go
from wm.errors import UserError
from wm.train import distributed
from wm.train.distributed import Job, first_node, found
from wm.train.mishap import FOLDER
from wm.train.run import train

ROOT = Path(__file__).parents[2]
ROLLBACK = {"save_steps": 40, "nonfinite": "rollback"}
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
}
TPU = {"TPU_WORKER_HOSTNAMES": "t0,t1,t2,t3", "TPU_WORKER_ID": "2"}
LOCAL = {
    "SUBMITIT_LOCAL_NTASKS": "2",
    "SUBMITIT_LOCAL_GLOBALID": "1",
    "SUBMITIT_LOCAL_JOB_ID": "4096",
}
EXPLICIT = dict(zip(distributed.EXPLICIT, ("h:1", "2", "0"), strict=True))


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({}, None),
        (SLURM, Job("slurm", 16, 9, "gpu03:61441")),
        (LOCAL, Job("submitit", 2, 1, "localhost:61440")),
        (TPU, Job("tpu", 4, None)),
        ({**TPU, "MEGASCALE_NUM_SLICES": "2"}, Job("tpu", 8, None)),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({**TPU, "JAX_PLATFORMS": "cpu"}, None),
        (EXPLICIT, Job("explicit", 2, 0, "h:1")),
        ({**SLURM, **EXPLICIT}, Job("explicit", 2, 0, "h:1")),
        ({**SLURM, "JAX_NUM_PROCESSES": "1"}, Job("explicit", 1, 0)),
        # A task on its own, and the script of a job, which srun has not started.
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "16", "SLURM_PROCID": "0"}, None),
    ],
)
def test_launchers_are_read_from_their_variables(variables, job):
    assert found(variables) == job


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "needs JAX_COORDINATOR_ADDRESS"),
        ({"JAX_NUM_PROCESSES": "two"}, "make no sense"),
        ({**SLURM, "SLURM_STEP_NODELIST": ""}, "start with srun"),
    ],
)
def test_variables_that_make_no_sense_are_refused(variables, line):
    with pytest.raises(UserError, match=line):
        found(variables)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("node[003-010,12],gpu7", "node003"),
        ("node[7,9]", "node7"),
        ("a1,b[2-3]", "a1"),
    ],
)
def test_the_first_node_of_a_list(nodes, first):
    assert first_node(nodes) == first


def test_alone_nothing_is_asked_and_errors_pass(tmp_path):
    assert distributed.begin({}) is None
    assert distributed.chief()
    assert not distributed.anywhere(False)
    assert distributed.same("x") == "x"
    assert distributed.own_folder(tmp_path) == tmp_path
    assert distributed.unshared() == {}
    distributed.agree("steps", 3)
    with pytest.raises(KeyError), distributed.together():
        raise KeyError


def test_after_jax_was_used_processes_cannot_be_joined():
    with pytest.raises(UserError, match=r"call wm\.train\.distributed\.begin\(\)"):
        distributed.begin(EXPLICIT)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def losses(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    names = ("step", "seed", "updates", "loss/total", "episode/return")
    return np.array(
        [
            [row.get(name) or np.nan for name in names]
            for row in rows
            if "updates" in row
        ]
    )


@pytest.mark.slow
def test_two_processes_train_one_run_that_one_process_continues(tmp_path):
    out, address = tmp_path / "both", f"localhost:{free_port()}"
    program = PROGRAM.replace("many_devices", "many_processes")
    each = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(out), "240"],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                **dict(zip(distributed.EXPLICIT, (address, "2", str(n)), strict=True)),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    said = [process.communicate(timeout=300) for process in each]
    assert [process.returncode for process in each] == [0, 0], said[0][1] + said[1][1]
    first, second = said[0][0], said[1][0]
    assert "data 2 × model 1: 2 of 2 devices (cpu) in 2 processes" in first
    assert "on each device" in first
    assert "0: another process of this run failed" in first
    assert "0: processes see different numbers (0, 1)" in first
    # The other one is silent, but for the library that joins them.
    lines = [line for line in second.splitlines() if not line.startswith("[Gloo]")]
    assert lines[0] == "1: mine"

    alone = tmp_path / "alone"
    for steps in (240, 320):  # the pair has done the first part
        go(alone, schedule=dataclasses.replace(SCHEDULE, total=steps))
    go(out, schedule=dataclasses.replace(SCHEDULE, total=320))
    np.testing.assert_allclose(losses(out), losses(alone), 1e-5)
    failing = dataclasses.replace(SCHEDULE, total=160, **ROLLBACK)
    back = tmp_path / "both-back", tmp_path / "alone-back"
    train(Fails(ENV.spec, 30, 0.5), ENV, failing, out=back[1], quiet=True)
    np.testing.assert_allclose(losses(back[0]), losses(back[1]), 1e-5)
    left = [[x.name for x in (one / FOLDER).iterdir()] for one in back]
    assert left[0] == left[1] != []
    kept = sorted(x.name for x in (out / "checkpoints").iterdir())
    assert kept == sorted(x.name for x in (alone / "checkpoints").iterdir())


LINE = """train q_learning --env grid/dyna_maze --train.envs 4 --steps 200
--train.log_steps 100 --train.eval_episodes 4"""


def as_slurm(words):
    """What a task of submitit's local launcher does: a task of SLURM's `srun`."""
    import submitit

    from wm import cli

    job = submitit.JobEnvironment()
    os.environ.update(
        SLURM_JOB_ID=job.job_id,
        SLURM_STEP_NUM_TASKS=str(job.num_tasks),
        SLURM_STEP_NODELIST="localhost",
        SLURM_PROCID=str(job.global_rank),
        SLURM_LOCALID=str(job.local_rank),
    )
    assert found().launcher == "slurm"
    return cli.main(words)


@pytest.mark.slow
@pytest.mark.parametrize("variables", ["slurm", "submitit"])
def test_submitits_local_launcher_starts_a_run(tmp_path, variables):
    submitit = pytest.importorskip("submitit")
    import cloudpickle

    executor = submitit.LocalExecutor(folder=tmp_path / "jobs")
    executor.update_parameters(tasks_per_node=2, timeout_min=8)
    words = [*LINE.split(), "--out", str(tmp_path / "run")]
    # Functions go by value: the launcher's processes cannot import the tests.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    if variables == "slurm":
        job = executor.submit(as_slurm, words)
    else:
        command = [sys.executable, "-m", "wm", *words]
        job = executor.submit(submitit.helpers.CommandFunction(command))
    job.results()
    assert "2 of 2 devices (cpu) in 2 processes" in job.task(0).stdout()
    assert "in 2 processes" not in job.task(1).stdout()
    assert len(losses(tmp_path / "run")) == 2
