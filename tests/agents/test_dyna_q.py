"""Dyna-Q+: what its bonus adds, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

import wm
from tests.agents.chain import SPEC, passed
from wm.models import table

KAPPA = 0.1


def agent_of(planning_steps):
    settings = {"rate": 1.0, "gamma": 0.5, "bonus": KAPPA}
    return wm.agent("dyna_q", SPEC, planning_steps=planning_steps, **settings)


def test_planned_rewards_gain_kappa_times_the_root_of_the_waiting():
    """Both end with reward 2; state 0 was tried at clock 1, state 1 last at clock 5."""
    known, zero = table.empty(4, 1), jnp.int32(0)
    for state in (0, 1, 1, 1, 1):
        known = table.record(known, jnp.int32(state), zero, 2.0, 0.0, jnp.int32(3))
    q = jnp.zeros((4, 1))
    q = jax.jit(agent_of(40).plan)(q, known, jax.random.key(0))
    np.testing.assert_allclose(q[:, 0], [2 + KAPPA * np.sqrt(4), 2.0, 0, 0], rtol=1e-6)


def test_real_rewards_gain_nothing():
    agent = agent_of(0)
    state = agent.init(jax.random.key(0))
    state = jax.jit(agent.update)(state, jax.random.key(0), {"newest": passed()})[0]
    np.testing.assert_array_equal(state.params["policy"]["q"][:, 0], [0, 0, 1, 0])
