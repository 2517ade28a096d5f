"""Crafter and its JAX form: one million steps from pixels.

    wm sweep experiments/craftax.py --dry
    python experiments/craftax.py --print
    python experiments/craftax.py --task classic-pixels --seeds 5
    python experiments/craftax.py --task reward             # the original, on the host

Published for Craftax-Classic: percent of the highest return, 22; here as returns.
"""

import sys

from wm.report.cells import EXPERIMENTS

EXPERIMENT = EXPERIMENTS["craftax"]
PUBLISHED = EXPERIMENT.published()

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
