"""Bytes that a run will occupy: what is counted, and what is refused."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm import envs
from wm.agents.alphazero import AlphaZero
from wm.agents.q_learning import QLearning
from wm.agents.sac import SAC
from wm.errors import RunError
from wm.nodes import Node
from wm.planners.mcts import MCTSConfig
from wm.train import memory, tally, workload
from wm.train.device import state_shapes
from wm.train.dry import occupied
from wm.train.estimate import LEAST_S, Measured
from wm.train.loop import Loop, loop_of
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys
from wm.train.workload import Work


class Agent(Node):
    actor: dict
    target: dict
    optimizers: tuple


def test_params_are_neither_an_optimizers_nor_slow_copies():
    state = Agent({"w": jnp.ones(3)}, {"w": jnp.ones(3)}, ({"m": jnp.ones(6)},))
    assert memory.size_bytes(tally.params_of(state)) == 12
    assert tally.optimizer_bytes(state) == 24


def test_a_tree_is_a_model_state_per_node_and_row():
    pytest.importorskip("pgx")
    # Of a node: the rules' state, statistics of 9 actions and a few of its own. Twice
    # the nodes or rows: nearly twice the bytes.
    env = envs.make("pgx/tic_tac_toe", rules=True)
    agent = lambda n: AlphaZero(env.spec, AlphaZero.Config(search=MCTSConfig(n)))
    loop = lambda n: loop_of(agent(n), Schedule(envs=4, replay=5_000))
    shapes = state_shapes(loop(8), env)
    small = tally.tree(loop(8), shapes, 1)
    assert small >= (8 + 1) * memory.size_bytes(shapes.timestep.private)
    assert tally.tree(loop(17), shapes, 1) == pytest.approx(2 * small, rel=0.1)
    # Evaluation has 8 rows: the larger of both counts.
    assert tally.tree(loop(8), shapes, 8) == pytest.approx(2 * small, rel=0.1)


class Searching:
    """An agent whose loops carry known arrays: 100 numbers per row."""

    class Config(NamedTuple):
        search: Any = MCTSConfig(1)
        reanalyse: float = 0.0

    def __init__(self, reanalyse=0.0):
        self.config = self.Config(reanalyse=reanalyse)

    def batches(self, schedule):
        return {"replay": (8, 2), "reanalyse": (16, 4)}

    def searched(self, rows):
        grow = lambda i, tree: tree + i
        return jax.lax.fori_loop(0, 5, grow, jnp.zeros((rows, 100)))

    def actor(self, state):
        return state

    def act(self, actor, key, carry, timestep, mode):
        if mode != "prefill":
            self.searched(timestep.reward.shape[0])

    def update(self, state, key, batches):
        return self.searched(batches["replay"].shape[0])

    def reanalyse(self, state, key, batch):
        return self.searched(batch.shape[0])


class Drawn:
    def sample(self, buffer, key, N, L):
        return buffer, jnp.zeros((N, L))


@pytest.mark.parametrize(
    ("share", "steps", "rows"), [(0.0, None, 4), (0.5, None, 8), (0.0, 100, 16)]
)
def test_what_is_searched_anew_counts(share, steps, rows):
    schedule = Schedule(envs=4, reanalyse_steps=steps)
    loop = Loop(Searching(share), Drawn(), schedule)

    class Shapes(NamedTuple):
        agent: Any = ()
        carry: Any = ()
        buffer: Any = ()
        timestep: Any = Row(jnp.zeros(4))

    assert tally.tree(loop, Shapes(), 2) == pytest.approx(rows * 400, abs=16)


class Row(NamedTuple):
    reward: jax.Array


def test_what_searches_no_tree_has_none():
    env = envs.make("grid/dyna_maze")
    loop = loop_of(QLearning(env.spec), Schedule())
    assert tally.tree(loop, state_shapes(loop, env), 1) == 0


def test_a_tree_that_does_not_fit_is_refused_with_a_remedy():
    need = memory.Need(10**9, 10**9, 5 * 10**9, tree=10 * 10**9)
    with pytest.raises(RunError, match=r"tree needs 10.0 GB .* Use fewer --agent.sea"):
        memory.check(need, 1_000)
    memory.check(need._replace(tree=10**9), 1_000)
    # A tree that is not to blame still takes room from replay.
    need = memory.Need(10 * 10**9, 10**9, 5 * 10**9, tree=10**9)
    with pytest.raises(RunError, match=r"--train.replay 240$"):
        memory.check(need, 1_000)


def test_seeds_that_compute_at_once_have_a_tree_each():
    assert Seeds(seed_keys(0, 4), "vmap").at_once == 4
    assert Seeds(seed_keys(0, 1), "loop").at_once == 1


def test_a_dry_run_counts_and_trains_nothing(capsys):
    env = envs.make("classic/pendulum")
    agent = SAC(env.spec, SAC.Config(layers=(8,)))
    one = occupied(agent, env, schedule=Schedule(replay=1_000, prefill=10))
    three = occupied(agent, env, schedule=Schedule(replay=1_000, prefill=10), seeds=3)
    assert (three.replay, three.learner) == (3 * one.replay, 3 * one.learner)
    assert 0 < one.params < one.optimizer < one.learner
    assert capsys.readouterr().out == ""
    with pytest.raises(RunError, match=r"Use --train.replay"):
        occupied(agent, env, schedule=Schedule(replay=2 * 10**9, prefill=10))


class Runner:
    """Calls that take as long as they have chunks."""

    def __init__(self, clock, total):
        self.clock, self.calls, self.done = clock, [], 0
        self.loop = type("Loop", (), {})()
        self.loop.schedule = Schedule(total=total)
        self.loop.chunk_steps, self.loop.agent = 10, object()

    def work(self, states):
        return Work(3e9, 0, 0)

    def interval(self, states, chunks, clear):
        self.calls.append(max(chunks))
        # The first call takes longer than it will ever again.
        self.clock[0] += 0.01 * max(chunks) + 1.0 * (len(self.calls) == 1)
        self.done += 10 * max(chunks)
        return states, {"step": np.array([self.done])}


def test_the_estimate_comes_from_short_stretches(monkeypatch):
    clock, said = [0.0], []
    monkeypatch.setattr("wm.train.estimate.time.perf_counter", lambda: clock[0])
    runner = Runner(clock, total=100_000)
    measured = Measured(runner, lambda *words: said.append(words))
    for _ in range(5):
        measured.interval(None, [1_000], [0])
    # 1, 8, 64 chunks: only the last takes long enough; then whole intervals.
    assert 0.01 * 8 < LEAST_S < 0.01 * 64
    assert runner.calls == [1, 8, 64, 1_000, 1_000]
    # 0.64 s for 640 steps; 100,000 - 730 are left.
    assert said == [("estimate", "about 1:39 left, as measured over 640 steps")]
    assert measured.loop is runner.loop


def test_before_the_first_step_the_estimate_is_rough(monkeypatch):
    monkeypatch.setattr(workload, "speed", lambda: workload.Speed(1e-9, 0.0, 0.0))
    runner, said = Runner([0.0], total=1_000), []
    measured = Measured(runner, lambda *words: said.append(words))
    for _ in range(2):  # no chunks are no stretch
        measured.interval(None, [0], [0])
    assert runner.calls == [0, 0]
    # 3 s for each of 100 chunks.
    assert said == [
        (
            "estimate",
            "roughly 5:00, counted from the program (3.0 GFLOP per 10 steps) and not "
            "measured yet",
        )
    ]
    runner.done, said[:] = 1_000, []
    Measured(runner, lambda *words: said.append(words)).interval(None, [0], [0])
    assert not said  # nothing is left


def test_keys_count_eight_bytes():
    assert memory.size_bytes(jax.random.split(jax.random.key(0), 3)) == 24
