"""What is started, skipped, retried, continued and named at the end."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from importlib import util
from pathlib import Path

import pytest

from tests.sweep.test_plan import SOURCE, run_of
from wm import cli, cli_sweep
from wm.sweep import backends
from wm.sweep.backends import Job, Local, Resources, Slurm
from wm.sweep.display import Display, row, summary
from wm.sweep.plan import Unit
from wm.sweep.pool import Entry, Pool

# Found, not imported: importing it bare sets up logging, which closes pytest's stderr.
needs_submitit = pytest.mark.skipif(
    util.find_spec("submitit") is None, reason="needs the extra sweep"
)


class Codes:
    """Programs that end with given codes, after one look at them."""

    def __init__(self, **codes):
        self.codes = {name: list(found) for name, found in codes.items()}
        self.started, self.most, self.running = [], 0, 0

    def start(self, jobs):
        names = [job.log.stem for job in jobs]
        self.started += names
        self.running += len(jobs)
        self.most = max(self.most, self.running)
        return [[name, 1] for name in names]

    def poll(self, handle):
        if handle[1]:
            handle[1] -= 1
            return None
        self.running -= 1
        return self.codes[handle[0]].pop(0)

    def stop(self, handle):
        handle[1] = 0

    def close(self):
        pass


def entries(tmp_path, *names):
    return [
        Entry(Unit(n, "", 0, 1, tmp_path / n, ("train",)), tmp_path / f"{n}.log")
        for n in names
    ]


def test_failures_are_retried_and_then_named(tmp_path):
    made = entries(tmp_path, "fine", "flaky", "broken", "wrong")
    made[2].log.write_text("wm: no memory\n")
    backend = Codes(fine=[0], flaky=[1, 0], broken=[1, 137, 137], wrong=[2])
    pool = Pool(made, backend, jobs=2, retries=2)
    pool.run(pause=0)
    assert [entry.state for entry in made] == ["done", "done", "failed", "failed"]
    assert [entry.tries for entry in made] == [1, 2, 3, 1]
    assert backend.most == 2
    broken, wrong = pool.failed()
    assert broken.reason == (
        "exit code 137 (killed, perhaps for lack of memory) after 3 tries: "
        "wm: no memory"
    )
    assert wrong.reason.startswith("exit code 2 after 1 try")


def test_interruptions_go_on_and_are_no_failures(tmp_path):
    made = entries(tmp_path, "cut")
    pool = Pool(made, Codes(cut=[75, 75, 75, 0]), jobs=None, retries=0)
    pool.run(pause=0)
    assert made[0].state == "done"
    assert (made[0].tries, made[0].interruptions) == (1, 3)


def test_what_is_finished_is_not_started(tmp_path):
    made = entries(tmp_path, "old", "new")
    made[0].state = "skipped"
    backend = Codes(new=[0])
    Pool(made, backend, None, 0).run(pause=0)
    assert backend.started == ["new"]


def test_stopping_lets_programs_save(tmp_path):
    made = entries(tmp_path, "a", "b")
    pool = Pool(made, Codes(a=[75], b=[0]), jobs=1, retries=0)
    pool.step()
    pool.stop()
    assert [entry.state for entry in made] == ["stopped", "stopped"]


def test_what_is_still_saving_is_named(tmp_path, monkeypatch, capsys):
    class Slow(Codes):
        def poll(self, handle):
            return None if handle[0] == "dyna_maze" else 75

    def interrupted(pool, watch):
        pool.step()
        raise KeyboardInterrupt

    stop = Pool.stop
    monkeypatch.setattr(cli_sweep, "_backend", lambda *_: Slow())
    monkeypatch.setattr(Pool, "run", interrupted)
    monkeypatch.setattr(Pool, "stop", lambda pool: stop(pool, patience=0.05))
    file = tmp_path / "tiny.py"
    file.write_text(SOURCE)
    words = ["sweep", str(file), "--out", str(tmp_path / "r"), "--seeds_per_run", "2"]
    assert cli.main([*words, "--jobs", "2"]) == 75
    said = "".join(capsys.readouterr())
    assert "still saving: dyna_maze. Wait until they have ended" in said
    assert "; saved." not in said
    assert cli.main([*words, "--jobs", "2", "--task", "blocking"]) == 75
    said = "".join(capsys.readouterr())
    assert "1 stopped; saved. The same command continues" in said


def test_lines_say_what_changed(tmp_path):
    made = entries(tmp_path, "a")
    made[0].unit = Unit("a", "", 3, 2, run_of(tmp_path / "a"), ("train",))
    stream = io.StringIO()
    display = Display(made, stream)
    with display.open():
        made[0].state, made[0].tries = "running", 2
        display.changed(made[0])
        made[0].state = "done"
        display.changed(made[0])
    assert stream.getvalue().splitlines() == [
        "  running, try 2 a, seeds 3-4",
        "  done           a, seeds 3-4: return 2 at step 100",
    ]


def test_a_terminal_gets_a_live_table(tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    made = entries(tmp_path, "a", "b")
    made[0].unit = Unit(
        "a", "", 3, 2, run_of(tmp_path / "a", reached=50, scores=False), ("train",)
    )
    made[0].state = "running"
    assert row(made[0]) == ["a", "3-4", "running", "50/100", "0.5", "8", "0:12", ""]
    stream = Terminal()
    display = Display(made, stream)
    with display.open():
        display.watch()
        made[0].state = "done"
        display.changed(made[0])
    text = stream.getvalue()
    assert "steps/s" in text
    assert "1 done, 1 waiting" in text


def test_a_summary_counts_states():
    assert summary(["done", "failed", "done"]) == "2 done, 1 failed"


def test_processes_are_asked_to_save_and_tell_their_code(tmp_path, monkeypatch):
    program = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(75)); "
    program += "print('ready', flush=True); time.sleep(60)"
    launched = subprocess.Popen

    def fake(words, **options):
        return launched([sys.executable, "-c", program], **options)

    monkeypatch.setattr(backends.subprocess, "Popen", fake)
    local, job = Local(), Job(("train",), tmp_path / "logs" / "a.log")
    (handle,) = local.start([job])
    while "ready" not in job.log.read_text():
        time.sleep(0.02)
    assert local.poll(handle) is None
    local.stop(handle)
    handle.wait()
    assert local.poll(handle) == 75
    (handle,) = local.start([job])
    os.kill(handle.pid, signal.SIGKILL)
    handle.wait()
    assert local.poll(handle) == 137


def test_a_time_limit_lets_a_program_save(tmp_path, monkeypatch):
    # As submitit does it: SIGUSR2 for all, and an exception out of our handler.
    program = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(75)); "
    program += "print('ready', flush=True); time.sleep(60)"
    launched, children = subprocess.Popen, []

    def fake(words, **options):
        children.append(launched([sys.executable, "-c", program], **options))
        return children[0]

    def limit(number, frame):
        raise RuntimeError("timed out")

    def send():
        while not job.log.is_file() or "ready" not in job.log.read_text():
            time.sleep(0.02)
        os.kill(children[0].pid, signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR2)

    job = Job(("train",), tmp_path / "a.log")
    monkeypatch.setattr(backends.subprocess, "Popen", fake)
    before = signal.signal(signal.SIGUSR2, limit)
    try:
        thread = threading.Thread(target=send)
        thread.start()
        assert backends.execute(job, str(tmp_path), {}) == 75
        thread.join()
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_several_gpus_are_shared_out(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    given = []

    class Process:
        def poll(self):
            return 0

    def launch(job, env, where=None):
        given.append(env["CUDA_VISIBLE_DEVICES"])
        return Process()

    monkeypatch.setattr(backends, "launch", launch)
    local, job = Local(), Job((), tmp_path / "x")
    handles = local.start([job] * 3)
    assert local.poll(handles[1]) == 0
    local.start([job])
    assert given == ["2", "5", "2", "5"]


@needs_submitit
def test_a_cluster_without_its_package_or_queue_says_so(tmp_path, monkeypatch, capsys):
    file = tmp_path / "tiny.py"
    file.write_text(SOURCE)
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["sweep", str(file), "--out", str(tmp_path / "r"), "--seeds_per_run", "2"]
    assert cli.main([*words, "--backend", "slurm"]) == 2
    assert "use a login node" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main([*words, "--backend", "ray"]) == 2
    assert "pip install 'wm-jax[sweep]'" in capsys.readouterr().err


def wait(backend, handle, seconds=60.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        code = backend.poll(handle)
        if code is not None:
            return code
        time.sleep(0.1)
    raise TimeoutError


@needs_submitit
def test_submitit_runs_programs_and_tells_their_codes(tmp_path):
    backend = Slurm(tmp_path / "slurm", Resources(hours=0.1), cluster="local")
    fine = Job(("--version",), tmp_path / "fine.log")
    wrong = Job(("nothing",), tmp_path / "wrong.log")
    codes = [wait(backend, handle) for handle in backend.start([fine, wrong])]
    assert codes == [0, 2]
    assert fine.log.read_text().startswith("wm ")
    assert 'no command "nothing"' in wrong.log.read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_local_ray_cluster_runs_a_sweep(tmp_path):
    pytest.importorskip("ray")
    # A process of its own: ray leaves threads and warnings behind.
    file = tmp_path / "tiny.py"
    file.write_text(SOURCE)
    root = tmp_path / "runs"
    words = ["sweep", str(file), "--out", str(root), "--backend", "ray"]
    words += ["--seeds_per_run", "1", "--task", "dyna_maze"]
    run = lambda: subprocess.run(
        [sys.executable, "-m", "wm", *words], capture_output=True, text=True
    )
    done = run()
    assert done.returncode == 0, done.stderr
    assert "2 done" in done.stdout
    assert (root / "report/index.html").is_file()
    assert "2 skipped" in run().stdout


def test_a_sweep_here_runs_skips_and_names_failures(tmp_path, capsys):
    file = tmp_path / "tiny.py"
    file.write_text(SOURCE.replace("grid/blocking", "grid/nowhere"))
    root = tmp_path / "runs"
    words = ["sweep", str(file), "--out", str(root)]
    assert cli.main([*words, "--", "--train.eval_episodes", "2"]) == 1
    out, err = capsys.readouterr()
    assert "1 done, 1 failed" in out
    assert "failed  nowhere: exit code 2 after 1 try: wm: no environment" in err
    assert (root / "report/scores.csv").is_file()
    started = Path(root / "logs/dyna_maze.log").read_text()
    assert (
        cli.main([*words, "--task", "dyna_maze", "--", "--train.eval_episodes", "2"])
        == 0
    )
    assert "1 skipped" in capsys.readouterr().out
    assert Path(root / "logs/dyna_maze.log").read_text() == started
    # Other settings: refused by the program, which names them, and not reported.
    words += ["--task", "dyna_maze", "--"]
    assert cli.main([*words, "--train.eval_episodes", "3"]) == 1
    out, err = capsys.readouterr()
    assert "with --train.eval_episodes 2; it cannot be continued with 3" in err
    assert "report:" not in out
