"""Passes: how many steps are made, and that nothing is made of nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wm.ops.passes import passes, passes_for, shuffled


def descend(count, steps, rate=0.25):
    loss = lambda x, batch: 0.5 * jnp.square(x - batch)
    rule = optax.sgd(rate)
    begin = lambda key: lambda i: i.astype(jnp.float32)
    return passes(
        loss, rule, jnp.zeros(()), rule.init(jnp.zeros(())), jax.random.key(0), begin,
        jnp.asarray(steps), jnp.asarray(count),
    )  # fmt: skip


def test_two_steps_by_hand():
    """x = 0 to target 0: 0; then to target 1: 0.25. Losses 0 and 0.5."""
    done = descend(1, 2)
    assert float(done.params) == 0.25
    assert float(done.loss) == 0.25
    assert int(done.count) == 1


def test_the_loss_is_that_of_the_last_pass():
    """Second pass: 0.25 to 0 (0.03125, then x = 0.1875), to 1 (0.330078125)."""
    done = descend(2, 2)
    np.testing.assert_allclose(done.loss, (0.03125 + 0.330078125) / 2)
    assert int(done.count) == 2


@pytest.mark.parametrize(("count", "steps"), [(0, 3), (3, 0)])
def test_nothing_changes_without_steps(count, steps):
    done = descend(count, steps)
    assert float(done.params) == 0.0
    assert float(done.loss) == 0.0


@pytest.mark.parametrize(
    ("steps", "per_pass", "wanted"), [(None, 7, 5), (21, 7, 3), (22, 7, 4), (3, 0, 3)]
)
def test_as_many_passes_as_make_the_steps(steps, per_pass, wanted):
    assert int(passes_for(steps, 5, jnp.asarray(per_pass))) == wanted


def test_shuffling_keeps_what_counts_in_front():
    order = shuffled(jax.random.key(0), 8, jnp.asarray(5))
    assert sorted(np.asarray(order[:5])) == [0, 1, 2, 3, 4]
    other = shuffled(jax.random.key(1), 8, jnp.asarray(5))
    assert (np.asarray(order[:5]) != np.asarray(other[:5])).any()
