"""Optimal control of linear systems with quadratic costs, in closed form."""

from __future__ import annotations

import numpy as np


def finite_horizon(
    A: np.ndarray, B: np.ndarray, Q: np.ndarray, R: np.ndarray, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gains and values of x' = A x + B u with the cost x'ᵀ Q x' + uᵀ R u per step.

    The state costs where it arrives: nothing is paid for the first one.

    Args:
      A: `[D, D]`.
      B: `[D, F]`.
      Q: `[D, D]`, positive semi-definite.
      R: `[F, F]`, positive definite.
      horizon: steps to go.

    Returns:
      `K` `[horizon, F, D]`, time first: the best u is −K[t] x; and `P` `[D, D]`: the
      least cost from x is xᵀ P x.

    Source: Bertsekas, "Dynamic Programming and Optimal Control", section 4.1.
    """
    P, gains = np.zeros_like(A), []
    for _ in range(horizon):
        cost = Q + P
        K = np.linalg.solve(R + B.T @ cost @ B, B.T @ cost @ A)
        P = A.T @ cost @ (A - B @ K)
        gains.append(K)
    return np.stack(gains[::-1]), P
