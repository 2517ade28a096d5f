"""PETS: one planning step and one step of the ensemble's fit, against the matmul peak.

Sizes of mbrl-lib's presets (facebookresearch/mbrl-lib 3f93ccc): CEM over 350 x 15 x 5
(cartpole) and 400 x 30 x 5 (half-cheetah) with 20 particles, 7 networks of 4 x 200 of
which 5 move particles; fits of 7 x 256 and 7 x 32 rows. GFLOP/s count the products of
the networks only; the share of the peak is of the same minute.

    taskset -c 0 python -m benchmarks.pets [--cases cartpole]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import jax
import jax.numpy as jnp

from benchmarks import flops, record
from benchmarks.peak import matmul_peak
from wm.models import ensemble_fit
from wm.models.ensemble import Ensemble, EnsembleConfig, Particles
from wm.models.ensemble_fit import FitConfig
from wm.planners.cem import PETS, cem
from wm.planners.sequences import discounted
from wm.types import ArraySpec, EnvSpec

CASES = {
    "cartpole": (4, 1, {"samples": 350, "horizon": 15, "elites": 35}),
    "halfcheetah": (18, 6, {"samples": 400, "horizon": 30, "elites": 64}),
}
"""Sizes of observation and action, and of the plan."""
BATCHES = {"cartpole": 256, "halfcheetah": 32}
ENSEMBLE = EnsembleConfig(members=7, elites=5, layers=4, units=200, particles=20)


def main() -> None:
    """Measure the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    for name in args.cases:
        planning(name, args.repeats)
        fitting(name, args.repeats)


def model_of(name: str) -> Ensemble:
    """The ensemble of a case, with a reward that reads the observation."""
    size, actions, _ = CASES[name]
    reward = lambda o, a, n: n[0] - 0.1 * jnp.square(a).sum()
    return Ensemble(
        EnvSpec(ArraySpec((size,)), ArraySpec((actions,)), reward_fn=reward), ENSEMBLE
    )


def planning(name: str, repeats: int) -> None:
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
    seconds, peak = timed(act, repeats, carry)
    moves = settings.samples * settings.horizon * settings.iterations * 20
    dealt = jnp.zeros((5, moves // 5 // settings.horizon, model.inputs))
    elite = {**params["model"], "nets": jax.tree.map(lambda w: w[:5], nets_of(params))}
    work = flops.count(model.predict, elite, dealt) * settings.horizon
    case = f"{name}: CEM {settings.samples} x {settings.horizon} x 5, 20 particles"
    report("pets/plan", case, seconds, work, peak)


def fitting(name: str, repeats: int) -> None:
    """One step of Adam on all members, in a loop of 20 as a fit runs it."""
    model, batch, steps = model_of(name), BATCHES[name], 20
    config = FitConfig(batch_size=batch, weight_decay=(1e-4,))
    params = model.init(jax.random.key(0))["model"]
    learned = ensemble_fit.learned_part(params)
    state = ensemble_fit.optimizer(config).init(learned)
    rows = batch * steps
    x = jax.random.normal(jax.random.key(1), (rows, model.inputs))
    y = jax.random.normal(jax.random.key(2), (rows, model.outputs))
    data = ensemble_fit.Data(x, y, jnp.arange(rows, dtype=jnp.int32), jnp.int32(rows))
    one_pass = dataclasses.replace(config, epochs=1)
    fit = jax.jit(
        lambda key, data: ensemble_fit.fit(model, one_pass, params, state, key, data)
    )
    seconds, peak = timed(fit, repeats, data)
    dealt = jnp.zeros((7, batch, model.inputs))
    target = jnp.zeros((7, batch, model.outputs))
    gradient = jax.grad(
        lambda part: ensemble_fit.loss_of(
            model, config, {**params, **part}, dealt, target, jnp.ones(batch)
        )
    )
    work = flops.count(gradient, learned)
    report("pets/fit_step", f"{name}: 7 x {batch}", seconds / steps, work, peak)


def nets_of(params) -> dict:
    """Networks of all members."""
    return params["model"]["nets"]


def timed(run, repeats: int, *args) -> tuple[float, float]:
    """Median seconds of a call, and the best matmul rate seen beside it."""
    seconds, peaks = [], []
    for repeat in range(-1, repeats):
        peaks.append(matmul_peak())
        start = time.perf_counter()
        jax.block_until_ready(run(jax.random.key(repeat + 1), *args))
        if repeat >= 0:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), max(peaks)


def report(name: str, case: str, seconds: float, work: float, peak: float) -> None:
    """Seconds and the share of the peak."""
    rate = work / seconds / 1e9
    record.record(
        "pets.json",
        [
            record.row(name, case, seconds, "s"),
            record.row(f"{name}_rate", case, rate, "GFLOP/s", peak),
        ],
    )


if __name__ == "__main__":
    main()
