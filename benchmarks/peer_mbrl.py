"""Seconds of mbrl-lib's PETS plan, ensemble update and SAC update, for comparison.

Runs facebookresearch/mbrl-lib 0.2.0 as it is, on random data, with a Python that has it
(`pip install --no-deps mbrl gymnasium==0.26.3 hydra-core omegaconf` and what they name
missing, beside torch). Sizes are those of `benchmarks.pets`.

    taskset -c 0 PYTHON benchmarks/peer_mbrl.py cartpole|halfcheetah|sac512|sac256
"""

# Only of the peer's Python: nothing here imports wm or jax.

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
import types
import warnings

import numpy as np

CASES = {"cartpole": (4, 1, 350, 15, 0.1), "halfcheetah": (18, 6, 400, 30, 0.16)}
BATCHES = {"cartpole": 256, "halfcheetah": 32}


def main() -> None:
    """Print one JSON line: `{what: {"wall_s": […], "cpu_s": […]}}`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=(*CASES, "sac512", "sac256"))
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if args.case.startswith("sac"):
        update = soft_actor_critic(int(args.case[3:]))
        times = {"sac": timed(update, args.repeats, 20)}
    else:
        plan, fit = pets(args.case)
        times = {
            "plan": timed(plan, args.repeats, 1),
            "fit": timed(fit, args.repeats, 20),
        }
    print(json.dumps(times))


def ask(python: str, case: str, repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds `{what: {"wall_s", "cpu_s"}}`, in a process of `python`."""
    command = [python, __file__, case, "--repeats", str(repeats)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        what: {name: statistics.median(values) for name, values in times.items()}
        for what, times in json.loads(output.splitlines()[-1]).items()
    }


def timed(call, repeats: int, count: int) -> dict[str, list[float]]:
    """Seconds of one call, measured over `count`; the first round does not count."""
    wall, cpu = [], []
    for repeat in range(-1, repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            call()
        if repeat >= 0:
            wall.append((time.perf_counter() - start) / count)
            cpu.append((time.process_time() - start_cpu) / count)
    return {"wall_s": wall, "cpu_s": cpu}


def pets(case: str):
    """Functions that plan one action and that update the ensemble once."""
    import gymnasium
    import mbrl.models
    import mbrl.planning
    import mbrl.types
    import torch

    size, actions, samples, horizon, elites = CASES[case]
    nets = mbrl.models.GaussianMLP(
        size + actions,
        size,
        "cpu",
        num_layers=4,
        ensemble_size=7,
        hid_size=200,
        propagation_method="random_model",
        activation_fn_cfg={"_target_": "torch.nn.SiLU"},
    )
    model = mbrl.models.OneDTransitionRewardModel(
        nets, target_is_delta=True, normalize=True, learned_rewards=False, num_elites=5
    )
    nets.set_elite(range(5))
    box = gymnasium.spaces.Box
    env = types.SimpleNamespace(
        observation_space=box(-1, 1, (size,)), action_space=box(-1, 1, (actions,))
    )
    reward = lambda act, obs: obs[:, :1] - 0.1 * act.square().sum(1, keepdim=True)
    never = lambda act, obs: torch.zeros(len(obs), 1, dtype=torch.bool)
    imagined = mbrl.models.ModelEnv(env, model, never, reward)
    bounds = [-1.0] * actions, [1.0] * actions
    optimizer = mbrl.planning.CEMOptimizer(
        5, elites, samples, [bounds[0]] * horizon, [bounds[1]] * horizon, 0.1, "cpu"
    )
    start = torch.zeros(horizon, actions)
    observation = 0.1 * np.random.default_rng(0).normal(size=size)

    def plan():
        return optimizer.optimize(
            lambda population: imagined.evaluate_action_sequences(
                population, observation, 20
            ),
            x0=start,
        )

    batch, rng = BATCHES[case], np.random.default_rng(1)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    rows = mbrl.types.TransitionBatch(
        normal(7, batch, size),
        normal(7, batch, actions),
        normal(7, batch, size),
        normal(7, batch),
        np.zeros((7, batch), bool),
        np.zeros((7, batch), bool),
    )
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    return plan, lambda: model.update(rows, adam)


def soft_actor_critic(hidden: int):
    """A function that updates SAC once, its replay sample included."""
    import gymnasium
    import mbrl.util
    from mbrl.third_party.pytorch_sac_pranz24.sac import SAC

    settings = types.SimpleNamespace(
        gamma=0.99,
        tau=0.005,
        alpha=0.2,
        policy="Gaussian",
        target_update_interval=1,
        automatic_entropy_tuning=True,
        target_entropy=-1,
        hidden_size=hidden,
        device="cpu",
        lr=3e-4,
    )
    learner = SAC(17, gymnasium.spaces.Box(-1, 1, (6,)), settings)
    rng = np.random.default_rng(0)
    replay = mbrl.util.ReplayBuffer(10_000, (17,), (6,), rng=rng)
    for _ in range(10_000):
        seen, then = rng.normal(size=(2, 17))
        replay.add(seen, rng.uniform(-1, 1, 6), then, rng.normal(), False, False)
    return lambda: learner.update_parameters(replay, 256, 1, reverse_mask=True)


if __name__ == "__main__":
    main()
