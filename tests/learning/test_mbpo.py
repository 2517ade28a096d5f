"""MBPO on the pendulum: 2400 steps with 20 updates each, half of every batch real.

`make test-learning` runs it. Figures are of 10 episodes, 22 November 2026.
At this size SAC with as many updates is as good (-203 ± 23 after 2000 steps, the same
code with `real_ratio` 1): the check shows that the model does its part, not that it
helps. A model whose changes have the wrong sign makes the policy useless.
"""

import jax.numpy as jnp
import numpy as np
import pytest

import wm
from wm.models.ensemble import Ensemble

pytestmark = pytest.mark.slow


def scores(seeds=2, **settings):
    """Mean return of every seed."""
    env = wm.env("classic/pendulum")
    agent = wm.agent("mbpo", env.spec, preset="pendulum", **settings)
    run = wm.train(agent, env, seeds=seeds, quiet=True)
    return np.asarray(run.scores).mean(1)


def test_the_pendulum_is_held_up_after_2400_steps():
    """-176, -194, -201, -174 (random -1229). After 1800 steps -120,
    -590, -138, -143; with errors weighed by the square root of their variance
    (`fit.beta` 0.5) -157, -372, -137, -148; after fits of the published kind, that stop
    when five epochs bring nothing, -166 and -1339: with a few hundred rows five epochs
    are 25 steps, and one seed's model stayed where it was."""
    assert (scores(4) >= -350).all()


def test_a_model_that_moves_the_wrong_way_ruins_the_policy(monkeypatch):
    """-1694 and -1627."""
    original = Ensemble._change

    def turned(self, *args):
        change = original(self, *args)
        return jnp.concatenate(
            [-change[..., : self.size], change[..., self.size :]], -1
        )

    monkeypatch.setattr(Ensemble, "_change", turned)
    assert (scores() <= -1000).all()
