"""PETS and SAC: one plan, one step of an ensemble's fit, one update from replay.

Sizes of mbrl-lib's presets (facebookresearch/mbrl-lib 3f93ccc): CEM over 350 x 15 x 5
(cartpole) and 400 x 30 x 5 (half-cheetah) with 20 particles, 7 networks of 4 x 200 of
which 5 move particles; fits of 7 x 256 and 7 x 32 rows; MBPO's SAC of 2 x 512 and
2 x 256 on 256 transitions of 17 numbers and 6 actions, drawn from replay. GFLOP/s count
the products of the networks only; the share of the peak is of the same minute. With
`--peer` and a Python that has mbrl-lib (see `peer_mbrl.py`), its figures are taken on
the same processor between two halves of ours; ratios are theirs / ours.

    taskset -c 0 python -m benchmarks.pets [--peer PYTHON] [--cases cartpole]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks import record
from benchmarks.peak import matmul_peak
from benchmarks.peer_mbrl import ask
from wm.agents.sac import SAC
from wm.behaviors.soft_learner import SoftConfig
from wm.data.replay import Replay
from wm.models import ensemble_data, ensemble_fit
from wm.models.ensemble import Ensemble, EnsembleConfig, Particles
from wm.models.ensemble_fit import FitConfig
from wm.planners.cem import PETS, cem
from wm.planners.sequences import discounted
from wm.train import workload
from wm.types import ArraySpec, EnvSpec, Step, TimeStep

CASES = {
    "cartpole": (4, 1, {"samples": 350, "horizon": 15, "elites": 35}),
    "halfcheetah": (18, 6, {"samples": 400, "horizon": 30, "elites": 64}),
}
"""Sizes of observation and action, and of the plan."""
BATCHES = {"cartpole": 256, "halfcheetah": 32}
ENSEMBLE = EnsembleConfig(
    members=7, elites=5, layers=4, units=200, particles=20, propagation="ts1"
)
"""TS1, which is mbrl-lib's `random_model`."""
HIDDEN = {"sac512": 512, "sac256": 256}


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to measure."""

    name: str
    what: str
    """`plan`, `fit` or `sac`."""
    line: str
    """For the table."""
    run: Callable
    """`(key, *args)`; does it `count` times."""
    args: tuple
    count: int
    work: float
    """FLOP of one."""


def main() -> None:
    """Measure the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    every = [*CASES, *HIDDEN]
    parser.add_argument("--cases", nargs="*", default=every, choices=every)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", help="a Python that has mbrl-lib")
    args = parser.parse_args()
    for name in args.cases:
        cases = (
            [soft_actor_critic(name)]
            if name in HIDDEN
            else [planning(name), fitting(name)]
        )
        seconds: dict[str, list[float]] = {case.what: [] for case in cases}
        peaks, theirs = [], {}
        # Before and after the peer, so that a busy minute meets both.
        for half in range(2):
            for case in cases:
                timed(case, args.repeats, seconds[case.what], peaks)
            if args.peer and not half:
                theirs = ask(args.peer, name, args.repeats)
        for case in cases:
            peer = theirs.get(case.what, {}).get("cpu_s" if record.ON_CPU else "wall_s")
            report(case, statistics.median(seconds[case.what]), max(peaks), peer)


def model_of(name: str) -> Ensemble:
    """The ensemble of a case, with a reward that reads the observation."""
    size, actions, _ = CASES[name]
    reward = lambda o, a, n: n[0] - 0.1 * jnp.square(a).sum()
    return Ensemble(
        EnvSpec(ArraySpec((size,)), ArraySpec((actions,)), reward_fn=reward), ENSEMBLE
    )


