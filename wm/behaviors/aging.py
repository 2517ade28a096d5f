"""Returns of old records: what followed them was done by a policy that is gone.

Source: Ye et al. 2021, section 4.3 (model-based off-policy correction), as in
YeWR/EfficientZero 468bb03, core/reanalyze_worker.py.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from wm.behaviors.unrolled import Unrolled, unrolled
from wm.types import TimeStep


def shrinking_horizon(age: jax.Array, steps: int, interval: int) -> jax.Array:
    """n = clip(steps - ⌊age / interval⌋, 1, steps): the older, the shorter the return.

    Args:
      age: i32, steps of the environment since it was recorded.
      steps: n of what is new (5).
      interval: steps per which n falls by one (30,000).
    """
    return jnp.clip(steps - age // interval, 1, steps)


def unrolled_by_age(
    timestep: TimeStep,
    policy: jax.Array,
    value: jax.Array,
    K: int,
    steps: int,
    gamma: float,
    horizon: jax.Array,
) -> Unrolled:
    """`unrolled`, with returns of `horizon` i32 `[N]` in [1, steps] in each window."""
    each = [unrolled(timestep, policy, value, K, n + 1, gamma) for n in range(steps)]
    values = jnp.stack([targets.value for targets in each])
    chosen = jnp.take_along_axis(values, (horizon - 1)[None, :, None], 0)[0]
    return each[-1]._replace(value=chosen)
