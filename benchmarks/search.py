"""Tree search in connect four: what the tree itself costs beside rules and net.

python -m benchmarks.search [gumbel|puct|depth|play …]
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np

import wm
from benchmarks.record import measure, record, row
from wm.planners.mcts import MCTSConfig, mcts

ENV = "pgx/connect_four"
BATCHES, SIMULATIONS = (1, 8, 64), (16, 32, 64)
DEPTHS = (4, None)
KEY = jax.random.key(0)


def setting(batch: int):
    """Agent, parameters, and model states after four random moves."""
    env = wm.env(ENV, rules=True)
    agent = wm.agent("alphazero", env.spec, preset="connect_four")
    actor = agent.actor(agent.init(KEY))
    batched = wm.batch(env)
    state, timestep = batched.reset(KEY, batch)
    step = jax.jit(batched.step)
    for move in range(4):
        columns = jax.random.randint(jax.random.fold_in(KEY, move), (batch,), 0, 7)
        state, timestep = step(state, columns)
    root = agent.rules.observe({}, KEY, None, None, timestep)
    return agent, actor, batched, timestep, root


def searched(agent, config: MCTSConfig):
    """The compiled search."""
    policy = mcts(agent.rules, agent.heads, config)
    return jax.jit(lambda actor, root: policy.search(actor, KEY, root))


def unsearched(model, heads, simulations: int):
    """As many steps of the rules or a model, each with the net, without a tree."""

    def run(actor, root):
        def body(state, key):
            logits, value, _ = heads(actor, key, state)
            if state.legal is not None:
                logits = jnp.where(state.legal, logits, -jnp.inf)
            action = jnp.argmax(logits, -1)
            state, prediction = model.step(actor, key, state, action)
            # Returned, so that nothing is left out of the program.
            return state, (value, prediction)

        keys = jax.random.split(KEY, simulations + 1)
        return jax.lax.scan(body, root, keys)

    return jax.jit(run)


def costs(method: str) -> None:
    """Seconds of a search and of its rules and nets alone, over sizes."""
    rows = []
    for batch in BATCHES:
        agent, actor, _, _, root = setting(batch)
        for simulations in SIMULATIONS:
            config = MCTSConfig(simulations, method, considered=7, statistics="bounds")
            search = searched(agent, config)
            bare = unsearched(agent.rules, agent.heads, simulations)
            # In turn and the least of each: the clock of shared machines wanders.
            calls = (lambda: search(actor, root)), (lambda: bare(actor, root))
            times = [[], []]
            for warmup in (1, *[0] * 9):
                for call, found in zip(calls, times, strict=True):
                    found.append(measure(call, 1, warmup))
            seconds, without = map(min, times)
            case = f"{method}, B {batch}, {simulations} simulations"
            depth = deepest(search(actor, root).search_tree)
            rows.append(
                row("search", case, 1e3 * seconds, "ms", 1e3 * without, depth=depth)
            )
            rows.append(
                row("share of the tree", case, float(1 - without / seconds), "of 1")
            )
    record("search.json", rows)


def deepest(tree) -> list[float]:
    """Depth of the deepest leaf: mean over rows, and the greatest."""
    parents = np.asarray(tree.parents)
    depth = np.zeros(parents.shape, int)
    for node in range(1, parents.shape[1]):
        depth[:, node] = depth[np.arange(len(parents)), parents[:, node]] + 1
    most = depth.max(1)
    return [float(most.mean()), float(most.max())]


def depths() -> None:
    """Searches with and without a bound on depth, 64 rows, 32 simulations; all of them
    in turn, so that a wandering clock meets each."""
    agent, actor, _, _, root = setting(64)
    kinds = {
        "gumbel": {"method": "gumbel"},
        "puct, siblings": {"method": "puct", "statistics": "siblings"},
        "puct, bounds": {"method": "puct", "statistics": "bounds"},
    }
    calls, times = {}, {}
    for name, settings in kinds.items():
        for depth in DEPTHS:
            config = MCTSConfig(32, considered=7, max_depth=depth, **settings)
            case = f"{name}, max_depth {depth}"
            calls[case], times[case] = searched(agent, config), []
    for warmup in (1, *[0] * 14):
        for case, call in calls.items():
            found = measure(lambda call=call: call(actor, root), 1, warmup)
            times[case].append(found)
    rows = []
    for case, call in calls.items():
        found = deepest(call(actor, root).search_tree)
        seconds = min(times[case])
        rows.append(row("search by depth", case, 1e3 * seconds, "ms", depth=found))
    record("search.json", rows)


def play() -> None:
    """Positions per second of self-play at 32 simulations, 128 games at once."""
    rows = []
    for method in ("gumbel", "puct"):
        env = wm.env(ENV, rules=True)
        settings = {"search.simulations": 32, "search.method": method}
        agent = wm.agent("alphazero", env.spec, preset="connect_four", **settings)
        actor, batched = agent.actor(agent.init(KEY)), wm.batch(env)

        def moves(loop, key, agent=agent, actor=actor, batched=batched):
            state, timestep, carry = loop
            carry, action, _ = agent.act(actor, key, carry, timestep, "train")
            return (*batched.step(state, action), carry), None

        loop = (*batched.reset(KEY, 128), agent.start(actor, 128))
        keys = jax.random.split(KEY, 21)
        run = jax.jit(lambda loop, moves=moves: jax.lax.scan(moves, loop, keys)[0])
        seconds = measure(lambda run=run, loop=loop: run(loop), 5)
        case = f"{ENV}, {method}, 32 simulations, 128 games"
        rows.append(row("self-play", case, 128 * 21 / seconds, "positions/s"))
    record("search.json", rows)


def main() -> None:
    """What is named, or all."""
    parts = {
        "gumbel": lambda: costs("gumbel"),
        "puct": lambda: costs("puct"),
        "depth": depths,
        "play": play,
    }
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
