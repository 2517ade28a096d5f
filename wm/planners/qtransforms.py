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
    low, high = tree_range(tree)
    stretched = (tree.qvalues(node) - low) / jnp.maximum(high - low, least_range)
    return jnp.where(tree.children_visits[node] > 0, stretched, 0.0)


def completed(
    tree: mctx.Tree,
    node: jax.Array,
    *,
    value_scale: float,
    value_visits: float,
    mixed: bool,
    bounds: tuple[float, float] | None = None,
    least_range: float = 0.0,
) -> jax.Array:
    """What Gumbel's search adds to logits: values stretched to [0, 1] over the tree's
    range, or between `bounds`.

    Among siblings alone (mctx's own way) a difference of 1e-6 is stretched as far as
    one of 1, and noise in the values of a learned model becomes a sharp policy.

    Args:
      tree: of one row.
      node: which.
      value_scale: factor c_scale.
      value_visits: c_visit, added to the greatest count of visits.
      mixed: whether what was not visited is worth a mixture of the net's value and
        those of its siblings.
      bounds: unset: the range of the tree.
      least_range: denominator at least.

    Source: Danihelka et al. 2022, Eqs. 8 and 10; the range as in
    Shengjiewang-Jason/EfficientZeroV2 12b9e77, ez/mcts/ctree_v2/gumbel_cnode.cpp.
    """
    most = jnp.max(tree.children_visits[node])
    values = mctx.qtransform_completed_by_mix_value(
        tree,
        node,
        value_scale=1.0,
        maxvisit_init=1.0,
        rescale_values=False,
        use_mixed_value=mixed,
    ) / (1.0 + most)
    low, high = tree_range(tree) if bounds is None else bounds
    stretched = (values - low) / jnp.maximum(high - low, least_range)
    # Where nothing was visited yet the range is empty, and all is worth the same.
    return value_scale * (value_visits + most) * jnp.clip(stretched, 0.0, 1.0)


def tree_range(tree: mctx.Tree) -> tuple[jax.Array, jax.Array]:
    """Least and greatest value of all actions that were visited in a tree of one row;
    infinite and the wrong way round where none was."""
    values = tree.children_rewards + tree.children_discounts * tree.children_values
    visited = tree.children_visits > 0
    low = jnp.min(jnp.where(visited, values, jnp.inf))
    high = jnp.max(jnp.where(visited, values, -jnp.inf))
    return low, high
