"""Where programs run: processes here, a Ray cluster, or SLURM through submitit.

A backend starts programs and says how they ended; it knows nothing of runs. Every
program writes its terminal output into a log file on a shared disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from wm.errors import UserError

LOST = -1
"""Exit code of a program whose machine went away."""


class Job(NamedTuple):
    """One program."""

    words: tuple[str, ...]
    """After `wm`."""
    log: Path
    """Its terminal output, appended."""


class Backend(Protocol):
    """What the pool needs."""

    def start(self, jobs: Sequence[Job]) -> list[Any]:
        """Begin programs; a handle for each."""
        ...

    def poll(self, handle: Any) -> int | None:
        """The exit code, or None while it waits or runs."""
        ...

    def stop(self, handle: Any) -> None:
        """Ask it to save and end."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Resources(NamedTuple):
    """What one program gets from a cluster."""

    cpus: int = 1
    gpus: int = 0
    hours: float = 24.0
    """SLURM: its time limit."""
    partition: str = ""
    """SLURM: where; empty is the default one."""
    memory: float | None = None
    """GB; None leaves it to the cluster."""


class Local:
    """Processes of this machine, in sessions of their own: Ctrl-C reaches only us."""

    def __init__(self):
        """Find the devices to share out; programs beyond their number double up."""
        self.devices, self.busy = devices(), {}

    def start(self, jobs: Sequence[Job]) -> list[subprocess.Popen]:
        """A process each; with several GPUs the one that has least to do."""
        return [self._start(job) for job in jobs]

    def poll(self, handle: subprocess.Popen) -> int | None:
        """Its exit code; one killed by a signal has the shell's, 128 + signal."""
        code = handle.poll()
        if code is None:
            return None
        self.busy.pop(handle, None)
        return code if code >= 0 else 128 - code

    def stop(self, handle: subprocess.Popen) -> None:
        """SIGTERM: save and end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(handle.pid, signal.SIGTERM)

    def close(self) -> None:
        """Nothing is left open."""

    def _start(self, job: Job) -> subprocess.Popen:
        extra = {}
        if len(self.devices) > 1:
            load = list(self.busy.values())
            device = min(self.devices, key=load.count)
            extra = {"CUDA_VISIBLE_DEVICES": device}
        process = launch(job, extra)
        if extra:
            self.busy[process] = extra["CUDA_VISIBLE_DEVICES"]
        return process


class Ray:
    """A Ray cluster: the one at RAY_ADDRESS, else one of this machine."""

    def __init__(self, resources: Resources | None = None):
        """Connect, or start one.

        Raises:
          UserError: the extra `sweep` is missing.
        """
        try:
            import ray
        except ImportError as error:
            raise UserError(MISSING.format("ray")) from error
        given = resources or Resources()
        self.ray, self.refs = ray, {}
        if not ray.is_initialized():
            ray.init(
                address=os.environ.get("RAY_ADDRESS"),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
            )
        options: dict[str, Any] = {"num_cpus": given.cpus, "num_gpus": given.gpus}
        if given.memory:
            options["memory"] = int(given.memory * 1e9)
        # The pool retries; Ray would begin a lost program again unseen.
        self.task = ray.remote(**options, max_retries=0)(execute)

    def start(self, jobs: Sequence[Job]) -> list[Any]:
        """A task each; Ray holds back what its resources do not allow yet."""
        where = Path.cwd()
        return [self.task.remote(job, str(where), passed_on()) for job in jobs]

    def poll(self, handle: Any) -> int | None:
        """Its exit code; `LOST` where its node or worker died."""
        done, _ = self.ray.wait([handle], timeout=0)
        if not done:
            return None
        try:
            return self.ray.get(handle)
        except self.ray.exceptions.RayError:
            return LOST

    def stop(self, handle: Any) -> None:
        """Interrupt the task, which passes SIGTERM on."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.cancel(handle, force=False)

    def close(self) -> None:
        """Leave the cluster; one of our own ends."""
        self.ray.shutdown()


