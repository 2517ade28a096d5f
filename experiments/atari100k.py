"""Atari 100k: 26 games, 400k frames, five seeds.

    python experiments/atari100k.py --print
    python experiments/atari100k.py --task Pong --seeds 5 --out runs/atari100k

Protocol: four frames per action, no sticky actions, minimal actions, 64×64 colour
(Kaiser et al. 2019, as in DreamerV3). The published DreamerV3 numbers are training
episodes that end in frames 390k to 400k; ours are separate evaluation episodes, which
`wm report --against dreamer_v3` says on the page.
"""

import sys

from wm.envs.names import ATARI_100K
from wm.report.experiment import Experiment, Group

PRESET = "atari100k"
SEEDS = 5
TASKS = tuple(f"atari/{game}" for game in ATARI_100K)
EXPERIMENT = Experiment(
    name="atari100k",
    groups=(Group(PRESET, TASKS, pixels=True, frames=400_000, repeat=4),),
    seeds=SEEDS,
)
PUBLISHED = EXPERIMENT.published()

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
