"""gym's MuJoCo tasks: MBPO to its published budgets, five seeds.

    wm sweep experiments/mujoco.py --dry
    python experiments/mujoco.py --print
    python experiments/mujoco.py --task Hopper --seeds 5 --out runs/mujoco
    wm train pets --env mujoco/HalfCheetah --preset halfcheetah
    wm train sac --env mujoco/Hopper --steps 125000

Published (Janner et al. 2019, Figure 2, read off): HalfCheetah 15000 at 400k steps,
Hopper 3300 at 125k, Walker2d 4300, Ant 5500 and Humanoid 5500 at 300k. The tables drawn
beside ours are model-free methods on version 4 of the same tasks; MBPO's own Ant and
Humanoid observe less (27 and 45 numbers) and earn gym's version 2 rewards.
"""

import sys

from wm.report.cells import EXPERIMENTS

EXPERIMENT = EXPERIMENTS["mujoco"]
PUBLISHED = EXPERIMENT.published()

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
