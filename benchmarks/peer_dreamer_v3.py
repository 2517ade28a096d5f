"""Seconds per DreamerV3 update of the authors' own code, for comparison.

Runs a checkout of `danijar/dreamerv3` (commit e3f0224) as it is, on random data. Its
packages: elements ninjax portal scope granular einops jaxtyping tqdm
colored_traceback av. On jax 0.10 and later `jax.jit` takes no positional shardings
any more; a stand-in here passes them by keyword.

    taskset -c 0 python -m benchmarks.peer_dreamer_v3 CHECKOUT size1m image
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings

import jax
import numpy as np


def main() -> None:
    """Print one JSON line: seconds of each update, compile seconds, parameters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout")
    parser.add_argument("size", help="size1m, size12m, …")
    parser.add_argument("observation", choices=("image", "vector"))
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--platform", default="cpu")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    sys.path.insert(0, args.checkout)
    keyword_shardings()
    agent = build(args)
    start = time.perf_counter()
    with agent.train_mesh:
        agent._compile_train()
    compile_seconds = time.perf_counter() - start
    print(json.dumps({**measure(agent, args.updates), "compile_s": compile_seconds}))


def keyword_shardings() -> None:
    """Let `jax.jit` take the positional arguments of older releases."""
    original = jax.jit
    names = ("in_shardings", "out_shardings", "static_argnums", "static_argnames")
    names = (*names, "donate_argnums")

    def jit(fun, *args, **kwargs):
        given = dict(zip(names, args, strict=False))
        return original(
            fun, **{k: v for k, v in given.items() if v is not None}, **kwargs
        )

    jax.jit = jit


def build(args):
    """The authors' agent of one size, float32 on one device, no environment."""
    import elements
    import ruamel.yaml as yaml
    from dreamerv3.agent import Agent

    text = elements.Path(f"{args.checkout}/dreamerv3/configs.yaml").read()
    configs = yaml.YAML(typ="safe").load(text)
    config = elements.Config(configs["defaults"]).update(configs[args.size])
    config = config.update(
        {
            "jax.platform": args.platform,
            "jax.compute_dtype": args.dtype,
            "jax.prealloc": False,
            "batch_size": 16,
            "batch_length": 64,
            "replay_context": 1,
        }
    )
    space = elements.Space
    observations = {
        "reward": space(np.float32),
        "is_first": space(bool),
        "is_last": space(bool),
        "is_terminal": space(bool),
    }
    if args.observation == "image":
        observations["image"] = space(np.uint8, (64, 64, 3))
        actions = {"action": space(np.int32, (), 0, 6)}
    else:
        observations["vector"] = space(np.float32, (24,))
        actions = {"action": space(np.float32, (6,), -1, 1)}
    return Agent(
        observations,
        actions,
        elements.Config(
            **config.agent,
            logdir="/tmp/unused",
            seed=0,
            jax={**config.jax, "precompile": False, "profiler": False},
            batch_size=config.batch_size,
            batch_length=config.batch_length,
            replay_context=config.replay_context,
            report_length=config.report_length,
            replica=0,
            replicas=1,
        ),
    )


def measure(agent, updates: int) -> dict:
    """Wall and CPU seconds of each update on one random batch, first one dropped."""
    from embodied.jax import internal

    data = internal.device_put(random_batch(agent), agent.train_sharded)
    carry = agent.init_train(16)
    wall, cpu = [], []
    for step in range(updates + 1):
        seed = agent._seeds(step, agent.train_mirrored)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        carry, _, _ = agent.train(carry, {**data, "seed": seed})
        jax.block_until_ready(agent.params)
        wall.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
    count = sum(np.prod(x.shape) for x in agent.params.values())
    return {"wall_s": wall[1:], "cpu_s": cpu[1:], "arrays": int(count)}


def random_batch(agent) -> dict[str, np.ndarray]:
    """Random values of every key that training reads, `[16, 65, …]`."""
    random = np.random.default_rng(0)
    batch = {}
    for key, space in agent.spaces.items():
        shape = (16, 65, *space.shape)
        if key == "is_first":
            batch[key] = random.random(shape) < 0.01
        elif space.dtype == bool:
            batch[key] = np.zeros(shape, bool)
        elif key == "consec":
            batch[key] = np.zeros(shape, np.int32)
        elif np.issubdtype(space.dtype, np.integer):
            high = 6 if key == "action" else 256
            batch[key] = random.integers(0, high, shape).astype(space.dtype)
        else:
            batch[key] = random.normal(size=shape).astype(np.float32)
    return batch


if __name__ == "__main__":
    main()
