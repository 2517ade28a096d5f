"""MuZero and EfficientZero: acting by search in the learned model, and one update.

Three nets (see `peer_lightzero.NETS`), PUCT over 50 simulations with noise, batches of
256 windows unrolled 5 steps, 601 bins, Adam; targets are given, nothing is reanalysed.
An update is one call of the compiled `update`, acting one of `act`, its result fetched.
With `--peer` and a Python that has LightZero (see `peer_lightzero.py`), both sides take
turns on the same processor; ratios are ours / theirs, both per CPU second. `net` is as
many steps of the model and its heads as a search makes, without a tree.

    taskset -c 0 python -m benchmarks.muzero [--peer PYTHON] [--nets mlp]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import wm
from benchmarks import record
from benchmarks.peak import matmul_peak
from benchmarks.peer_lightzero import (
    ALPHA,
    BATCH,
    BINS,
    ENVS,
    HEAD,
    MOVES_SIMULATIONS,
    NETS,
    NOISE,
    PLANES,
    SIMULATIONS,
    UNROLL,
    Peer,
)
from benchmarks.search import deepest, unsearched
from wm.agents import efficientzero, muzero
from wm.models.value_equivalent import ValueEquivalentConfig
from wm.models.value_prefix import ValuePrefixConfig
from wm.planners.mcts import MCTSConfig
from wm.train import workload
from wm.types import ArraySpec, Batch, EnvSpec, Index, TimeStep

AGENTS = {"muzero": muzero.MuZero, "efficientzero": efficientzero.EfficientZero}
GAMES, MOVES = 64, 8
"""Of self-play: at once, and in one call."""
KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to measure."""

    name: str
    line: str
    """For the table."""
    unit: str
    run: Callable[[], object]
    count: float
    """Units of what is done once."""
    peer: str | None
    """What LightZero is asked for."""
    more: dict
    """Further entries of the row."""
    repeated: int = 1
    """Times that one call of ours does what one of theirs does."""
    work: float = 0.0
    """FLOP of one call, where it is mostly products."""


