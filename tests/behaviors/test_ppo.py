"""How PPO deals its steps into minibatches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.agents.ppo import PPO
from wm.behaviors.ppo import Samples, check_shuffle
from wm.envs.probe_bandits import make_step_counter
from wm.errors import UserError


def numbered(count):
    """Steps that are their own numbers."""
    number = jnp.arange(count)
    return Samples(number, None, *[number] * 6)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_every_step_is_in_one_minibatch_and_every_part_in_each(parts):
    config = PPO.Config(layers=(4,), minibatches=3, shuffle_parts=parts)
    learner = PPO(make_step_counter().spec, config).learner
    dealt = np.asarray(learner.shuffled(jax.random.key(0), numbered(24)).value)
    assert dealt.shape == (3, 8)
    np.testing.assert_array_equal(np.sort(dealt.reshape(-1)), np.arange(24))
    # A device that has some of the parts has the same ones of every minibatch.
    if parts > 1:
        part = np.repeat(np.arange(parts), 8 // parts)
        np.testing.assert_array_equal(dealt // (24 // parts), np.stack([part] * 3))
    other = np.asarray(learner.shuffled(jax.random.key(1), numbered(24)).value)
    assert (dealt != other).any()


def test_parts_must_divide_environments_and_minibatches_each_part():
    config = PPO.Config(minibatches=3, shuffle_parts=4)
    check_shuffle(config, 4, 6)
    for rows, steps in ((6, 6), (4, 5)):
        with pytest.raises(UserError, match="shuffle_parts 4 must divide"):
            check_shuffle(config, rows, steps)
    with pytest.raises(ValueError, match="shuffle_parts must be at least 1"):
        PPO.Config(shuffle_parts=0)
