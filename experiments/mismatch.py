"""Objective mismatch: does a better model make a better controller?

    python experiments/mismatch.py --out runs/mismatch
    python experiments/mismatch.py --seeds 1 --trials 4     # a shorter look

PETS on its cart-pole swing-up, preset `swingup`, with deterministic (DE) and with
Gaussian networks (PE). Every trial, an episode of 50 steps, ends with a checkpoint and
an evaluation; `wm.diagnose` sets likelihood, one-step error and 20-step open-loop error
of all of them beside the returns. Figures: docs/diagnose.md.

Source: Lambert et al. 2020 (there PETS on cart-pole too; DE beside PE is ours).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import wm
from wm.train.schedule import Schedule

STEPS = 50
"""Of a trial."""
NETWORKS = {"de": False, "pe": True}


def train(out: Path, networks: str, trials: int, seeds: int, episodes: int):
    """A run with a checkpoint and an evaluation after every trial."""
    env = wm.env("classic/cartpole_swingup")
    settings = {"model.gaussian": NETWORKS[networks]}
    agent = wm.agent("pets", env.spec, preset="swingup", **settings)
    schedule = Schedule(
        **{
            **agent.schedule,
            "total": (trials + 1) * STEPS,  # the first one is random
            "save_steps": STEPS,
            "keep_checkpoints": None,
            "eval_steps": STEPS,
            "eval_episodes": episodes,
        }
    )
    about = {"system": "pets", "preset": "swingup"}
    return wm.train(agent, env, schedule, seeds=seeds, out=out / networks, about=about)


def main() -> int:
    """Train both, diagnose them together, and say which measure ranks best."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/mismatch"))
    parser.add_argument("--trials", type=int, default=8, help="planned episodes (8)")
    parser.add_argument("--seeds", type=int, default=3, help="per kind of network (3)")
    parser.add_argument("--episodes", type=int, default=8, help="per evaluation (8)")
    given = parser.parse_args()
    chosen = given.trials, given.seeds, given.episodes
    runs = [train(given.out, name, *chosen) for name in NETWORKS]
    # The checkpoint of the first trial holds a model that was never fitted.
    found = wm.diagnose(runs, since=2 * STEPS, episodes=given.episodes, quiet=True)
    for one in found.correlations:
        print(
            f"{one.run or 'both':>5} {one.data:<7} {one.measure:<10} n {one.points:<3} "
            f"rho {one.rho.value:+.2f} ({one.rho.low:+.2f} to {one.rho.high:+.2f})"
        )
    print(f"report: {found.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
