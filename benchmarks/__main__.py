"""Run every benchmark, each in a process of its own; results in benchmarks/results.

python -m benchmarks [NAME …]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

NAMES = {
    "conv": "convolution inside a compiled loop and over seeds",
    "envs": "environment steps per second",
    "replay": "add, sample, memory",
    "dreamer_v3": "seconds and GFLOP/s of one update, against the matmul peak",
    "pets": "planning in an ensemble and fitting it, against the matmul peak",
    "search": "the tree's own cost beside rules and net; positions/s of self-play",
    "muzero": "acting and updates of MuZero and EfficientZero in three nets",
    "end_to_end": "environment steps per second of whole runs, seeds in one program",
    "scaling": "overhead of a mesh, weak scaling on virtual devices, 256 chips",
    "faults": "kill -9, flipped bits, cut files, a full disk: what runs survive",
    "survive": "seconds that training waits for a save; cost of the check for NaN",
    "host_share": "share of the wall clock that train_device spends on the host",
}


def main() -> int:
    """Exit status: how many of the benchmarks failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; default all")
    names = parser.parse_args().names or list(NAMES)
    for name in names:
        if name not in NAMES:
            parser.error(f"no benchmark {name!r}; there are {', '.join(NAMES)}")
    failed = 0
    for name in names:
        print(f"\n{name}: {NAMES[name]}", flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
