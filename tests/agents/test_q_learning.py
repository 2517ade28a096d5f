"""Q-learning on a chain of three states, by hand."""

import jax
import numpy as np

import wm
from tests.agents.chain import SPEC, passed


def test_one_pass_teaches_the_last_step_alone():
    """0 → 1 → 2 → end, reward 1 at the end; prioritized sweeping finds (0.25, 0.5, 1).
    A second pass reaches one state further."""
    agent = wm.agent("q_learning", SPEC, rate=1.0, gamma=0.5)
    update, state = jax.jit(agent.update), agent.init(jax.random.key(0))
    for expected in ([0.0, 0.0, 1.0], [0.0, 0.5, 1.0], [0.25, 0.5, 1.0]):
        state = update(state, jax.random.key(0), {"newest": passed()})[0]
        q = state.params["policy"]["q"]
        np.testing.assert_allclose(q[:3, 0], expected)
        np.testing.assert_array_equal(q[3], 0.0)