def main() -> None:
    """Measure the nets that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="*", default=["mlp", "board"], choices=NETS)
    parser.add_argument("--cases", nargs="*", default=[*CASES], choices=CASES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a repeat")
    parser.add_argument("--peer", help="a Python that has LightZero")
    args = parser.parse_args()
    for net in args.nets:
        peer = Peer(args.peer, net) if args.peer else None
        for case in cases(net, args.cases):
            report(case, peer, args.repeats, args.seconds)
        if peer:
            peer.close()


def cases(net: str, names: list[str]):
    """One after another, so that each is freed before the next."""
    for name in names:
        for case in CASES[name](net):
            yield case()


def report(case: Case, peer: Peer | None, repeats: int, seconds: float) -> None:
    """Units per second of both sides, in turn; a first round does not count."""
    ours, theirs, peaks = [], [], []
    more, clock = dict(case.more), "cpu_s" if record.ON_CPU else "wall_s"
    for repeat in range(-1, repeats):
        found = timed(case.run, seconds) / case.repeated
        if repeat >= 0:
            ours.append(found)
        if case.work:
            peaks.append(matmul_peak())
        if peer and case.peer:
            answer = peer.ask(case.peer, seconds)
            more["peer_parameters"] = answer["parameters"]
            if repeat >= 0:
                theirs.append(answer[clock])
    if case.work:
        more["gflops"] = case.work / statistics.median(ours) / 1e9
        more["peak_gflops"] = max(peaks)
    if theirs:
        more["peer_seconds"] = theirs
    rate = lambda times: case.count / statistics.median(times) if times else None
    row = record.row(case.name, case.line, rate(ours), case.unit, rate(theirs), **more)
    record.record("muzero.json", [{**row, "seconds": ours}])


def timed(call: Callable[[], object], seconds: float) -> float:
    """Seconds of one call, done for about `seconds`; the first call is apart."""
    jax.block_until_ready(call())
    start, count = record.clock(), 0
    while not count or record.clock() - start < seconds:
        jax.block_until_ready(call())
        count += 1
    return (record.clock() - start) / count


def acting(net: str, envs: int) -> Case:
    """Search from `envs` observations and draw their actions."""
    agent, actor = built(net, "muzero")
    timestep, carry = observed(agent.spec, (envs,)), agent.start(actor, envs)
    act = jax.jit(lambda actor, *args: agent.act(actor, *args, "train")[:2])
    run = lambda: np.asarray(act(actor, KEY, carry, timestep)[1])
    state = agent.model.observe(actor, KEY, carry[0], carry[1], timestep)
    tree = jax.jit(agent.search.search)(actor, KEY, state).search_tree
    more = {"parameters": size(actor), "depth": deepest(tree)}
    line = f"{net}, B {envs}, {SIMULATIONS} simulations"
    count = envs * SIMULATIONS
    unit = f"simulations/{record.UNIT}"
    return Case("muzero/act", line, unit, run, count, f"act{envs}", more)


def stepping(net: str, envs: int) -> Case:
    """As many steps of the model with its heads, without a tree."""
    agent, actor = built(net, "muzero")
    carry, timestep = agent.start(actor, envs), observed(agent.spec, (envs,))
    state = agent.model.observe(actor, KEY, carry[0], carry[1], timestep)
    run = unsearched(agent.model, agent.model.heads, SIMULATIONS)
    line = f"{net}, B {envs}, {SIMULATIONS} steps"
    unit, count = f"steps/{record.UNIT}", envs * SIMULATIONS
    call = lambda: run(actor, agent.model.bare(state))
    return Case("muzero/net", line, unit, call, count, None, {})


def learning(net: str, name: str, peer: str) -> Case:
    """One update; `peer` may be another net's."""
    agent = agent_of(net, name)
    # Copied: parts of a fresh state are one array, which cannot be donated twice.
    state = jax.tree.map(jnp.copy, agent.init(KEY))
    batch = {"replay": windows(agent)}
    work = workload.count(agent.update, state, KEY, batch)
    update = jax.jit(lambda *args: agent.update(*args)[0], donate_argnums=0)
    more = {"parameters": size(state.params)}

    def run():
        nonlocal state
        state = update(state, KEY, batch)
        return state

    line = f"{net}, batch {BATCH}, unroll {UNROLL}"
    if peer == "preset":
        line += ", theirs MuZero's cart-pole preset"
    unit = f"updates/{record.UNIT}"
    return Case(f"{name}/update", line, unit, run, 1, peer, more, work=work)


def playing() -> Case:
    """Moves of self-play in connect four, rules included; LightZero's without rules."""
    agent, actor = built("board", "muzero", MOVES_SIMULATIONS)
    batched = wm.batch(wm.env("pgx/connect_four"))

    def move(loop, key):
        state, timestep, carry = loop
        carry, action, _ = agent.act(actor, key, carry, timestep, "train")
        return (*batched.step(state, action), carry), None

    loop = (*batched.reset(KEY, GAMES), agent.start(actor, GAMES))
    keys = jax.random.split(KEY, MOVES)
    play = jax.jit(lambda loop: jax.lax.scan(move, loop, keys)[0])
    line = f"connect four, {GAMES} games, {MOVES_SIMULATIONS} simulations"
    unit = f"positions/{record.UNIT}"
    more = {"parameters": size(actor)}
    what = f"play{GAMES}"
    return Case("muzero/play", line, unit, lambda: play(loop), GAMES, what, more, MOVES)


def agent_of(net: str, name: str, simulations: int = SIMULATIONS):
    """The agent as LightZero's policy is set."""
    return AGENTS[name](spec_of(net), config_of(net, name, simulations))


def built(net: str, name: str, simulations: int = SIMULATIONS):
    """An agent, and parameters whose values and policies are not all alike."""
    agent = agent_of(net, name, simulations)
    actor = agent.actor(agent.init(KEY))
    keys = iter(jax.random.split(KEY, len(jax.tree.leaves(actor))))
    drawn = lambda x: (
        0.1 * jax.random.normal(next(keys), x.shape)
        if x.ndim == 2 and not x.any()
        else x
    )
    return agent, jax.tree.map(drawn, actor)


