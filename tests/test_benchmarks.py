"""What side-by-side figures rest on: both sides run nets of the same size."""

import json

import jax
import pytest

from benchmarks import muzero, record


@pytest.mark.parametrize("name", muzero.AGENTS)
def test_nets_are_as_large_as_lightzeros(name):
    rows = json.loads((record.RESULTS / "muzero.json").read_text())
    theirs = {
        row["case"].split(",")[0]: row["peer_parameters"]
        for row in rows
        if row["name"] == f"{name}/update"
        and "preset" not in row["case"]
        and row["peer_value"]
    }
    assert theirs
    for net, count in theirs.items():
        agent = muzero.agent_of(net, name)
        params = jax.eval_shape(lambda agent=agent: agent.init(muzero.KEY).params)
        assert muzero.size(params) == pytest.approx(count, rel=0.02)
