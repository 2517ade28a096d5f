"""How values are stretched to [0, 1] before they are weighed against a prior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mctx


def by_bounds(
    tree: mctx.Tree, node: jax.Array, *, bounds: tuple[float, float]
) -> jax.Array:
    """Values of a node's actions, in [0, 1] between bounds known beforehand.

    Clipped, unlike mctx's `qtransform_by_min_max`: what was not visited gets 0, so a
    value below the bounds would rank behind the illegal moves of its node.

    Args:
      tree: of one row.
      node: which.
      bounds: least and greatest value.
    """
    low, high = bounds
    stretched = jnp.clip((tree.qvalues(node) - low) / (high - low), 0.0, 1.0)
    return jnp.where(tree.children_visits[node] > 0, stretched, 0.0)


def by_tree(tree: mctx.Tree, node: jax.Array, *, least_range: float) -> jax.Array:
    """Values of a node's actions over the range of all that were visited in the tree.

    Source: Schrittwieser et al. 2020, Eq. 5; unvisited actions get 0, as there.

    Args:
      tree: of one row.
      node: which.
      least_range: denominator at least.
    """
    values = tree.children_rewards + tree.children_discounts * tree.children_values
    visited = tree.children_visits > 0
    low = jnp.min(jnp.where(visited, values, jnp.inf))
    high = jnp.max(jnp.where(visited, values, -jnp.inf))
    stretched = (values[node] - low) / jnp.maximum(high - low, least_range)
    return jnp.where(visited[node], stretched, 0.0)
