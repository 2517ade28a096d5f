"""Settings of the test process, made before jax is imported anywhere."""

import gc
import os

from wm import cli_cache

QUICK_TO_COMPILE = (
    "--xla_backend_optimization_level=0",
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters",
    "--xla_cpu_parallel_codegen_split_count=1",
)
"""Compiling dominates the fast tests: a program is a quarter of the work this way."""

QUICK_TO_RUN = ("--xla_backend_optimization_level=1",)
"""Learning checks run each program for minutes."""


def pytest_configure(config):
    fast = "not slow" in config.option.markexpr
    flags = QUICK_TO_COMPILE if fast else QUICK_TO_RUN
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))
    cli_cache.enable("tests")


def pytest_collection_finish():
    """Looking for garbage was a tenth of the time: modules stay, the rest can wait."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)