def spec_of(net: str) -> EnvSpec:
    """Of random data, or of the game."""
    if net == "board":
        return wm.env("pgx/connect_four").spec
    sizes = NETS[net]
    kind = "uint8" if net == "atari" else "float32"
    action = ArraySpec((), "int32", classes=sizes["actions"])
    return EnvSpec(ArraySpec(sizes["shape"], kind), action, name=net)


def config_of(net: str, name: str, simulations: int):
    """What LightZero's policy is set to, in our words."""
    sizes = NETS[net]
    model = {
        "head_units": HEAD,
        "value_bins": BINS,
        "reward_bins": BINS,
        "planes": PLANES,
        "stretch": False,
    }
    if net == "mlp":
        model |= {"units": sizes["latent"], "latent": sizes["latent"]}
    else:
        form = "downsample" if net == "atari" else "conv"
        model |= {"form": form, "units": sizes["channels"], "residual": True}
        model |= {"downsample": (1, 1, 1)}
    search = MCTSConfig(
        simulations,
        "puct",
        1.0 if net == "board" else 0.997,
        statistics="tree",
        noise=NOISE,
        noise_alpha=ALPHA,
    )
    shared = {
        "search": search,
        "unroll": UNROLL,
        "value_scale": 0.25,
        # PyTorch adds 1e-4 θ to the gradient: half of that times ‖θ‖².
        "weight_decay": 5e-5,
        "learning_rate": 3e-3,
        "max_norm": 10.0,
        "priority_exponent": 0.0,
        "reanalyse": 0.0,
        "fresh_values": False,
    }
    if name == "muzero":
        return muzero.Config(model=ValueEquivalentConfig(**model), **shared)
    model |= {"memory": sizes["memory"], "projection": 1_024, "bottleneck": 512}
    return efficientzero.Config(model=ValuePrefixConfig(**model), **shared)


def observed(spec: EnvSpec, shape: tuple[int, ...]) -> TimeStep:
    """Random observations in the middle of an episode, on the host."""
    generator = np.random.default_rng(0)
    seen = generator.uniform(size=(*shape, *spec.observation.shape))
    if spec.observation.dtype == "uint8":
        seen = 255 * seen
    if spec.observation.dtype == "bool":
        seen = seen > 0.5
    turn = -1.0 if spec.players == 2 else 1.0
    flags = np.zeros(shape, bool)
    return TimeStep(
        observation=seen.astype(spec.observation.dtype),
        reward=generator.normal(size=shape).astype(np.float32),
        discount=np.full(shape, turn, np.float32),
        is_first=flags,
        is_last=flags,
        legal=np.ones((*shape, spec.action.classes), bool) if spec.legal else None,
    )


def windows(agent) -> Batch:
    """Random windows with what a search had found, on the device."""
    shape, actions = (BATCH, agent.window), agent.spec.action.classes
    generator = np.random.default_rng(0)
    zeros = np.zeros(shape, np.int32)
    policy = generator.dirichlet([1.0] * actions, shape).astype(np.float32)
    value = generator.normal(size=shape).astype(np.float32)
    return jax.tree.map(
        jnp.asarray,
        Batch(
            timestep=observed(agent.spec, shape),
            action=generator.integers(0, actions, shape).astype(np.int32),
            extras={"policy": policy, "value": value},
            index=Index(zeros, zeros),
            probability=np.full(BATCH, 1e-3, np.float32),
        ),
    )


def size(params) -> int:
    """Numbers in a tree of parameters."""
    return sum(x.size for x in jax.tree.leaves(params))


CASES: dict[str, Callable[[str], list[Callable[[], Case]]]] = {
    "act": lambda net: [lambda n=n: acting(net, n) for n in ENVS],
    "net": lambda net: [lambda n=n: stepping(net, n) for n in ENVS],
    "muzero": lambda net: [lambda: learning(net, "muzero", "muzero")],
    "efficientzero": lambda net: [
        lambda: learning(net, "efficientzero", "efficientzero")
    ],
    "preset": lambda net: (
        [lambda: learning(net, "efficientzero", "preset")] if net == "mlp" else []
    ),
    "play": lambda net: [playing] if net == "board" else [],
}
"""What is measured, each built when its turn comes."""


if __name__ == "__main__":
    main()
