"""`wm doctor`: what is installed, what is known to break, and a short self-test."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
import warnings
from importlib import metadata
from pathlib import Path

from wm import cli_cache
from wm.cli_extras import EXTRAS, installed
from wm.errors import UserError

USAGE = """usage: wm doctor [--quick]

Shows versions, devices, optional packages with the command that installs them, and
known breakages; then trains for a few updates (about thirty seconds).

  --quick   without the self-test"""

BASE = ("jax", "jaxlib", "flax", "optax", "chex", "orbax-checkpoint", "numpy")


def run(words: list[str]) -> int:
    """Print the findings; 1 if something is broken.

    Raises:
      UserError: an unknown option.
    """
    if any(word in ("--help", "-h") for word in words):
        print(USAGE)
        return 0
    unknown = [word for word in words if word != "--quick"]
    if unknown:
        raise UserError(f"no option {unknown[0]} (`wm doctor --help`)")
    cli_cache.enable()
    _versions()
    devices = _devices()
    _extras()
    troubles = breakages(devices)
    print("known breakages")
    for line in troubles or ["none"]:
        print(f"  {line}")
    if "--quick" in words:
        return 1 if troubles else 0
    healthy = _self_test()
    return 0 if healthy and not troubles else 1


def breakages(devices: list) -> list[str]:
    """What is known to fail with what is installed here, one line each."""
    found = []
    kinds = {device.platform for device in devices}
    if kinds == {"cpu"} and shutil.which("nvidia-smi"):
        found.append("jax sees no GPU though one is here: pip install 'wm-jax[cuda]'")
    versions = {name: _version(name) for name in ("jax", "jaxlib")}
    if versions["jax"].split(".")[:2] != versions["jaxlib"].split(".")[:2]:
        found.append("jax {jax} and jaxlib {jaxlib} do not match".format(**versions))
    if sys.version_info >= (3, 14):
        found.append(
            f"Python {platform.python_version()} is untested; use 3.11 to 3.13"
        )
    if os.environ.get("JAX_ENABLE_X64", "0").lower() in ("1", "true"):
        found.append("JAX_ENABLE_X64 is set: slower, and replay takes twice the memory")
    if not os.access(_writable(cli_cache.folder()), os.W_OK):
        found.append(f"{cli_cache.folder()} cannot be written: every start compiles")
    return found


def _writable(path: Path) -> Path:
    """The nearest folder above that exists."""
    return path if path.exists() else _writable(path.parent)


def _versions() -> None:
    print("versions")
    names = "  ".join(f"{name} {_version(name)}" for name in BASE)
    print(f"  Python {platform.python_version()}  wm {_version('wm-jax')}")
    print(f"  {names}")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def _devices() -> list:
    import jax

    print("devices")
    devices = jax.devices()
    for device in devices:
        memory = (device.memory_stats() or {}).get("bytes_limit")
        size = f", {memory / 2**30:.1f} GiB" if memory else ""
        print(f"  {device.platform}:{device.id} {device.device_kind}{size}")
    print(f"  {os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()}")
    return devices


def _extras() -> None:
    print("extras")
    for extra, (_, purpose) in EXTRAS.items():
        state = "installed" if installed(extra) else f"pip install 'wm-jax[{extra}]'"
        print(f"  {extra:<11} {state:<33} {purpose}")


def _self_test() -> bool:
    """Train for a few updates, save and open what was saved; print what happened."""
    print("self-test", flush=True)
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = _train_briefly(Path(folder) / "run")
    except Exception as error:  # whatever breaks is what the user wants to see
        print(f"  failed: {type(error).__name__}: {str(error).splitlines()[0]}")
        if os.environ.get("WM_DEBUG") == "1":
            raise
        return False
    seconds = time.perf_counter() - started
    print(f"  trained {steps} steps of pixels/catch and saved them, {seconds:.0f} s")
    return True


def _train_briefly(out: Path) -> int:
    import contextlib
    import io

    import wm
    from wm.cli import dispatch

    steps = 512
    words = ["train", "dreamer_v3", "--env", "pixels/catch", "--preset", "demo"]
    words += ["--steps", str(steps), "--out", str(out), "--train.eval_episodes", "4"]
    with contextlib.redirect_stdout(io.StringIO()):
        code = dispatch(words)
    if code:
        raise RuntimeError(f"wm train ended with exit code {code}")
    wm.load(out).state()
    return steps
