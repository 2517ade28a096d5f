"""Crafter and its JAX form: one million steps from pixels.

    python experiments/craftax.py --print
    python experiments/craftax.py --task classic-pixels --seeds 5
    python experiments/craftax.py --task reward             # the original, on the host

Published for Craftax-Classic: percent of the highest return, 22; here as returns.
"""

import sys

from wm.report.experiment import Experiment, Group

PRESETS = ("craftax", "crafter")
SEEDS = 5
TASKS = {"craftax": ("craftax/classic-pixels",), "crafter": ("crafter/reward",)}
EXPERIMENT = Experiment(
    name="craftax",
    groups=tuple(
        Group(preset, TASKS[preset], pixels=True, frames=1_000_000)
        for preset in PRESETS
    ),
    seeds=SEEDS,
)
PUBLISHED = EXPERIMENT.published()

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
