"""Settings of the test process, made before jax is imported anywhere."""

import os

from wm import cli_cache

# Compiling dominates the tests: level 1 halves it, and the results of `ops` stay
# within every tolerance that the tests use.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
cli_cache.enable("tests")
