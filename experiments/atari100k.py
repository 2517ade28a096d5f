"""Atari 100k: 26 games, 400k frames, five seeds.

    wm sweep experiments/atari100k.py --dry
    python experiments/atari100k.py --print
    python experiments/atari100k.py --task Pong --seeds 5 --out runs/atari100k

Protocol: four frames per action, no sticky actions, minimal actions, 64×64 colour
(Kaiser et al. 2019, as in DreamerV3). The published DreamerV3 numbers are training
episodes that end in frames 390k to 400k; ours are separate evaluation episodes, which
`wm report --against dreamer_v3` says on the page.
"""

import sys

from wm.report.cells import EXPERIMENTS

EXPERIMENT = EXPERIMENTS["atari100k"]
PUBLISHED = EXPERIMENT.published()

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
