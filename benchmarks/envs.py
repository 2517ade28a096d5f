"""Environment steps per second under random actions, and compile seconds.

64 rows in one compiled scan. The peer of a gymnax task is gymnax's own `step` with
its same-step reset, under `vmap` in the same kind of scan. Host environments step 16
instances from Python.

python -m benchmarks.envs [--costly] [NAME …]
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import measure, record, row
from wm.envs import batch, make
from wm.envs.registry import is_host
from wm.errors import UserError

ROWS = 64
HOST_ROWS = 16
CHEAP = (
    "pixels/catch",
    "probe/hidden_point",
    "gymnax/CartPole-v1",
    "gymnax/Breakout-MinAtar",
    "atari/Pong",
    "dmc/cheetah_run",
)
COSTLY = (
    "craftax/classic-symbolic",
    "craftax/classic-pixels",
    "brax/halfcheetah",
    "playground/CartpoleSwingup",
    "playground/CheetahRun",
)
STEPS = {"pixels": 2000, "probe": 5000, "gymnax": 5000}
"""Length of the scan by source; 50 where a step is costly."""


def main() -> None:
    """Measure the named environments, or the usual ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: a few of every cheap source")
    parser.add_argument(
        "--costly", action="store_true", help="Craftax and physics too: minutes"
    )
    arguments = parser.parse_args()
    names = arguments.names or (*CHEAP, *(COSTLY if arguments.costly else ()))
    for name in names:
        try:
            rows = host_rows(name) if is_host(name) else device_rows(name)
        except UserError as error:
            print(f"left out: {error}")
            continue
        record("envs.json", rows)


def device_rows(name: str) -> list[dict]:
    """Steps per second of a JAX environment in every reset mode worth having."""
    steps = STEPS.get(name.split("/")[0], 50)
    env = make(name)
    default = batch(env).autoreset
    rows = []
    for mode in dict.fromkeys((default, "exact")) if steps > 50 else (default,):
        seconds, run = compiled(batch(env, mode), steps)
        case = f"{name} N={ROWS} {mode}"
        rate = ROWS * steps / measure(run, 5 if steps > 50 else 3)
        peer = gymnax_rate(name, steps) if mode == default else None
        rows.append(row("env_steps", case, rate, "steps/s", peer, scan=steps))
        rows.append(row("env_compile", case, seconds, "s"))
    return rows


def compiled(env, steps: int):
    """Seconds to compile a rollout of random actions, and a call of it.

    The reset is a program of its own: it happens once.
    """
    action = env.spec.action

    def roll(env, state, key):
        def body(state, key):
            state, timestep = env.step(state, draw(key, action, (ROWS, *action.shape)))
            return state, (timestep.reward, used(timestep.observation))

        return jax.lax.scan(body, state, jax.random.split(key, steps))[1]

    reset = jax.jit(lambda env, key: env.reset(key, ROWS)[0])
    return timed_compile(roll, env, reset(env, jax.random.key(0)), jax.random.key(1))


def gymnax_rate(name: str, steps: int) -> float | None:
    """gymnax's own stepping, where `name` is its task."""
    if not name.startswith("gymnax/"):
        return None
    import gymnax

    env, params = gymnax.make(name.split("/")[1])
    space = env.action_space(params)

    def roll(state, key):
        def body(state, key):
            key_action, key_step = jax.random.split(key)
            actions = jax.vmap(space.sample)(jax.random.split(key_action, ROWS))
            keys = jax.random.split(key_step, ROWS)
            step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
            out = step(keys, state, actions, params)
            return out[1], (out[2], used(out[0]))

        return jax.lax.scan(body, state, jax.random.split(key, steps))[1]

    keys = jax.random.split(jax.random.key(0), ROWS)
    _, state = jax.vmap(env.reset, in_axes=(0, None))(keys, params)
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), state)
    _, run = timed_compile(roll, state, jax.random.key(1))
    return ROWS * steps / measure(run)


def used(observation):
    """A number from every observation, so that none is optimised away."""
    leaves = jax.tree.leaves(observation)
    return sum(jnp.max(leaf).astype(jnp.float32) for leaf in leaves)


def timed_compile(function, *arguments):
    """Seconds to compile, and a call without arguments."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    return time.perf_counter() - start, lambda: program(*arguments)


def draw(key, action, shape):
    """Uniform actions."""
    if action.discrete:
        return jax.random.randint(key, shape, 0, action.classes)
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def host_rows(name: str, steps: int = 200) -> list[dict]:
    """Steps per second of a host environment, stepped from Python."""
    env = make(name, num_envs=HOST_ROWS, seed=0)
    action = env.spec.action
    shape = (steps, HOST_ROWS, *action.shape)
    generator = np.random.default_rng(0)
    if action.discrete:
        actions = generator.integers(0, action.classes, shape, np.int32)
    else:
        actions = generator.uniform(-1, 1, shape).astype(np.float32)
    env.reset()

    def run():
        for one in actions:
            env.step(one)

    rate = HOST_ROWS * steps / measure(run, repeats=3)
    env.close()
    return [row("env_steps", f"{name} N={HOST_ROWS} host", rate, "steps/s")]


if __name__ == "__main__":
    main()
