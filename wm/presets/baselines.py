"""Settings of the model-free systems, as in the codes they are usually taken from."""

from __future__ import annotations

from typing import Any

from wm.presets.preset import Preset

CLEANRL = "vwxyzjn/cleanrl fe8d8a0"
SB3 = "DLR-RM/stable-baselines3 e05d2db"
REJAX = "keraJLi/rejax d751095"
BRAX = "google/brax 0b96d05, notebooks/training.ipynb"

_ATARI_ENV = {
    "size": 84,
    "gray": True,
    "stack": 4,
    "sticky": 0.0,
    "full_actions": False,
}
_LIVES = "differs: lives are no episodes"


def _rollout(envs: int, chunk: int, total: int, **schedule: Any) -> dict[str, Any]:
    """`chunk` steps of `envs` environments, then one update."""
    base = {"envs": envs, "chunk": chunk, "updates": 1, "prefill": 0, "total": total}
    return {**base, "log_steps": max(1_000, total // 100), **schedule}


def _replay(
    envs: int, batch: int, every: float, start: int, size: int, total: int
) -> dict[str, Any]:
    """One update on `batch` transitions per `every` steps, after `start` steps."""
    return {
        "envs": envs,
        "batch_size": batch,
        "batch_length": 1,
        "train_ratio": batch / every,
        "prefill": start,
        "replay": size,
        "total": total,
        "log_steps": max(500, total // 100),
    }


PPO: dict[str, Preset] = {
    "default": Preset(
        schedule=_rollout(5, 100, 100_000),
        source=f"{REJAX}, CartPole; differs: gradients clipped by their global norm",
    ),
    "pendulum": Preset(
        agent={
            "act": "silu",
            "normalize_observation": True,
            "learning_rate": 1e-3,
            "gamma": 0.9,
            "entropy": 0.0,
            "epochs": 10,
            "minibatches": 64,
        },
        schedule=_rollout(4, 1024, 150_000),
        source="DLR-RM/rl-baselines3-zoo, ppo.yml, Pendulum-v1; differs: noise drawn "
        "anew at every step (theirs of the state, gSDE), silu, scaled observations",
    ),
    "cleanrl": Preset(
        agent={
            "learning_rate": 2.5e-4,
            "anneal_updates": 976 * 16,
            "epochs": 4,
            "minibatches": 4,
        },
        schedule=_rollout(4, 128, 500_000),
        source=f"{CLEANRL}, ppo.py; the step size reaches 0 at 500k steps",
    ),
    "cleanrl_continuous": Preset(
        agent={
            "learning_rate": 3e-4,
            "anneal_updates": 488 * 320,
            "entropy": 0.0,
            "epochs": 10,
            "minibatches": 32,
            "normalize_observation": True,
            "normalize_reward": True,
        },
        schedule=_rollout(1, 2048, 1_000_000),
        source=f"{CLEANRL}, ppo_continuous_action.py; the step size reaches 0 at 1M",
    ),
    "sb3": Preset(
        agent={
            "learning_rate": 3e-4,
            "entropy": 0.0,
            "epochs": 10,
            "minibatches": 32,
            "value_clip": False,
            "value_scale": 1.0,
        },
        schedule=_rollout(1, 2048, 1_000_000),
        source=f"{SB3}, ppo.py (0.5 of the whole squared error is 1 of its half)",
    ),
    "atari": Preset(
        agent={
            "layers": (),
            "shared": True,
            "learning_rate": 2.5e-4,
            "anneal_updates": 9765 * 16,
            "epochs": 4,
            "minibatches": 4,
            "clip": 0.1,
            "clip_reward": True,
        },
        schedule=_rollout(8, 128, 10_000_000),
        env=_ATARI_ENV,
        source=f"{CLEANRL}, ppo_atari.py; {_LIVES}",
    ),
    "brax": Preset(
        agent={
            "layers": (32,) * 4,
            "critic_layers": (256,) * 5,
            "act": "silu",
            "start": "lecun",
            "actor_outscale": 1.0,
            "form": "tanh",
            "learning_rate": 3e-4,
            "epsilon": 1e-8,
            "max_norm": 0.0,
            "gamma": 0.97,
            "entropy": 1e-2,
            "clip": 0.3,
            "value_clip": False,
            "epochs": 4,
            "minibatches": 32,
            "normalize_observation": True,
            "reward_scale": 10.0,
        },
        schedule=_rollout(4096, 80, 50_000_000, log_steps=1_000_000),
        source=f"{BRAX}, ant; differs: advantages over 80 steps (theirs 16 times 5), "
        "minibatches of steps (theirs of rollouts)",
    ),
}

A2C: dict[str, Preset] = {
    "default": Preset(
        schedule=_rollout(16, 32, 200_000),
        source="ours: Adam, 16 environments times 32 steps",
    ),
    "sb3": Preset(
        agent={"optimizer": "rmsprop", "learning_rate": 7e-4},
        schedule=_rollout(8, 5, 100_000),
        source=f"{SB3}, a2c.py",
    ),
}

REINFORCE: dict[str, Preset] = {
    "default": Preset(
        schedule=_rollout(8, 512, 196_608, log_steps=4_096),
        source="ours: 8 environments times 512 steps",
    ),
    "whole": Preset(
        agent={"whole": True},
        source="Sutton & Barto 2018, section 13.3: whole episodes only",
    ),
    "learned": Preset(
        agent={"baseline": "learned"},
        source="Sutton & Barto 2018, section 13.4: a learnt baseline",
    ),
}

_PLAIN_DQN = {"act": "relu", "double": False, "dueling": False, "target_rate": 1.0}

DQN: dict[str, Preset] = {
    "default": Preset(
        schedule=_replay(10, 100, 2, 5_000, 50_000, 100_000),
        source=f"{REJAX}, CartPole",
    ),
    "cleanrl": Preset(
        agent={
            **_PLAIN_DQN,
            "layers": (120, 84),
            "learning_rate": 2.5e-4,
            "max_norm": 0.0,
            "target_updates": 50,
            "epsilon_updates": 25_000,
        },
        schedule=_replay(1, 128, 10, 10_000, 10_000, 500_000),
        source=f"{CLEANRL}, dqn.py",
    ),
    "sb3": Preset(
        agent={
            **_PLAIN_DQN,
            "learning_rate": 1e-4,
            "error": "huber",
            "target_updates": 2_500,
            "epsilon_updates": 25_000,
        },
        schedule=_replay(1, 32, 4, 100, 1_000_000, 1_000_000),
        source=f"{SB3}, dqn.py (exploration over a tenth of 1M steps)",
    ),
    "nature": Preset(
        agent={
            **_PLAIN_DQN,
            "layers": (),
            "learning_rate": 1e-4,
            "max_norm": 0.0,
            "target_updates": 250,
            "epsilon_end": 0.01,
            "epsilon_updates": 250_000,
            "clip_reward": True,
        },
        schedule=_replay(1, 32, 4, 80_000, 1_000_000, 10_000_000),
        env=_ATARI_ENV,
        source=f"{CLEANRL}, dqn_atari.py; {_LIVES}",
    ),
}

SAC: dict[str, Preset] = {
    "default": Preset(
        schedule=_replay(1, 256, 1, 1_000, 100_000, 20_000),
        source=f"{SB3}, sac.py; differs: 1000 random steps first (theirs 100)",
    ),
    "pendulum": Preset(
        agent={
            "layers": (64, 64),
            "actor_rate": 1e-3,
            "critic_rate": 1e-3,
            "alpha_rate": 1e-3,
        },
        schedule=_replay(1, 256, 1, 500, 20_000, 8_000),
        source="ours: small nets for gymnax/Pendulum-v1",
    ),
    "cleanrl": Preset(
        agent={
            "critic_rate": 1e-3,
            "alpha_rate": 1e-3,
            "alpha_loss": "alpha",
            "std": "rescaled",
            "log_std_low": -5.0,
        },
        schedule=_replay(1, 256, 1, 5_000, 1_000_000, 1_000_000),
        source=f"{CLEANRL}, sac_continuous_action.py; differs: no delayed actor",
    ),
    "brax": Preset(
        agent={
            "actor_rate": 6e-4,
            "critic_rate": 6e-4,
            "gamma": 0.997,
            "entropy_target": 0.5,
            "alpha_loss": "alpha",
            "std": "softplus",
            "reward_scale": 30.0,
        },
        schedule=_replay(128, 512, 2, 8_192, 1_048_576, 6_553_600),
        source=f"{BRAX}, hopper; differs: observations as they are (theirs scaled)",
    ),
}