def planning(name: str) -> Case:
    """One action, from one state."""
    size, _, sizes = CASES[name]
    model = model_of(name)
    settings = dataclasses.replace(PETS, least_variance=0.0, **sizes)
    policy = cem(model, discounted(), settings)
    params = model.init(jax.random.key(0))
    state = Particles(
        0.1 * jax.random.normal(jax.random.key(1), (1, 20, size)), jnp.ones((1, 20))
    )
    carry = policy.start(params, 1)
    act = jax.jit(lambda key, carry: policy.act(params, key, carry, state))
    moves = settings.samples * settings.horizon * settings.iterations * 20
    dealt = jnp.zeros((5, moves // 5 // settings.horizon, model.inputs))
    elite = {**params["model"], "nets": jax.tree.map(lambda w: w[:5], nets_of(params))}
    work = workload.count(model.predict, elite, dealt) * settings.horizon
    line = f"{name}: CEM {settings.samples} x {settings.horizon} x 5, 20 particles"
    return Case(name, "plan", line, act, (carry,), 1, work)


def fitting(name: str) -> Case:
    """One step of Adam on all members, in a loop of 20 as a fit runs it."""
    model, batch, steps = model_of(name), BATCHES[name], 20
    config = FitConfig(batch_size=batch, weight_decay=(1e-4,))
    params = model.init(jax.random.key(0))["model"]
    learned = ensemble_fit.learned_part(params)
    state = ensemble_fit.optimizer(config).init(learned)
    rows = batch * steps
    x = jax.random.normal(jax.random.key(1), (rows, model.inputs))
    y = jax.random.normal(jax.random.key(2), (rows, model.outputs))
    data = ensemble_data.Data(x, y, jnp.arange(rows, dtype=jnp.int32), jnp.int32(rows))
    one_pass = dataclasses.replace(config, epochs=1)
    fit = jax.jit(
        lambda key, data: ensemble_fit.fit(model, one_pass, params, state, key, data)
    )
    dealt = jnp.zeros((7, batch, model.inputs))
    target = jnp.zeros((7, batch, model.outputs))
    gradient = jax.grad(
        lambda part: ensemble_fit.loss_of(
            model, config, {**params, **part}, dealt, target, jnp.ones(batch)
        )
    )
    work = workload.count(gradient, learned)
    return Case(name, "fit", f"{name}: 7 x {batch}", fit, (data,), steps, work)


def soft_actor_critic(name: str) -> Case:
    """One update on a batch from replay, in a loop of 20 as training runs it."""
    steps, N, rows, size, actions = 20, 256, 8, 17, 6
    spec = EnvSpec(ArraySpec((size,)), ArraySpec((actions,)))
    agent = SAC(spec, SoftConfig(layers=(HIDDEN[name],) * 2))
    state = agent.init(jax.random.key(0))
    replay = Replay(10_000, 2, newest_first=False)
    normal = lambda *shape: jax.random.normal(jax.random.key(1), shape)
    flags = jnp.zeros((rows,), bool)
    timestep = TimeStep(normal(rows, size), normal(rows), jnp.ones(rows), flags, flags)
    step = Step(timestep, normal(rows, actions), {})
    many = jax.tree.map(lambda x: jnp.repeat(x[:, None], 1_000, 1), step)
    stored = replay.add(replay.init(step), many, timestep)

    @jax.jit
    def learn(key, state, stored):
        def body(state, key):
            key_sample, key_update = jax.random.split(key)
            _, batch = replay.sample(stored, key_sample, N, 2)
            state, _, metrics = agent.update(state, key_update, {"replay": batch})
            return state, metrics

        return jax.lax.scan(body, state, jax.random.split(key, steps))

    batch = replay.sample(stored, jax.random.key(0), N, 2)[1]
    work = workload.count(agent.update, state, jax.random.key(0), {"replay": batch})
    line = f"2 x {HIDDEN[name]}, batch {N}"
    return Case(name, "sac", line, learn, (state, stored), steps, work)


def nets_of(params) -> dict:
    """Networks of all members."""
    return params["model"]["nets"]


def timed(case: Case, repeats: int, seconds: list[float], peaks: list[float]) -> None:
    """Seconds of one, and the matmul rates seen beside them; the first is dropped."""
    for repeat in range(-1, repeats):
        peaks.append(matmul_peak())
        start = record.clock()
        jax.block_until_ready(case.run(jax.random.key(repeat + 1), *case.args))
        if repeat >= 0:
            seconds.append((record.clock() - start) / case.count)


def report(case: Case, seconds: float, peak: float, peer: float | None) -> None:
    """Seconds against the peer's, and the share of the peak."""
    name, row = f"pets/{case.what}", record.row
    rate = case.work / seconds / 1e9
    record.record(
        "pets.json",
        [
            row(name, case.line, seconds, record.UNIT, peer, peer and peer / seconds),
            row(f"{name}_rate", case.line, rate, "GFLOP/s", peak),
        ],
    )


if __name__ == "__main__":
    main()
