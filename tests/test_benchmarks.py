"""What figures rest on: nets of the same size on both sides, who talks to whom."""

import json

import jax
import pytest

from benchmarks import collectives, muzero, record


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


@pytest.mark.parametrize(
    ("written", "groups"),
    [
        ("replica_groups={{0,1},{2,3}}", [(0, 1), (2, 3)]),
        ("replica_groups={}", [(0, 1, 2, 3)]),
        ("replica_groups=[2,2]<=[4]", [(0, 1), (2, 3)]),
        ("replica_groups=[2,2]<=[2,2]T(1,0)", [(0, 2), (1, 3)]),
        ("replica_groups=mesh['a'=2,'b'=2] {'b'}", [(0, 1), (2, 3)]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}", [(0, 2), (1, 3)]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a','b'}", [(0, 1, 2, 3)]),
        ("source_target_pairs={{0,3},{1,2}}", [(0, 3), (1, 2)]),
    ],
)
def test_who_talks_to_whom(written, groups):
    head = "HloModule a, num_partitions=4\n"
    line = f"%x = f32[2]{{0}} all-reduce(%y), channel_id=1, {written}, to_apply=%add"
    found = collectives.partners(f"{head}{line}\n%z = f32[2]{{0}} add(%x, %x)")
    assert found == {frozenset(group) for group in groups}
    apart = all(set(group) in ({0, 1}, {2, 3}) for group in groups)
    assert collectives.across(f"{head}{line}", [{0, 1}, {2, 3}]) == [8.0] * (not apart)


def test_a_group_that_cannot_be_read_is_no_silence():
    line = "%x = f32[2]{0} all-gather(%y), replica_groups=mesh['a'=4] {'a':(1)2}"
    with pytest.raises(ValueError, match="who talks to whom"):
        collectives.partners(line)
