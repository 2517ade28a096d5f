"""Costs of `wm train` lines: `python -m wm.cli_cost`, asked by `wm sweep`.

Command lines come in and costs go out as JSON, one list each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from wm.errors import RunError, UserError
from wm.sweep.packing import Cost


def cost(words: Sequence[str]) -> Cost | None:
    """Of one `wm train` line with one seed; builds agent and environment."""
    import jax

    from wm.cli_train import typed
    from wm.train.dry import occupied

    words = list(words[1:])
    if "--seeds" in words:
        words[words.index("--seeds") + 1] = "1"
    try:
        agent, env, given = typed(words)
        need = occupied(agent, env, **given)
    except (UserError, RunError):
        return None
    total = need.replay + need.learner + need.tree
    devices, on_host = len(jax.devices()), need.host_free is not None
    if not on_host:
        return Cost(total, 0, need.free, None, devices)
    on_device = total - need.replay
    return Cost(on_device, need.replay, need.free, need.host_free, devices)


def main() -> int:
    """Answer one request."""
    lines = json.loads(sys.stdin.read())
    stdout, sys.stdout = sys.stdout, sys.stderr
    answers = [cost(words) for words in lines]
    stdout.write(json.dumps(answers) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
