"""The machine's matmul rate, measured in the minute it is related to.

On shared cores it moves by half with the neighbours' load, so a share of the peak
means something only when both figures come from the same run.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp


def matmul_peak(
    size: int | None = None, repeats: int = 20, dtype: str = "float32"
) -> float:
    """Best GFLOP/s of `size`³ matrix products in `repeats` calls.

    Default size: 1024 on a CPU; 8192 on an accelerator, which a smaller product
    leaves waiting for its launch.
    """
    size = size or (1024 if jax.default_backend() == "cpu" else 8192)
    key = jax.random.key(0)
    a = jax.random.normal(key, (size, size), jnp.dtype(dtype))
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(product(a))
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best / 1e9
