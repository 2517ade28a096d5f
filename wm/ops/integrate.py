"""Steps of ordinary differential equations."""

from __future__ import annotations

from collections.abc import Callable

import jax


def rk4(
    ode: Callable, state: jax.Array, action: jax.Array, dt: float, parts: int = 1
) -> jax.Array:
    """The state `dt` later by the classical Runge-Kutta rule, in `parts` equal parts.

    The error of one part is of fifth order in its length. Differentiable.

    Args:
      ode: `(state, action) -> d state / d time`.
      state: any shape.
      action: held constant.
      dt: length of the step, seconds.
      parts: how many steps of the rule make it up.
    """
    h = dt / parts
    for _ in range(parts):
        k1 = ode(state, action)
        k2 = ode(state + 0.5 * h * k1, action)
        k3 = ode(state + 0.5 * h * k2, action)
        k4 = ode(state + h * k3, action)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state
