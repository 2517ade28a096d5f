"""Scores: one whole episode per row, whatever its length."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.toy import Toy
from wm import envs
from wm.train import evaluate
from wm.train.host_env import AsHost

COUNTER = envs.make("probe/step_counter")


@pytest.fixture(scope="module")
def scores():
    agent = Toy(COUNTER.spec)
    state = agent.init(jax.random.key(0))
    play = evaluate.evaluator(agent, COUNTER, 30, rows=16)
    return play(state, jax.random.key(1)), play(state, jax.random.key(1))


def test_every_row_plays_one_whole_episode(scores):
    lengths = scores[0].lengths
    # The reward of the counting task is the step: 1 + 2 + … + length.
    np.testing.assert_array_equal(scores[0].returns, lengths * (lengths + 1) / 2)
    assert lengths.shape == (30,)


def test_short_episodes_are_not_favoured(scores):
    # Lengths are uniform in 1..8; taking the first to finish would average below 3.
    assert 3.3 < scores[0].lengths.mean() < 5.7


def test_the_same_key_gives_the_same_scores(scores):
    np.testing.assert_array_equal(scores[0].returns, scores[1].returns)


def test_waves_are_equal_and_enough():
    assert evaluate.waves(100) == (1, 100)
    assert evaluate.waves(300) == (3, 100)
    count, rows = evaluate.waves(257)
    assert count * rows >= 257


class Endless(AsHost):
    """Rows beyond the first never end."""

    def step(self, action):
        timestep = super().step(action)
        ends = jnp.asarray(timestep.is_last) & (jnp.arange(self.num_envs) == 0)
        return timestep._replace(is_last=ends)


def test_a_row_that_never_ends_counts_with_what_it_has(monkeypatch):
    monkeypatch.setattr(evaluate, "NO_LIMIT", 10)
    spec = dataclasses.replace(COUNTER.spec, time_limit=None)
    monkeypatch.setattr(Endless, "spec", spec)
    agent, env = Toy(COUNTER.spec), Endless(COUNTER, 3, jax.random.key(3))
    play = evaluate.evaluator(agent, env, 6)
    found = play(agent.init(jax.random.key(0)), jax.random.key(1))
    assert found.returns.shape == (6,)
    assert np.isfinite(found.returns).all()


def test_host_rows_play_the_same_number_of_whole_episodes():
    agent = Toy(COUNTER.spec)
    state = agent.init(jax.random.key(0))
    env = AsHost(COUNTER, 4, jax.random.key(3))
    act = evaluate.host_act(agent)
    found = evaluate.evaluate_host(agent, env, act, state, jax.random.key(1), 10)
    np.testing.assert_array_equal(
        found.returns, found.lengths * (found.lengths + 1) / 2
    )
    assert found.returns.shape == (10,)
