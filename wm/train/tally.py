"""What a learner and its search consist of, in bytes: parameters, optimizer, tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from wm.ops.spread import DATA
from wm.train import evaluate
from wm.train.memory import Need, size_bytes
from wm.train.seeds import Seeds
from wm.types import Tree


def told_apart(need: Need, loop: Any, shapes: Any, axis: Seeds) -> Need:
    """`need` with the learner's parts and the search tree.

    Args:
      need: of replay and learner.
      loop: agent, buffer and schedule; traced where the agent searches.
      shapes: `TrainState` of one seed, arrays or shapes.
      axis: says how many seeds a device computes at the same time.
    """
    # As many copies as `need` counts: seeds on a device.
    copies = need.learner / max(size_bytes(shapes) - size_bytes(shapes.buffer), 1)
    sharing = 1 if axis.mesh is None else axis.mesh.shape[DATA]
    _, eval_rows = evaluate.waves(loop.schedule.eval_episodes)
    return need._replace(
        params=round(copies * size_bytes(params_of(shapes.agent))),
        optimizer=round(copies * optimizer_bytes(shapes.agent)),
        tree=axis.at_once * tree(loop, shapes, eval_rows) // sharing,
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


def tree(loop: Any, shapes: Any, eval_rows: int) -> int:
    """Bytes of the largest search tree of one seed, 0 where no tree is searched.

    The tree is what the search's loop carries: (simulations + 1) nodes per row, each
    with a model state and the statistics of its actions. Rows are the environments in
    acting, episodes in evaluation, records of a batch where targets are searched anew.
    Functions are traced, not run.
    """
    agent = loop.agent
    config = getattr(agent, "config", None)
    if not getattr(getattr(config, "search", None), "simulations", 0):
        return 0
    envs = loop.schedule.envs
    rows = {"prefill": envs, "train": envs, "eval": eval_rows}
    sizes = [_acting(agent, shapes, mode, count) for mode, count in rows.items()]
    if loop.schedule.replay_tier == "device":
        if loop.schedule.reanalyse_steps is not None and hasattr(agent, "reanalyse"):
            again = lambda state, key, got: agent.reanalyse(
                state, key, got["reanalyse"]
            )
            sizes.append(_learning(loop, shapes, ["reanalyse"], again))
        if getattr(config, "reanalyse", 0):
            names = list(loop.update_batches())
            sizes.append(_learning(loop, shapes, names, loop.agent_update))
    return max(sizes)


def _acting(agent: Any, shapes: Any, mode: str, rows: int) -> int:
    resized = lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype)
    carry, timestep = jax.tree.map(resized, (shapes.carry, shapes.timestep))
    act = lambda state, key, carry, timestep: agent.act(
        agent.actor(state), key, carry, timestep, mode
    )
    key = jax.random.key(0)
    return _largest_carry(jax.make_jaxpr(act)(shapes.agent, key, carry, timestep).jaxpr)


def _learning(loop: Any, shapes: Any, names: Sequence[str], method: Callable) -> int:
    """As `_acting`, of a method that gets batches."""
    key, batches = jax.random.key(0), loop.agent.batches(loop.schedule)
    drawn = lambda N, L: jax.eval_shape(
        lambda buffer, key: loop.buffer.sample(buffer, key, N, L)[1], shapes.buffer, key
    )
    given = {name: drawn(*batches[name]) for name in names}
    return _largest_carry(jax.make_jaxpr(method)(shapes.agent, key, given).jaxpr)


def _largest_carry(jaxpr: Any) -> int:
    """Bytes that the largest loop of a program carries, inner programs included.

    Read off results: what a scan carries has the shape that its body gives, what it
    collects has one axis more. Parameters of a scan differ between versions of jax.
    """
    sizes = [0]
    for equation in jaxpr.eqns:
        given, name = equation.params, equation.primitive.name
        results = [x.aval for x in equation.outvars]
        if name == "scan":
            body = [x.aval for x in given["jaxpr"].jaxpr.outvars]
            pairs = zip(results, body, strict=False)
            sizes.append(size_bytes([x for x, y in pairs if x.shape == y.shape]))
        elif name == "while":
            sizes.append(size_bytes(results))
        for value in given.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    sizes.append(_largest_carry(inner))
    return max(sizes)
