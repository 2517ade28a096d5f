"""A counting stream: every stored number says which row and step it came from."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from wm.types import Step, TimeStep


def counting_steps(rows, begin, T, episode=5, offset=3):
    """Steps `[rows, T]` with time `begin…begin+T-1`; episodes of `episode` steps.

    Row r starts its episodes `offset * r` steps later, so rows are out of phase.
    """
    row, time = np.meshgrid(np.arange(rows), np.arange(begin, begin + T), indexing="ij")
    phase = (time + offset * row) % episode
    first = (phase == 0) | (time == 0)
    last = phase == episode - 1
    stamp = 1000 * row + time
    timestep = TimeStep(
        observation={
            "stamp": stamp.astype(np.int32),
            "image": (
                stamp[..., None, None, None] + np.arange(12).reshape(2, 2, 3)
            ).astype(np.uint8),
        },
        reward=np.where(first, 0, stamp).astype(np.float32),
        discount=np.where(last, 0, 1).astype(np.float32),
        is_first=first,
        is_last=last,
        private={"rules": stamp},
    )
    latent = stamp[..., None] + np.linspace(0, 1, 3)
    extras = {
        "latent": {"h": latent.astype(jnp.bfloat16), "z": stamp[..., None] % 7},
        "value": stamp.astype(np.float32),
    }
    extras["latent"]["z"] = extras["latent"]["z"].astype(np.int8)
    action = np.stack([stamp, -stamp], -1).astype(np.float32)
    return Step(timestep, action, extras)


def example(rows):
    """One step of every row."""
    return jax.tree.map(lambda x: x[:, 0], counting_steps(rows, 0, 1))


def last_of(steps):
    """A `last` argument of the right shape; replay ignores its content."""
    return jax.tree.map(lambda x: x[:, -1], steps.timestep)


@functools.cache
def jitted(buffer):
    """The methods of a device buffer, compiled (op by op they take seconds)."""
    static = {"sample": (2, 3), "newest": (1,)}
    names = ["add", "sample", "newest", "write", "read", "dataset"]
    return SimpleNamespace(
        init=buffer.init,
        size=buffer.size,
        **{n: jax.jit(getattr(buffer, n), static_argnums=static.get(n)) for n in names},
    )


def filled(buffer, rows, total, chunk=1):
    """A state holding steps 0…total-1 of every row, added `chunk` at a time."""
    state = buffer.init(example(rows))
    for begin in range(0, total, chunk):
        T = min(chunk, total - begin)
        after = counting_steps(rows, begin + T, 1).timestep
        after = jax.tree.map(lambda x: x[:, 0], after)
        state = buffer.add(state, counting_steps(rows, begin, T), after)
    return state


def stamps(batch):
    """(rows, times) that the content of a batch claims."""
    stamp = np.asarray(batch.timestep.observation["stamp"])
    return stamp // 1000, stamp % 1000