class Slurm:
    """SLURM job arrays through submitit."""

    def __init__(
        self,
        folder: Path,
        resources: Resources | None = None,
        at_once: int = 256,
        cluster: str = "slurm",
    ):
        """Prepare to submit.

        Args:
          folder: for submitit's scripts and pickles; on a disk that all nodes see.
          resources: per program.
          at_once: elements of an array that may run at a time.
          cluster: `slurm`, or submitit's `local`, which runs processes here (tests).

        Raises:
          UserError: the extra `sweep`, or SLURM, is missing.
        """
        submitit = _submitit()
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError("--backend slurm: there is no sbatch; use a login node")
        given = resources or Resources()
        self.failed = submitit.core.utils.UncompletedJobError
        self.executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        settings: dict[str, Any] = {"timeout_min": max(int(60 * given.hours), 1)}
        if given.memory:
            settings["mem_gb"] = given.memory
        if cluster == "slurm":
            settings |= {"cpus_per_task": given.cpus, "gpus_per_node": given.gpus}
            settings |= {"slurm_array_parallelism": at_once, "name": "wm"}
            if given.partition:
                settings["slurm_partition"] = given.partition
        self.executor.update_parameters(**settings)

    def start(self, jobs: Sequence[Job]) -> list[Any]:
        """One array of all of them."""
        where, env = str(Path.cwd()), passed_on()
        with self.executor.batch():
            return [self.executor.submit(execute, job, where, env) for job in jobs]

    def poll(self, handle: Any) -> int | None:
        """Its exit code; `LOST` where the job was cancelled or ran out of time."""
        if not handle.done():
            return None
        try:
            return handle.result()
        except Exception:  # whatever submitit makes of a job that did not return
            return LOST

    def stop(self, handle: Any) -> None:
        """scancel, which sends SIGTERM."""
        handle.cancel(check=False)

    def close(self) -> None:
        """Nothing is left open."""


def _submitit() -> Any:
    """The package, kept from setting up logging: that would close the handlers of
    others here, with the streams they write to.

    Raises:
      UserError: it is missing.
    """
    name = "SUBMITIT_LOG_LEVEL"
    chosen = os.environ.get(name)
    os.environ.setdefault(name, "NOCONFIG")
    try:
        import submitit
    except ImportError as error:
        raise UserError(MISSING.format("submitit")) from error
    finally:
        if chosen is None:
            del os.environ[name]
    return submitit


MISSING = "--backend needs {}: pip install 'wm-jax[sweep]'"


def execute(job: Job, where: str, env: Mapping[str, str]) -> int:
    """Run a program to its end on whatever machine this is; its exit code.

    What ends this function early (a time limit, a cancelled task) ends the program
    too, with the chance to save: its code is then 75 as after any interruption.
    """
    with deaf(signal.SIGUSR2):
        process = launch(job, env, where)
    try:
        code = process.wait()
    except Exception:  # a time limit, as submitit says it from inside its handler
        process.terminate()
        code = process.wait()
    except BaseException:  # preempted and queued again, or interrupted
        process.terminate()
        process.wait()
        raise
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def deaf(number: int) -> Iterator[None]:
    """Programs started meanwhile ignore a signal.

    SLURM sends SIGUSR2 before a time limit to every process of a job; submitit handles
    it in ours, and a program that does not know it would die of it unsaved.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def launch(
    job: Job, env: Mapping[str, str], where: str | None = None
) -> subprocess.Popen:
    """Start `wm …` with its output in the log."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "wm", *job.words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=where,
            env={**os.environ, **env},
            start_new_session=True,
        )


def passed_on() -> dict[str, str]:
    """Variables of ours that a program elsewhere needs."""
    names = ("PYTHONPATH", "XLA_FLAGS", "JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR")
    return {name: os.environ[name] for name in names if name in os.environ}


def devices() -> list[str]:
    """GPUs that programs can be spread over; empty where there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [one for one in visible.split(",") if one]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(lines))]
