"""Several processes that train one run: how they find each other, agree, and write.

Every process runs the same program on its part of the mesh (`jax.distributed`). All
take the same decisions, because these follow from reports that all receive; only the
first writes into the run directory. What one process alone knows (a signal, an error)
is passed on before anyone acts on it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from wm.errors import RunError, UserError

EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""Variables for clusters that nothing is known of; they win over all others. A count
of 1 keeps a process to itself."""

PORTS = 4096
"""Coordinators listen on one of the highest ports, chosen by the number of the job."""


class Job(NamedTuple):
    """What a process knows of the processes that it works with."""

    launcher: str
    """explicit, slurm, submitit (on one machine) or tpu."""
    count: int | None
    """Processes; None where only jax can find out."""
    number: int | None
    """Of this one."""
    coordinator: str | None = None
    """`host:port` of the first; None where jax finds it by the launcher's means."""


def found(environ: Mapping[str, str] | None = None) -> Job | None:
    """What the environment says; None of a process on its own.

    Args:
      environ: default: of this process.

    Raises:
      UserError: variables that are incomplete or no numbers.
    """
    given = os.environ if environ is None else environ
    try:
        return _explicit(given) or _slurm(given) or _submitit(given) or _tpu(given)
    except ValueError as error:
        raise UserError(
            f"the variables of the launcher make no sense: {error}"
        ) from error


def begin(environ: Mapping[str, str] | None = None) -> Job | None:
    """Join the other processes, if there are any; before jax is used at all.

    Raises:
      UserError: jax was used before.
      RunError: the others do not answer.
    """
    job = found(environ)
    if job is None or job.count == 1 or jax.distributed.is_initialized():
        return job
    alone = "To train in this process alone, set JAX_NUM_PROCESSES=1"
    try:
        if job.launcher in ("slurm", "tpu"):  # which devices are its own, jax knows
            jax.distributed.initialize(job.coordinator, job.count, job.number)
        else:
            jax.distributed.initialize(
                job.coordinator,
                job.count,
                job.number,
                cluster_detection_method="deactivate",
            )
    except (RuntimeError, ValueError, OSError) as error:
        line = str(error).splitlines()[0]
        if "must be called before" in line:
            raise UserError(
                "processes can only be joined before jax is used: call "
                "wm.train.distributed.begin() first in your program"
            ) from error
        raise RunError(f"cannot join the other processes: {line}. {alone}") from error
    return job


def _explicit(given: Mapping[str, str]) -> Job | None:
    address, count, number = (given.get(name) for name in EXPLICIT)
    if count is None:
        return None
    if int(count) > 1 and (address is None or number is None):
        raise UserError(f"{EXPLICIT[1]} needs {EXPLICIT[0]} and {EXPLICIT[2]}")
    return Job("explicit", int(count), int(number or 0), address)


def _slurm(given: Mapping[str, str]) -> Job | None:
    """A task of a step: `srun` sets these. In the script of `sbatch`, which is alone
    whatever the number of tasks, there is no count of a step."""
    count = given.get("SLURM_STEP_NUM_TASKS")
    if count is None or "SLURM_JOB_ID" not in given or int(count) < 2:
        return None
    nodes = given.get("SLURM_STEP_NODELIST", "")
    if not nodes:
        raise UserError("SLURM_STEP_NODELIST is missing: start with srun")
    port = _port(int(given["SLURM_JOB_ID"]))
    number = int(given["SLURM_PROCID"])
    return Job("slurm", int(count), number, f"{first_node(nodes)}:{port}")


def _submitit(given: Mapping[str, str]) -> Job | None:
    """submitit's local launcher, which mimics a step of SLURM on one machine."""
    count = given.get("SUBMITIT_LOCAL_NTASKS")
    if count is None or int(count) < 2:
        return None
    number = int(given["SUBMITIT_LOCAL_GLOBALID"])
    # Its job numbers are ids of processes.
    port = _port(int(given["SUBMITIT_LOCAL_JOB_ID"]))
    return Job("submitit", int(count), number, f"localhost:{port}")


def _tpu(given: Mapping[str, str]) -> Job | None:
    """A host of a slice; jax asks the slice for the rest."""
    if given.get("JAX_PLATFORMS", "tpu").split(",")[0] != "tpu":
        return None
    names = given.get("TPU_PROCESS_ADDRESSES") or given.get("TPU_WORKER_HOSTNAMES")
    slices = int(given.get("MEGASCALE_NUM_SLICES") or 1)
    if names is not None:
        count = len(names.split(",")) * slices
        return Job("tpu", count, None) if count > 1 else None
    # A TPU-VM: who its neighbours are is not in variables but in its metadata.
    on_vm = "TPU_SKIP_MDS_QUERY" not in given and _has_tpu()
    return Job("tpu", None, None) if on_vm else None


def _has_tpu() -> bool:
    import importlib.util

    nodes = any(Path(x).exists() for x in ("/dev/accel0", "/dev/vfio/0"))
    return nodes and importlib.util.find_spec("libtpu") is not None


def _port(job: int) -> int:
    return 65536 - PORTS + job % PORTS


def first_node(nodes: str) -> str:
    """`node[003-010,12],gpu7` → `node003`."""
    head, bracket, tail = nodes.partition("[")
    if not bracket or "," in head:
        return nodes.split(",")[0]
    return head + tail.replace("]", ",").replace("-", ",").split(",")[0]


def chief() -> bool:
    """Whether this process writes."""
    return jax.process_index() == 0


def anywhere(flag: bool) -> bool:
    """Whether `flag` is true in any process. All must ask."""
    return bool(np.any(_everyone(flag)))


def agree(what: str, value: int) -> None:
    """Refuse to go on where processes see different things. All must ask.

    Raises:
      RunError: the values differ.
    """
    values = np.unique(_everyone(value)).tolist()
    if len(values) > 1:
        raise RunError(
            f"processes see different {what} ({', '.join(map(str, values))}): --out "
            "must be a folder that all of them share"
        )


def same(text: str) -> str:
    """The text of the first process. All must ask."""
    if jax.process_count() == 1:
        return text
    from jax.experimental import multihost_utils

    data = np.zeros(4096, np.uint8)
    data[: len(text.encode())] = np.frombuffer(text.encode(), np.uint8)
    sent = np.asarray(multihost_utils.broadcast_one_to_all(data))
    return sent[sent > 0].tobytes().decode()


def _everyone(value: Any) -> np.ndarray:
    if jax.process_count() == 1:
        return np.asarray([value])
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(value)))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """If the body fails in one process it fails in all, instead of being waited for.

    Raises:
      RunError: the body failed elsewhere.
    """
    try:
        yield
    except Exception:
        anywhere(True)
        raise
    if anywhere(False):
        raise RunError("another process of this run failed; its own output says why")


def own_folder(out: Path) -> Path:
    """Where this process keeps its rows: `out` itself for the first one, else a folder
    that goes when the process does. So all run the same code, and one run is written.
    """
    if chief():
        return out
    folder = tempfile.mkdtemp(prefix="wm-process-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / out.name


def unshared() -> dict[str, Any]:
    """Options for orbax's checkpointers that a process uses without the others."""
    import orbax.checkpoint as ocp

    if jax.process_count() == 1:
        return {}
    own = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"p{own}"
    )
    return {"multiprocessing_options": options}
