"""`check(env)`: what is wrong with an environment, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wm.envs.batched import batch
from wm.envs.timesteps import strong
from wm.errors import UserError
from wm.types import ArraySpec, EnvSpec, TimeStep, Tree

STEPS = 64
"""Random steps that `check` plays; enough to meet the usual faults in seconds."""


def check(env: Any, seed: int = 0) -> list[str]:
    """Everything found wrong with `env` against the `Env` contract; empty if nothing.

    Plays a few dozen random steps, eagerly and compiled, one instance and a batch.

    Args:
      env: an object with `spec`, `reset(key)` and `step(state, action)`.
      seed: of the keys and actions.
    """
    problems = list(_check_form(env))
    if problems:
        return problems
    try:
        return list(dict.fromkeys(_check_play(env, jax.random.key(seed))))
    except Exception as error:  # what a user's code may raise is unknown
        return [f"{type(error).__name__} while playing: {_line(error)}"]


def check_or_raise(env: Any) -> None:
    """Raise if `check` finds anything.

    Raises:
      UserError: all that was found, in one line.
    """
    problems = check(env)
    if problems:
        raise UserError(f"{type(env).__name__}: " + "; ".join(problems))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_form(env: Any) -> Iterator[str]:
    """Attributes and spec, without running anything."""
    for name in ("spec", "reset", "step"):
        if not hasattr(env, name):
            yield f"it has no `{name}`"
    spec = getattr(env, "spec", None)
    if spec is None:
        return
    if not isinstance(spec, EnvSpec):
        yield f"`spec` must be a wm.types.EnvSpec, got {type(spec).__name__}"
        return
    leaves = jax.tree.leaves(spec.observation)
    if not leaves or any(not isinstance(leaf, ArraySpec) for leaf in leaves):
        yield "`spec.observation` must be an ArraySpec or a dict of them"
    action = spec.action
    if not isinstance(action, ArraySpec):
        yield "`spec.action` must be an ArraySpec"
    elif action.discrete and action.dtype != "int32":
        yield f"discrete actions are int32, `spec.action` says {action.dtype}"
    elif not action.discrete and action.dtype != "float32":
        yield (
            f"`spec.action` is {action.dtype} without classes; continuous actions are "
            "float32, discrete ones need classes"
        )
    try:
        hash(spec)
    except TypeError as error:
        yield f"`spec` is not hashable: {error}"


def _check_play(env: Any, key: jax.Array) -> Iterator[str]:
    """Reset, step, step on; then the same compiled and in a batch."""
    key_reset, key_play = jax.random.split(key)
    state, timestep = env.reset(key_reset)
    found = list(_check_record(env.spec, timestep, "reset"))
    found += list(_check_first(timestep))
    if not _same(env.reset(key_reset), (state, timestep)):
        found.append("reset(key) gives different results for the same key")
    yield from found
    if not isinstance(timestep, TimeStep):
        return
    action = _actions(env.spec.action, key_play, 1)[0]
    before = jax.tree.map(_copy, state)
    next_state, timestep = env.step(state, action)
    yield from _check_record(env.spec, timestep, "step")
    yield from _check_state(state, next_state)
    if np.asarray(timestep.is_first).any():
        yield "step returned is_first; an Env never resets itself, `batch` does"
    if not _same(before, state):
        yield "step changed the state it was given; return a new one"
    if not _same(env.step(state, action), (next_state, timestep)):
        yield "step gives different results for the same state and action"
    compiled = jax.jit(env.step)(strong(state), action)
    if not _same(compiled, (next_state, timestep), tolerance=1e-4):
        yield "step gives different results compiled and not compiled"
    yield from _check_bounds(env, state)
    yield from _check_stream(env, key_play)


def _check_record(spec: EnvSpec, timestep: Any, where: str) -> Iterator[str]:
    """One record against the spec."""
    if not isinstance(timestep, TimeStep):
        yield f"{where} must return (state, TimeStep), got {type(timestep).__name__}"
        return
    wanted = jax.tree.structure(spec.observation)
    given = jax.tree.structure(timestep.observation)
    if wanted != given:
        yield f"{where}: observation is {given}, the spec says {wanted}"
    else:
        pairs = zip(
            jax.tree.leaves_with_path(timestep.observation),
            jax.tree.leaves(spec.observation),
            strict=True,
        )
        for (path, array), part in pairs:
            name = f"{where}: observation{jax.tree_util.keystr(path)}"
            yield from _check_array(name, array, part)
    for name, dtype in (
        ("reward", "float32"),
        ("discount", "float32"),
        ("is_first", "bool"),
        ("is_last", "bool"),
    ):
        part = ArraySpec((), dtype)
        yield from _check_array(f"{where}: {name}", getattr(timestep, name), part)
    if spec.legal and timestep.legal is None:
        yield f"{where}: legal is missing, the spec says it is there"
    if not spec.legal and timestep.legal is not None:
        yield f"{where}: legal is there, the spec says it is not"
    if not np.isin(timestep.discount, [0.0, 1.0, -1.0]).all():
        yield f"{where}: discount must be 0, 1 or -1, got {timestep.discount}"


def _check_array(name: str, array: Any, part: ArraySpec) -> Iterator[str]:
    if not hasattr(array, "dtype"):
        yield f"{name} is a {type(array).__name__}, not an array"
        return
    if array.shape != part.shape:
        yield f"{name} has shape {array.shape}, expected {part.shape}"
    if array.dtype != part.dtype:
        yield f"{name} is {array.dtype}, expected {part.dtype}"
    if jnp.issubdtype(array.dtype, jnp.floating) and not np.isfinite(array).all():
        yield f"{name} is not finite"
    if part.classes is None:
        return
    numbers = np.asarray(array)
    if ((numbers < 0) | (numbers >= part.classes)).any():
        yield f"{name} is outside [0, {part.classes})"


def _check_first(timestep: Any) -> Iterator[str]:
    if not isinstance(timestep, TimeStep):
        return
    if not np.asarray(timestep.is_first).all() or np.asarray(timestep.is_last).any():
        yield "reset must return is_first true and is_last false"
    if (np.asarray(timestep.reward) != 0).any():
        yield "reset must return reward 0"
    if (np.asarray(timestep.discount) != 1).any():
        yield "reset must return discount 1"


def _check_state(state: Tree, next_state: Tree) -> Iterator[str]:
    """Scans need a state that keeps its form."""
    if jax.tree.structure(state) != jax.tree.structure(next_state):
        yield "the state changes its structure in step"
        return
    for (path, old), new in zip(
        jax.tree.leaves_with_path(state), jax.tree.leaves(next_state), strict=True
    ):
        name = f"state{jax.tree_util.keystr(path)}"
        old_form, new_form = (
            (jnp.shape(old), _dtype(old)),
            (jnp.shape(new), _dtype(new)),
        )
        if old_form != new_form:
            yield f"{name} is {old_form} after reset and {new_form} after step"


def _check_bounds(env: Any, state: Tree) -> Iterator[str]:
    """Every class is playable; continuous actions are clipped."""
    action = env.spec.action
    if action.discrete:
        step = jax.jit(env.step)
        classes = (0, action.classes - 1)
        for index in classes:
            _, timestep = step(strong(state), jnp.full(action.shape, index, jnp.int32))
            if not np.isfinite(timestep.reward):
                yield f"action {index} gives reward {timestep.reward}"
        return
    edge = env.step(state, jnp.ones(action.shape))
    if not _same(env.step(state, 3.0 * jnp.ones(action.shape)), edge):
        yield "action 3 differs from action 1: clip to [-1, 1], then rescale"


def _check_stream(env: Any, key: jax.Array) -> Iterator[str]:
    """A batch played for a while: it compiles, ends where it says, stays finite."""
    batched = batch(env, "exact")
    key_reset, key_act = jax.random.split(key)
    limit = env.spec.time_limit
    steps = STEPS if limit is None else min(max(STEPS, limit), 1000)
    actions = _actions(env.spec.action, key_act, 2 * steps)
    actions = actions.reshape(steps, 2, *env.spec.action.shape)

    @jax.jit
    def play(key, actions):
        return jax.lax.scan(batched.step, batched.reset(key, 2)[0], actions)[1]

    stream = play(key_reset, actions)
    floats = [
        leaf
        for leaf in jax.tree.leaves((stream.observation, stream.reward))
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    if not all(np.isfinite(leaf).all() for leaf in floats):
        yield f"observations or rewards become NaN or infinite within {steps} steps"
    ended = np.asarray(stream.is_last)
    if limit is not None and steps >= limit and not ended[:limit].any(axis=0).all():
        yield f"spec.time_limit is {limit}, but an episode went on after {limit} steps"
    unfinished = (np.asarray(stream.discount) == 0) & ~ended
    if unfinished.any():
        yield "discount is 0 in a step that is not is_last"


def _actions(spec: ArraySpec, key: jax.Array, count: int) -> jax.Array:
    shape = (count, *spec.shape)
    if spec.discrete:
        return jax.random.randint(key, shape, 0, spec.classes or 1)
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _same(a: Tree, b: Tree, tolerance: float = 0.0) -> bool:
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    return all(
        np.shape(x) == np.shape(y)
        and np.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True)
        for x, y in zip(_numbers(a), _numbers(b), strict=True)
    )


def _numbers(tree: Tree) -> list[np.ndarray]:
    def number(leaf):
        if _is_key(leaf):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf, np.float64)

    return [number(leaf) for leaf in jax.tree.leaves(tree)]


def _copy(leaf: Any) -> Any:
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def _dtype(leaf: Any) -> str:
    return str(leaf.dtype) if _is_key(leaf) else str(jnp.asarray(leaf).dtype)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
