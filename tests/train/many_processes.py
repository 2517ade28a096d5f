"""One of several processes that train a toy; test_distributed.py starts them.

python -m tests.train.many_processes OUT STEPS
"""

from __future__ import annotations

import dataclasses
import sys

from wm.train import distributed


def main(out: str, steps: int) -> None:
    """Train, then let one process fail and the other hear of it."""
    job = distributed.begin()
    assert job is not None
    import jax

    from tests.train.test_distributed import ROLLBACK
    from tests.train.test_guard import Fails
    from tests.train.test_run import ENV, SCHEDULE
    from tests.train.toy import Toy
    from wm.errors import RunError
    from wm.train.run import train
    from wm.train.sharding import fetch, mesh, place

    assert jax.process_count() == job.count == 2
    schedule = dataclasses.replace(SCHEDULE, total=steps)
    run = train(Toy(ENV.spec), ENV, schedule, out=out, seeds=2)
    assert run.scores.shape == (2, 4)

    # One update is not finite: both go back, with the same other key.
    failing = dataclasses.replace(schedule, total=160, **ROLLBACK)
    train(Fails(ENV.spec, 30, 0.5), ENV, failing, out=f"{out}-back")

    number = jax.process_index()
    assert distributed.anywhere(number == 1)
    assert distributed.same(f"from {number}") == "from 0"
    # A larger array comes to the host in pieces.
    rows = jax.numpy.arange(4000.0).reshape(400, 10)
    at = jax.sharding.NamedSharding(mesh(data=2), jax.sharding.PartitionSpec("data"))
    assert (fetch(place(rows, at)) == rows).all()
    try:
        with distributed.together():
            if number == 1:
                raise ValueError("mine")
    except (ValueError, RunError) as error:
        print(f"{number}: {error}", flush=True)
    try:
        distributed.agree("numbers", number)
    except RunError as error:
        print(f"{number}: {error}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
