"""Checks that need eight devices, for processes that test_mesh.py starts.

    python -m tests.train.many_devices NAME …

A compiled interval is one call and is waited for: CPU devices of one process would
block each other if several calls were under way.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from benchmarks.collectives import across, partners, traffic
from tests.models.tiny import CONFIG, random_like
from tests.train.test_loop import assert_same
from tests.train.toy import Toy
from wm import envs
from wm.agents.dqn import DQN
from wm.agents.dreamer_v3 import DreamerV3
from wm.agents.ppo import PPO
from wm.train import memory
from wm.train.device import DeviceRunner
from wm.train.loop import loop_of
from wm.train.population import Population
from wm.train.run import train
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys
from wm.train.sharding import Layout

SCHEDULE = Schedule(
    total=640,
    envs=8,
    batch_size=8,
    batch_length=4,
    train_ratio=4.0,
    prefill=64,
    replay=512,
    log_steps=80,
    eval_episodes=8,
    replay_parts=8,
)
SYSTEMS = {
    "toy": Toy,
    "dreamer_v3": lambda spec: DreamerV3(spec, CONFIG),
    "ppo": lambda spec: PPO(
        spec, PPO.Config(**{"layers": (16, 16), "minibatches": 2, "shuffle_parts": 8})
    ),
    "dqn": lambda spec: DQN(spec, DQN.Config(layers=(16, 16))),
    "population": lambda spec: Population(Toy(spec), {"rate": (0.1, 0.02)}),
}
CHUNKS = 4


def runner_of(system, layout=None, seeds=1, mode=None):
    env = envs.make("gymnax/CartPole-v1")
    schedule = SCHEDULE
    if system == "ppo":
        changes = {"chunk": 8, "updates": 1, "replay_parts": 1}
        schedule = dataclasses.replace(schedule, **changes)
    loop = loop_of(SYSTEMS[system](env.spec), schedule)
    keys, rows = seed_keys(0, seeds), getattr(loop.agent, "rows", None)
    return DeviceRunner(loop, env, Seeds(keys, mode, rows=rows, mesh=layout))


def trained(runner, states):
    """States after the prefill and some chunks, and the report."""
    count = runner.seeds.count
    states = runner.prefill(states, [runner.loop.prefill_chunks] * count)
    return runner.interval(states, [CHUNKS] * count, [0] * count)


def beginnings(runner):
    """Numpy states of all seeds, none of whose parameters is zero: where nothing
    depends on a parameter yet, the optimizers that divide by the size of a gradient
    would blow its rounding up."""
    found = []
    for seed, state in enumerate(runner.init()):
        shared = hasattr(state.agent, "agent")  # a member of a population
        learner = state.agent.agent if shared else state.agent
        learner = learner.replace(params=random_like(learner.params, seed))
        whole = state.agent.replace(agent=learner) if shared else learner
        found.append(state.replace(agent=whole))
    return found


def same_as_one_device(system, layout, tolerance, seeds=1):
    """Metrics, learner, environments and replay after `CHUNKS` chunks."""
    alone, ours = runner_of(system, None, seeds), runner_of(system, layout, seeds)
    begin = beginnings(alone)
    ours_begin = ours.restore(begin, {})
    states, report = trained(ours, ours_begin)
    expected, wanted = trained(alone, begin)
    for name in wanted:
        np.testing.assert_allclose(
            report[name], wanted[name], tolerance, tolerance, err_msg=name
        )
    for seed in range(seeds):
        assert_same(ours.seeds.pick(states, seed), expected[seed], tolerance)
        assert int(expected[seed].updates) > 0
    return ours, states


def toy():
    """Eight devices share everything of a seed; then it goes on with one, and four."""
    ours, states = same_as_one_device("toy", Layout(data=8), 1e-5)
    mesh, shapes = ours.seeds.mesh, ours.shapes()
    state = states[0]
    assert state.timestep.reward.sharding.spec == P("data")
    ring = state.buffer.ring.columns
    assert all(x.sharding.spec == P("data") for x in jax.tree.leaves(ring))
    assert state.agent.params["model"].sharding.is_fully_replicated
    whole, part = memory.need(shapes, 1), memory.need(shapes, 1, mesh=mesh)
    assert part.replay < whole.replay / 7
    # A view of a shard is the size that was predicted.
    held = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(ring))
    assert abs(held - part.replay) < 32, (held, part.replay)
    assert ours.evaluate(states, 8).returns.shape == (1, 8)

    saved = ours.saved(states, 0)
    for layout in (None, Layout(data=4)):
        other = runner_of("toy", layout)
        # Copies, for what a run goes on from is consumed.
        again = other.restore([jax.tree.map(jnp.copy, saved)], {})
        assert_same(other.saved(again, 0), saved)
        again, report = other.interval(again, [2], [0])
        if layout is None:
            wanted = report
        np.testing.assert_allclose(report["loss/total"], wanted["loss/total"], 1e-5)


def seeds():
    """Two groups of two seeds, each group on two devices."""
    layout = Layout(seed=2, data=2)
    ours, states = same_as_one_device("toy", layout, 1e-5, seeds=4)
    assert ours.seeds.mode == "shard"
    assert ours.evaluate(states, 8).returns.shape == (4, 8)
    # Nothing of one group is sent to the other but whether it has to stop.
    text = ours.program("train", None, states, 2).executable.as_text()
    assert len(partners(text)) == 4, partners(text)
    assert across(text, [{0, 1}, {2, 3}]) == [4.0]
    # Where rows of a seed are on all four, gradients are sent between them.
    other = runner_of("toy", Layout(data=4))
    program = other.program("train", other.stretch, other.init(), 2)
    sent = across(program.executable.as_text(), [{0, 1}, {2, 3}])
    assert sum(sent) > memory.size_bytes(states.agent.params) / 4, sent


def population():
    """Rows with settings of their own: apart, and one after another on all devices."""
    for layout in (Layout(seed=2), Layout(data=8)):
        _, states = same_as_one_device("population", layout, 1e-5, seeds=2)
    rates = [float(state.agent.hypers["rate"]) for state in states]
    np.testing.assert_allclose(rates, [0.1, 0.02])


def recheck():
    """A run on a mesh, its last stretch again on as many devices: equal bits."""
    env = envs.make("gymnax/CartPole-v1")
    schedule = dataclasses.replace(SCHEDULE, total=320, save_steps=160)
    for layout, seeds in ((Layout(data=8), 1), (Layout(seed=2), 2)):
        with tempfile.TemporaryDirectory() as out:
            more = {"mesh": layout, "seeds": seeds, "quiet": True}
            found = train(Toy(env.spec), env, schedule, out=out, **more).check()
        assert not found.differences, found.differences
        assert 160 <= found.start < 320 <= found.end
        assert found.rows >= 2 * seeds


def dqn():
    same_as_one_device("dqn", Layout(data=8), 1e-4)


def ppo():
    """Eight parts, so that nothing but sums goes between devices."""
    ours, states = same_as_one_device("ppo", Layout(data=8), 1e-4)
    sent = traffic(ours.program("train", None, states, 2).executable.as_text())
    assert sent.bytes.get("all-gather", 0) == 0, sent


def ppo_model():
    """Both layers of both nets in four parts, the batch in two."""
    _, states = same_as_one_device("ppo", Layout(data=2, model=4), 1e-4)
    params = states[0].agent.params["critic"]
    assert params["layer0"]["kernel"].sharding.spec == P(None, "model")
    assert params["layer1"]["kernel"].sharding.spec == P("model", None)


def dreamer():
    ours, states = same_as_one_device("dreamer_v3", Layout(data=8), 2e-3)
    # The batch stays split throughout: no activation is gathered, nothing is drawn from
    # others' replay, and gradients are summed once and not at every step.
    text = ours.program("train", None, states, 2).executable.as_text()
    sent = traffic(text)
    gradients = memory.size_bytes(states[0].agent.params)
    assert gradients <= sent.bytes["all-reduce"] < 2 * gradients, sent
    assert sent.bytes.get("all-gather", 0) < gradients / 10, sent


def dreamer_model():
    """Seeds apart, rows in two, blocks and layers of the RSSM in two."""
    layout = Layout(seed=2, data=2, model=2)
    _, states = same_as_one_device("dreamer_v3", layout, 2e-3, seeds=2)
    core = states.agent.params["model"]["core"]
    assert core["hidden0"]["kernel"].sharding.spec == P("seed", "model")
    assert core["deter"]["kernel"].sharding.spec == P("seed", None, "model")


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    for name in sys.argv[1:]:
        globals()[name]()
        print(name, "same", flush=True)
