"""What a learner and its search consist of, in bytes: parameters, optimizer, tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from wm.train.memory import Need, size_bytes
from wm.types import Tree


def told_apart(
    need: Need,
    agent: Any,
    shapes: Any,
    seeds: int,
    rows: Sequence[int],
    searching: int,
) -> Need:
    """`need` with the learner's parts and the search tree.

    Args:
      need: of replay and learner.
      agent: traced for its search.
      shapes: `TrainState` of one seed, arrays or shapes.
      seeds: on a device.
      rows: see `tree`.
      searching: seeds that one device computes at the same time.
    """
    return need._replace(
        params=seeds * size_bytes(params_of(shapes.agent)),
        optimizer=seeds * optimizer_bytes(shapes.agent),
        tree=searching * tree(agent, shapes, rows),
    )


def params_of(state: Tree) -> Tree:
    """What an agent learns: `params` of its state, or all of it that is neither an
    optimizer's nor a slow copy."""
    found = getattr(state, "params", None)
    return _leaves(state, ("optimizer", "target"), False) if found is None else found


def optimizer_bytes(state: Tree) -> int:
    """Bytes below fields whose name has `optimizer` in it."""
    return size_bytes(_leaves(state, ("optimizer",), True))


def _leaves(tree: Tree, words: tuple[str, ...], inside: bool) -> list:
    """Leaves below names with one of `words` in them, or all the others."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    below = lambda path: any(word in str(key) for key in path for word in words)
    return [leaf for path, leaf in pairs if below(path) == inside]


def tree(agent: Any, shapes: Any, rows: Sequence[int]) -> int:
    """Bytes of the search tree of one seed, 0 where no tree is searched.

    The tree is what the search's loop carries: (simulations + 1) nodes per row, each
    with a model state and the statistics of its actions. `act` is traced, not run.

    Args:
      agent: one whose `config.search` counts `simulations`.
      shapes: `TrainState` of one seed, arrays or shapes.
      rows: how many search at once: of training, and of evaluation.
    """
    search = getattr(getattr(agent, "config", None), "search", None)
    if not getattr(search, "simulations", 0):
        return 0
    key = jax.random.key(0)
    sizes = []
    for mode, count in zip(("train", "eval"), rows, strict=True):
        resized = lambda x, count=count: jax.ShapeDtypeStruct(
            (count, *x.shape[1:]), x.dtype
        )
        carry, timestep = jax.tree.map(resized, (shapes.carry, shapes.timestep))
        act = lambda state, key, carry, timestep, mode=mode: agent.act(
            agent.actor(state), key, carry, timestep, mode
        )
        traced = jax.make_jaxpr(act)(shapes.agent, key, carry, timestep)
        sizes.append(_largest_carry(traced.jaxpr))
    return max(sizes)


def _largest_carry(jaxpr: Any) -> int:
    """Bytes that the largest loop of a program carries, inner programs included."""
    sizes = [0]
    for equation in jaxpr.eqns:
        given, name = equation.params, equation.primitive.name
        if name == "scan":
            first = given["num_consts"]
            carried = equation.invars[first : first + given["num_carry"]]
            sizes.append(size_bytes([x.aval for x in carried]))
        elif name == "while":
            first = given["cond_nconsts"] + given["body_nconsts"]
            sizes.append(size_bytes([x.aval for x in equation.invars[first:]]))
        for value in given.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    sizes.append(_largest_carry(inner))
    return max(sizes)
