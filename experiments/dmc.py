"""DeepMind Control: 18 tasks from vectors at 500k steps, 20 from pixels at 1M.

    wm sweep experiments/dmc.py --dry
    python experiments/dmc.py --print
    python experiments/dmc.py --task dmc_proprio:walker_walk --seeds 5
    python experiments/dmc.py --task quadruped_run          # from pixels only

Published: DreamerV3, Tables 11 and 12; their proprioceptive runs are those of the 2023
version. From pixels an OpenGL library is needed.
"""

import sys

from wm.report.cells import EXPERIMENTS

EXPERIMENT = EXPERIMENTS["dmc"]
PUBLISHED = EXPERIMENT.published()

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
