"""One update of an agent, traced at full size without computing it."""

import jax
import jax.numpy as jnp

from wm.train.loop import loop_of
from wm.train.schedule import Schedule
from wm.types import TimeStep


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def one_update(agent):
    """(state before, state after, metrics) of one update, as shapes."""
    loop = loop_of(agent, Schedule(**agent.schedule))
    state = jax.eval_shape(agent.init, jax.random.key(0))
    rows, seen = loop.schedule.envs, agent.spec.observation
    shaped = lambda shape, kind: jax.ShapeDtypeStruct((rows, *shape), jnp.dtype(kind))
    first = TimeStep(
        observation=shaped(seen.shape, seen.dtype),
        **dict.fromkeys(("reward", "discount"), shaped((), "float32")),
        **dict.fromkeys(("is_first", "is_last"), shaped((), "bool")),
    )
    buffer = jax.eval_shape(loop.buffer.init, loop.example(state, first))
    key, keys = jax.eval_shape(loop.update_keys, jax.random.key(0))
    batches = jax.eval_shape(loop.draw, buffer, keys)[1]
    new, _, metrics = jax.eval_shape(agent.update, state, key, batches)
    return state, new, metrics
