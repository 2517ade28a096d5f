"""DeepMind Control: 18 tasks from vectors at 500k steps, 20 from pixels at 1M.

    python experiments/dmc.py --print
    python experiments/dmc.py --task dmc_proprio:walker_walk --seeds 5
    python experiments/dmc.py --task quadruped_run          # from pixels only

Published: DreamerV3, Tables 11 and 12; their proprioceptive runs are those of the 2023
version. From pixels an OpenGL library is needed.
"""

import sys

from wm.envs.names import DMC_PROPRIO, DMC_VISION
from wm.report.experiment import Experiment, Group

PRESETS = ("dmc_proprio", "dmc_vision")
SEEDS = 5
TASKS = {
    "dmc_proprio": tuple(f"dmc/{task}" for task in DMC_PROPRIO),
    "dmc_vision": tuple(f"dmc/{task}" for task in DMC_VISION),
}
EXPERIMENT = Experiment(
    name="dmc",
    groups=(
        Group("dmc_proprio", TASKS["dmc_proprio"], pixels=False, frames=500_000),
        Group("dmc_vision", TASKS["dmc_vision"], pixels=True, frames=1_000_000),
    ),
    seeds=SEEDS,
)
PUBLISHED = EXPERIMENT.published()

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
