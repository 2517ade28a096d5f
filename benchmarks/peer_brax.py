"""Environment steps per second of brax's own PPO and SAC training, for comparison.

Runs brax 0.14.2 as it is. On jax 0.10 and later `jax.device_put_replicated` is gone; a
stand-in here does what it did.

    taskset -c 0 python -m benchmarks.peer_brax ppo|sac
"""

from __future__ import annotations

import argparse
import json
import warnings

import jax
import jax.numpy as jnp

TASK, ENVS, UNROLL, BATCH = "inverted_pendulum", 64, 10, 256
SAC_ENVS = 16


def main() -> None:
    """Print one JSON line: steps per second of each stretch after the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=("ppo", "sac"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if not hasattr(jax, "device_put_replicated"):
        spread = lambda tree, devices: jax.tree.map(
            lambda x: jnp.broadcast_to(x, (len(devices), *jnp.shape(x))), tree
        )
        jax.device_put_replicated = spread  # pyright: ignore
    rates: list[float] = []

    def progress(step: int, metrics: dict) -> None:
        if "training/sps" in metrics:
            rates.append(float(metrics["training/sps"]))

    {"ppo": ppo, "sac": sac}[args.system](progress)
    # The first stretch compiles.
    print(json.dumps(rates[1:]))


def ppo(progress) -> None:
    """64 environments × 10 steps, 8 minibatches, 4 epochs, default nets."""
    from brax import envs  # pyright: ignore[reportAttributeAccessIssue]
    from brax.training.agents.ppo import train

    train.train(
        envs.get_environment(TASK, backend="spring"),
        num_timesteps=4 * 64_000,
        episode_length=1000,
        num_envs=ENVS,
        unroll_length=UNROLL,
        batch_size=ENVS // 8,
        num_minibatches=8,
        num_updates_per_batch=4,
        num_evals=5,
        num_eval_envs=1,
        normalize_observations=True,
        progress_fn=progress,
    )


def sac(progress) -> None:
    """16 environments, an update of 256 transitions per environment step."""
    from brax import envs  # pyright: ignore[reportAttributeAccessIssue]
    from brax.training.agents.sac import train

    train.train(
        envs.get_environment(TASK, backend="spring"),
        num_timesteps=1_024 + 4 * 1_024,
        episode_length=1000,
        num_envs=SAC_ENVS,
        batch_size=BATCH,
        grad_updates_per_step=SAC_ENVS,
        min_replay_size=1_024,
        max_replay_size=10_240,
        num_evals=5,
        num_eval_envs=1,
        progress_fn=progress,
    )


if __name__ == "__main__":
    main()
