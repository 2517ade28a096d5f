"""Where the presets of each system are."""

from __future__ import annotations

PRESETS: dict[str, str] = {
    "q_learning": "wm.presets.tabular:Q_LEARNING",
    "dyna_q": "wm.presets.tabular:DYNA_Q",
    "prioritized_sweeping": "wm.presets.tabular:PRIORITIZED_SWEEPING",
    "dqn": "wm.presets.baselines:DQN",
    "reinforce": "wm.presets.baselines:REINFORCE",
    "a2c": "wm.presets.baselines:A2C",
    "ppo": "wm.presets.baselines:PPO",
    "sac": "wm.presets.baselines:SAC",
    "mpc": "wm.presets.mpc:PRESETS",
    "mb_mf": "wm.presets.mb_mf:MB_MF",
    "pets": "wm.presets.pets:PETS",
    "mbpo": "wm.presets.mbpo:MBPO",
    "mb_mpo": "wm.presets.mb_mpo:MB_MPO",
    "grbal": "wm.presets.grbal:GRBAL",
    "pilco": "wm.presets.pilco:PILCO",
    "svg": "wm.presets.svg:SVG",
    "alphago": "wm.presets.alphago:ALPHAGO",
    "alphazero": "wm.presets.alphazero:ALPHAZERO",
    "muzero": "wm.presets.muzero:MUZERO",
    "efficientzero": "wm.presets.efficientzero:EFFICIENTZERO",
    "dreamer_v3": "wm.presets.dreamer_v3:PRESETS",
}
"""`module:attribute` of a mapping from name to `Preset`, by system."""
