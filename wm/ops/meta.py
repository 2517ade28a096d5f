"""One step of gradient descent that can itself be differentiated.

Source: Finn, Abbeel & Levine 2017 (MAML), Eq. 1.
"""

from __future__ import annotations

from collections.abc import Callable

import jax

from wm.types import Tree


def adapted(
    loss: Callable[[Tree], jax.Array],
    params: Tree,
    rate: jax.Array | float,
    first_order: bool = False,
) -> Tree:
    """params − rate · ∇loss(params).

    A gradient of what comes out goes through this step, so it holds the second
    derivatives of `loss`.

    Args:
      loss: f32 `[]` of parameters.
      params: where the step begins.
      rate: its size.
      first_order: hold the inner gradient constant, which leaves the second derivatives
        out (section 5.2 of the paper).
    """
    gradient = jax.grad(loss)(params)
    if first_order:
        gradient = jax.lax.stop_gradient(gradient)
    return jax.tree.map(lambda p, g: p - rate * g, params, gradient)
