"""Every agent against its contract. Being listed is being tested."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wm
from tests.train.toy import Toy
from wm import envs
from wm.agents.table import AGENTS as SYSTEMS
from wm.envs import batch
from wm.envs.grid import Maze
from wm.train.checkpoint import Checkpoints
from wm.train.device import DeviceRunner
from wm.train.loop import Loop, loop_of, report
from wm.train.saving import joined, parts
from wm.train.schedule import Schedule
from wm.train.seeds import Seeds, seed_keys

SCHEDULE = Schedule(
    total=64,
    envs=3,
    batch_size=2,
    batch_length=4,
    train_ratio=4.0,
    prefill=24,
    replay=120,
    log_steps=24,
)


class Toll(Maze):
    """Every step costs, so that values change before the goal is found."""

    def step(self, state, action):
        state, timestep = super().step(state, action)
        paid = jnp.where(timestep.is_first, 0.0, timestep.reward - 0.1)
        return state, timestep._replace(reward=paid)


class Case(NamedTuple):
    """An agent small enough to be compiled in seconds."""

    make: Callable[[Any], Any]
    env: Any
    schedule: Schedule = SCHEDULE


def dreamer_v3(spec, **changes):
    from wm.agents.dreamer_v3 import DreamerV3

    small = {"deter": 16, "hidden": 8, "units": 8, "groups": 2, "blocks": 2}
    small |= {"bins": 15, "imagine_length": 3, "vector_layers": 1, "prior_layers": 1}
    small |= {"actor_layers": 1, "critic_layers": 1}
    return DreamerV3(spec, dataclasses.replace(DreamerV3.Config(), **small | changes))


def planning(spec):
    """The same, acting by iCEM in its model."""
    from wm.planners.choice import Planning

    icem = dataclasses.replace(Planning().icem, horizon=3, samples=8, elites=4)
    return dreamer_v3(spec, planner="icem", plan=Planning(icem=icem))


def named(system, **settings):
    return lambda spec: wm.agent(system, spec, **settings)


EVERY_STEP = Schedule(
    total=64, envs=2, chunk=2, updates=1, prefill=0, log_steps=24, replay=120
)


def baseline(system, **settings):
    return lambda spec: wm.agent(system, spec, **{"layers": (4,), **settings})


ROLLOUT = Schedule(
    total=64, envs=2, chunk=6, updates=1, prefill=0, log_steps=24, replay=120
)
FITTED = dataclasses.replace(EVERY_STEP, fit_steps=24)
COUNTER, POINT = "probe/step_counter", "probe/hidden_point"
SCALED = {"normalize_observation": True, "normalize_reward": True}
PARTS = {"epochs": 2, "minibatches": 3}

NO_UPDATES = dataclasses.replace(SCHEDULE, train_ratio=0.0)
PLAN = {"horizon": 3, "samples": 6, "elites": 2, "iterations": 2}
TINY_PETS = {
    "model.members": 2,
    "model.layers": 1,
    "model.units": 4,
    "model.particles": 2,
    "fit.batch_size": 8,
    "fit.epochs": 1,
    **{f"plan.{name}": value for name, value in PLAN.items()},
}
TINY_MBPO = {
    "model.members": 2,
    "model.elites": 2,
    "model.layers": 1,
    "model.units": 4,
    "sac.layers": (4,),
    "batch_size": 4,
    "real_ratio": 0.5,
    "rollouts": 4,
}
TINY_MPC = {
    "planner": "cem",
    **{f"plan.cem.{name}": value for name, value in PLAN.items()},
}

TINY_MB_MF = {
    "model.units": 4,
    "fit.batch_size": 8,
    "fit.epochs": 1,
    "imitation.epochs": 1,
    "plan.shooting.horizon": 3,
    "plan.shooting.samples": 6,
    "ppo.layers": (4,),
    "ppo.epochs": 1,
    "ppo.minibatches": 2,
    "window": 6,
}
FREE_FROM_THE_START = {"aggregation": (0, 0), "demonstrations": 0, "dagger": (0, 0)}
ROUNDS = {"fit_steps": 24, "replay": 6_000}

TINY_PILCO = {
    "model.angles": (0,),
    "model.points": 20,
    "model.iterations": 3,
    "policy.basis": 3,
    "horizon": 3,
    "iterations": 3,
}


def svg(horizon):
    return lambda spec: wm.agent("svg", spec, horizon=horizon, **TINY_SVG)


TINY_SVG = {
    "layers": (4,),
    "model.layers": 1,
    "model.units": 4,
    "fit.steps": 3,
    "database": 60,
}

TINY_ALPHAZERO = {
    "net.form": "mlp",
    "net.layers": 1,
    "net.units": 4,
    "search.simulations": 2,
    "search.considered": 2,
}
TINY_ALPHAGO = {
    "net.form": "mlp",
    "net.layers": 1,
    "net.units": 4,
    "teacher.simulations": 2,
    "search.simulations": 2,
    "batch_size": 8,
    "epochs": 1,
    "reinforce_rounds": 1,
    "value_rounds": 1,
    "pool": 2,
}
SELF_PLAY = dataclasses.replace(EVERY_STEP, chunk=3, prefill=24)
GAMES = dataclasses.replace(
    EVERY_STEP, chunk=10, prefill=40, fit_steps=40, total=200, replay=400
)

TINY_MUZERO = {
    "search.simulations": 2,
    "search.considered": 2,
    "model.units": 4,
    "model.latent": 4,
    "model.head_units": 4,
    "model.value_bins": 5,
    "model.reward_bins": 5,
    "unroll": 2,
    "steps": 2,
}
RENEWED = {"reanalyse": 0.5, "fresh_values": True, "reanalyse_batch": 2}
CODED = {"codes": 3, "model.form": "conv"}
CODED |= {"search.method": "stochastic"}
PLANES = {"model.form": "conv", "model.stack": 2, "model.stack_actions": True}
SWEPT = dataclasses.replace(SELF_PLAY, reanalyse_steps=24)

TINY_EFFICIENTZERO = {
    **TINY_MUZERO,
    "search.method": "gumbel",
    "model.memory": 4,
    "model.projection": 4,
    "model.bottleneck": 2,
    "reanalyse": 0.5,
    "horizon_interval": 12,
    "mixed_updates": 0,
    "mixed_age": 6,
}

TINY_MB_MPO = {
    "model.members": 2,
    "model.particles": 2,
    "model.layers": 1,
    "model.units": 4,
    "fit.batch_size": 8,
    "fit.epochs": 1,
    "policy.layers": (4,),
    "epochs": 1,
    "steps": 1,
    "tasks": 1,
    "paths": 2,
    "length": 3,
}
TINY_GRBAL = {
    "model.layers": 1,
    "model.units": 4,
    "fit.window": 2,
    "fit.batch_size": 2,
    "fit.epochs": 1,
    "plan.shooting.horizon": 3,
    "plan.shooting.samples": 6,
}

AGENTS = {
    "alphago": Case(
        lambda spec: wm.agent("alphago", spec, **TINY_ALPHAGO),
        envs.make("pgx/tic_tac_toe", rules=True),
        GAMES,
    ),
    "alphazero": Case(
        lambda spec: wm.agent("alphazero", spec, **TINY_ALPHAZERO),
        envs.make("pgx/tic_tac_toe", rules=True),
        SELF_PLAY,
    ),
    "alphazero one player": Case(
        lambda spec: wm.agent("alphazero", spec, **TINY_ALPHAZERO, outcome_scale=1.0),
        envs.make("probe/catch", rules=True),
        SELF_PLAY,
    ),
    "muzero": Case(
        lambda spec: wm.agent("muzero", spec, **TINY_MUZERO),
        "gymnax/Catch-bsuite",
        SELF_PLAY,
    ),
    "muzero sampled": Case(
        lambda spec: wm.agent("muzero", spec, **TINY_MUZERO, **{"sampled.draws": 3}),
        "classic/pendulum",
        SELF_PLAY,
    ),
    "muzero stochastic": Case(
        lambda spec: wm.agent("muzero", spec, **TINY_MUZERO, **CODED),
        "pgx/2048",
        SELF_PLAY,
    ),
    "muzero renewed": Case(
        lambda spec: wm.agent("muzero", spec, **TINY_MUZERO, **PLANES, **RENEWED),
        "pgx/tic_tac_toe",
        SWEPT,
    ),
    "efficientzero": Case(
        lambda spec: wm.agent("efficientzero", spec, **TINY_EFFICIENTZERO),
        "gymnax/Catch-bsuite",
        SELF_PLAY,
    ),
    "mpc": Case(
        lambda spec: wm.agent("mpc", spec, **TINY_MPC),
        envs.make("classic/pendulum", rules=True),
        NO_UPDATES,
    ),
    "pets": Case(
        lambda spec: wm.agent("pets", spec, **TINY_PETS), "classic/pendulum", NO_UPDATES
    ),
    "mb_mf planning": Case(
        lambda spec: wm.agent("mb_mf", spec, **TINY_MB_MF),
        "classic/pendulum",
        dataclasses.replace(NO_UPDATES, **ROUNDS),
    ),
    "mb_mf free": Case(
        lambda spec: wm.agent("mb_mf", spec, **TINY_MB_MF, **FREE_FROM_THE_START),
        "classic/pendulum",
        dataclasses.replace(ROLLOUT, **ROUNDS),
    ),
    "mbpo": Case(
        lambda spec: wm.agent("mbpo", spec, **TINY_MBPO), "classic/pendulum", EVERY_STEP
    ),
    "mb_mpo": Case(
        lambda spec: wm.agent("mb_mpo", spec, **TINY_MB_MPO),
        "classic/pendulum",
        NO_UPDATES,
    ),
    "grbal": Case(
        lambda spec: wm.agent("grbal", spec, **TINY_GRBAL),
        "classic/pendulum_masses",
        NO_UPDATES,
    ),
    "pilco": Case(
        lambda spec: wm.agent("pilco", spec, **TINY_PILCO),
        "classic/pendulum_swingup",
        NO_UPDATES,
    ),
    "svg 0": Case(svg(0), "classic/pendulum", EVERY_STEP),
    "svg 1": Case(svg(1), "classic/pendulum", FITTED),
    "svg infinity": Case(svg(None), "classic/pendulum", ROLLOUT),
    "q_learning": Case(named("q_learning"), Toll(), EVERY_STEP),
    "dyna_q": Case(named("dyna_q"), "grid/blocking", EVERY_STEP),
    "prioritized_sweeping": Case(named("prioritized_sweeping"), Toll(), EVERY_STEP),
    "prioritized_sweeping counted": Case(
        named("prioritized_sweeping", model="counted"), Toll(), EVERY_STEP
    ),
    "dqn": Case(baseline("dqn", steps=2), COUNTER),
    "reinforce": Case(baseline("reinforce"), COUNTER, ROLLOUT),
    "a2c": Case(baseline("a2c", normalize_observation=True), COUNTER, ROLLOUT),
    "ppo discrete": Case(baseline("ppo", **PARTS, shared=True), COUNTER, ROLLOUT),
    "ppo continuous": Case(baseline("ppo", **PARTS, **SCALED), POINT, ROLLOUT),
    "ppo squashed": Case(baseline("ppo", **PARTS, form="tanh"), POINT, ROLLOUT),
    "sac": Case(baseline("sac"), POINT),
    "toy": Case(Toy, "probe/step_counter"),
    "dreamer_v3 discrete": Case(dreamer_v3, "probe/step_counter"),
    "dreamer_v3 continuous": Case(dreamer_v3, "probe/hidden_point"),
    "dreamer_v3 planner": Case(planning, "probe/hidden_point"),
}


class Ready(NamedTuple):
    """An agent in its loop, and states after one chunk with updates."""

    agent: Any
    env: Any
    loop: Loop
    runner: DeviceRunner
    states: list
    chunk: Callable
    """One jitted chunk of one seed, nothing donated."""
    act: Callable
    """Jitted: actor, key, carry, time step; the mode is static."""


SLOW = (
    "alphazero one player",
    "dreamer_v3 continuous",
    "dreamer_v3 planner",
    "mb_mf planning",
    "muzero renewed",
    "efficientzero",
    "alphago",
    "muzero sampled",
    "muzero stochastic",
    "ppo squashed",
    "svg 0",
    "svg infinity",
)
"""Further forms of an agent that is there already, and what compiles longest."""
PARAMS = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in AGENTS
]


@pytest.fixture(scope="module", params=PARAMS, ids=lambda name: name.replace(" ", "_"))
def ready(request):
    case = AGENTS[request.param]
    env = envs.make(case.env) if isinstance(case.env, str) else case.env
    agent = case.make(env.spec)
    loop = loop_of(agent, case.schedule)
    runner = DeviceRunner(loop, env, Seeds(seed_keys(0, 2), "loop"))
    states = runner.prefill(runner.init(), [loop.prefill_chunks] * 2)
    batched = runner.env
    chunk = jax.jit(lambda state: loop.one_chunk(batched, state))
    act = jax.jit(agent.act, static_argnums=4)
    return Ready(agent, env, loop, runner, states, chunk, act)


def numbers(tree):
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    plain = lambda x: jax.random.key_data(x) if is_key(x) else x
    return [np.asarray(plain(x), np.float64) for x in jax.tree.leaves(tree)]


def same(a, b, tolerance=0.0):
    pairs = zip(numbers(a), numbers(b), strict=True)
    return all(
        np.allclose(x, y, tolerance, tolerance, equal_nan=True) for x, y in pairs
    )


def first_timestep(ready, rows=3, key=1):
    return batch(ready.env).reset(jax.random.key(key), rows)[1]


@pytest.mark.parametrize("mode", ["prefill", "train", "eval"])
def test_acting_is_pure_and_keeps_the_structure_of_its_carry(ready, mode):
    agent, state = ready.agent, ready.states[0].agent
    actor = agent.actor(state)
    carry = agent.start(actor, 3)
    timestep = first_timestep(ready)
    a = ready.act(actor, jax.random.key(2), carry, timestep, mode)
    b = ready.act(actor, jax.random.key(2), carry, timestep, mode)
    assert same(a, b)
    shape = lambda x: (x.shape, x.dtype)
    assert jax.tree.map(shape, a[0]) == jax.tree.map(shape, carry)
    spec = ready.env.spec.action
    assert a[1].shape == (3, *spec.shape)
    assert a[1].dtype == spec.dtype


def test_rows_are_independent(ready):
    agent = ready.agent
    actor = agent.actor(ready.states[0].agent)
    act = lambda c, t: ready.act(actor, jax.random.key(2), c, t, "train")
    one, other = first_timestep(ready), first_timestep(ready, key=5)
    mixed = jax.tree.map(lambda a, b: jnp.concatenate([a[:1], b[1:]]), one, other)
    carry = agent.start(actor, 3)
    # Latents are rounded to bfloat16, and a product of another batch may round
    # differently.
    row = lambda x: jax.tree.map(lambda leaf: leaf[0], x)
    assert same(row(act(carry, one)), row(act(carry, mixed)), 1e-2)


def test_the_carry_starts_afresh_where_an_episode_begins(ready):
    agent = ready.agent
    actor = agent.actor(ready.states[0].agent)
    act = lambda c, t: ready.act(actor, jax.random.key(2), c, t, "train")
    timestep = first_timestep(ready)
    fresh = agent.start(actor, 3)
    used = act(fresh, timestep)[0]
    assert same(act(used, timestep), act(fresh, timestep))


def test_acting_needs_the_actor_only(ready):
    """What acting does not read may be anything."""
    state, timestep = ready.states[0].agent, first_timestep(ready)
    actor = ready.agent.actor(state)
    read = {id(leaf) for leaf in jax.tree.leaves(actor)}
    lost = lambda x: x if id(x) in read or x.dtype != jnp.float32 else x + jnp.nan
    other = ready.agent.actor(jax.tree.map(lost, state))
    carry = ready.agent.start(actor, 3)
    act = lambda a: ready.act(a, jax.random.key(2), carry, timestep, "eval")
    assert same(act(actor)[1], act(other)[1])
    params = getattr(state, "optimizer", None)
    if params is not None:
        assert len(read) < len(jax.tree.leaves(state))


def test_a_chunk_is_pure_and_keeps_the_structure_of_the_state(ready):
    state = ready.states[0]
    a, b = ready.chunk(state), ready.chunk(state)
    assert same(a, b)
    shape = lambda x: (x.shape, x.dtype)
    assert jax.tree.map(shape, a) == jax.tree.map(shape, state)
    assert all(np.isfinite(x).all() for x in numbers(a.agent))


def test_a_saved_state_continues_bit_for_bit(ready, tmp_path):
    state, checkpoints = ready.states[0], Checkpoints(tmp_path)
    checkpoints.save(1, parts(state, 0), {})
    restored = checkpoints.restore(dict(parts(ready.runner.shapes(), 0)))
    again = joined(ready.runner.shapes(), restored.items, 0)
    (again,) = ready.runner.restore([again], {})
    assert jax.tree.structure(again) == jax.tree.structure(state)
    a, b = ready.chunk(state), ready.chunk(again)
    assert same(a, b)
    assert same(report(a), report(b))


def test_updates_change_parameters_and_depend_on_the_key(ready):
    state, learn = ready.states[0], ready.chunk
    if not ready.loop.chunk[1]:
        if not hasattr(ready.agent, "fit"):
            assert same(ready.chunk(state).agent, state.agent)
            return
        learn = jax.jit(lambda state: ready.loop.fit(ready.runner.env, state)[0])
    after = learn(state)
    other = learn(state.replace(key=jax.random.key(77)))
    assert not same(after.agent, state.agent)
    assert not same(after.agent, other.agent)


# Without jit DreamerV3 takes minutes.
@pytest.mark.parametrize(
    "ready",
    ["toy", pytest.param("dreamer_v3 discrete", marks=pytest.mark.slow)],
    indirect=True,
)
def test_an_update_with_jit_equals_one_without(ready):
    loop, state = ready.loop, ready.states[0]
    key = jax.random.key(4)
    compiled = jax.jit(loop.learn)(state, key)
    with jax.disable_jit():
        plain = loop.learn(state, key)
    assert same(compiled.sums, plain.sums, 1e-4)


def test_vmap_over_seeds_equals_a_loop(ready):
    stack = lambda states: jax.tree.map(lambda *x: jnp.stack(x), *states)
    chunks = jax.jit(lambda states: jax.vmap(ready.chunk)(stack(states)))
    together = chunks(ready.states)
    mine = lambda tree, seed: [x[seed] for x in numbers(tree)]
    for seed, state in enumerate(ready.states):
        alone = ready.chunk(state)
        assert same(mine(together.agent, seed), numbers(alone.agent), 1e-5)
        assert same(mine(together.sums, seed), numbers(alone.sums), 1e-4)


def test_feedback_names_stored_fields_and_masks_the_context(ready):
    batches = ready.agent.batches(ready.loop.schedule)
    if not hasattr(ready.agent, "update"):
        assert batches == {}
        return
    state, buffer = ready.states[0], ready.loop.buffer
    drawn = {
        name: buffer.sample(state.buffer, jax.random.key(1), N, L)[1]
        for name, (N, L) in batches.items()
    }
    update = jax.jit(lambda: ready.agent.update(state.agent, jax.random.key(2), drawn))
    _, feedback, metrics = jax.eval_shape(update)
    assert feedback.keys() <= drawn.keys()
    for name, given in feedback.items():
        # Priorities are the buffer's own column.
        assert given.fields.keys() - {"priority"} <= drawn[name].extras.keys()
    # Compiled for the masks alone, of which most of the update is no part.
    masks = jax.jit(lambda: {name: f.mask for name, f in update()[1].items()})()
    for name, mask in masks.items():
        # A priority is of the window that begins there.
        if set(feedback[name].fields) != {"priority"}:
            assert not np.asarray(mask)[:, 0].any()
    groups = ("loss/", "model/", "behavior/", "plan/")
    assert all(metric.startswith(groups) for metric in metrics)


def test_every_listed_system_is_here():
    assert set(SYSTEMS) == {name.split()[0] for name in AGENTS} - {"toy"}
