"""Imitation: the loss by hand, which steps count, and that a fit finds the expert."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.behaviors import imitation
from wm.behaviors.imitation import Demonstrations, ImitationConfig
from wm.errors import UserError
from wm.types import Dataset, Step, TimeStep


def test_loss_by_hand():
    """((1² + 3²) / 2 + (0² + 2²) / 2) / 2 = 3.5; rows of weight 0 are not there."""
    action = jnp.array([[1.0, 0.0], [2.0, 2.0], [9.0, 9.0]])
    expert = jnp.array([[0.0, 3.0], [2.0, 0.0], [0.0, 0.0]])
    loss = lambda weight: float(imitation.loss(action, expert, jnp.array(weight)))
    assert loss([1.0, 1.0, 0.0]) == 3.5
    assert loss([0.0, 1.0, 0.0]) == 2.0
    assert loss([0.0, 0.0, 0.0]) == 0.0


def test_steps_that_count_are_those_of_the_mask_that_begin_a_transition():
    rows, slots = 2, 3
    number = jnp.arange(6.0).reshape(rows, slots)
    flag = jnp.zeros((rows, slots), bool)
    timestep = TimeStep(number[..., None], number, number, flag, flag)
    steps = Step(timestep, number[..., None], {"expert": 10 * number[..., None]})
    begins = jnp.array([[True, True, False], [True, True, True]])
    asked = jnp.array([[False, True, True], [True, False, True]])
    dataset = Dataset(steps, begins, jnp.asarray(6))
    found = imitation.demonstrations(dataset, asked)
    assert int(found.count) == 3
    kept = found.order[:3]
    np.testing.assert_array_equal(found.observation[kept, 0], [1.0, 3.0, 5.0])
    np.testing.assert_array_equal(found.action[kept, 0], [10.0, 30.0, 50.0])


def fitted(count, **settings):
    """Weight and optimizer after a fit of a line to actions 2 x."""
    x = jnp.linspace(-1, 1, 20)[:, None]
    # What lies in empty slots must not matter.
    action = jnp.where(jnp.arange(20)[:, None] < count, 2 * x, 1e6)
    order = jnp.arange(20, dtype=jnp.int32)
    data = Demonstrations(x, action, order, jnp.asarray(count, jnp.int32))
    config = ImitationConfig(learning_rate=0.05, batch_size=8, **settings)
    params = jnp.zeros(())
    return imitation.fit(
        config,
        lambda w, x: w * x,
        params,
        imitation.optimizer(config).init(params),
        jax.random.key(0),
        data,
    )


def test_a_fit_finds_the_expert():
    weight, _, metrics = fitted(15, epochs=100)
    np.testing.assert_allclose(weight, 2.0, atol=1e-3)
    assert metrics["behavior/imitation_loss"] < 1e-5


def test_steps_count_whatever_epochs_say():
    """Adam's first step is the learning rate: 0.05 a step, three steps a pass."""
    assert int(fitted(20, epochs=2)[1][0].count) == 6
    assert int(fitted(20, steps=10)[1][0].count) == 12


def test_without_demonstrations_nothing_is_learned():
    assert float(fitted(0, epochs=5)[0]) == 0.0
    assert float(fitted(0, steps=5)[0]) == 0.0


def test_what_cannot_work_is_one_line():
    with pytest.raises(UserError, match=r"--agent\.imitation\.epochs must be above 0"):
        ImitationConfig(epochs=0)
