"""Work counted in a jaxpr by hand, and what it says of time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.train import workload
from wm.train.workload import Work


def work(function, *args):
    return workload.of(jax.make_jaxpr(function)(*args))


def test_products_count_two_per_multiply_add_and_scans_by_their_length():
    x, w = jnp.ones((3, 4)), jnp.ones((4, 4))
    loop = lambda x: jax.lax.scan(lambda x, _: (x @ w, None), x, length=5)[0]
    assert work(loop, x) == Work(5 * 2 * 3 * 4 * 4, 0, 5)
    assert workload.count(loop, jax.ShapeDtypeStruct((3, 4), "float32")) == 480


def test_convolutions_by_hand():
    # 5x5 outputs of 2 channels, each of 3x3 taps over 4 channels.
    image, kernel = jnp.ones((1, 7, 7, 4)), jnp.ones((3, 3, 4, 2))
    numbers = ("NHWC", "HWIO", "NHWC")
    conv = lambda x: jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=numbers
    )
    assert work(conv, image).flops == 2 * 25 * 2 * 9 * 4


def test_what_is_written_in_place_counts_by_what_is_written():
    ring, row = jnp.zeros((1000, 8)), jnp.ones((1, 8))
    put = lambda ring, row: jax.lax.dynamic_update_slice(ring, row, (3, 0))
    assert work(put, ring, row).elements == 8
    take = lambda ring: jax.lax.dynamic_slice(ring, (3, 0), (2, 8))
    assert work(take, ring).elements == 16
    assert work(lambda x: x.reshape(8, 1000).T, ring) == Work()


def test_branches_count_as_the_larger_one_and_unknown_loops_once():
    x = jnp.ones((4, 4))
    either = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x, x)
    assert work(either, x).flops == 128
    count = jnp.int32(7)
    many = lambda x, n: jax.lax.fori_loop(0, n, lambda _, x: x @ x, x)
    assert work(many, x, count).flops == 128


def test_only_the_rule_that_runs_counts():
    double = jax.custom_vjp(lambda x: x @ x)
    double.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x + g @ x,))
    x = jnp.ones((2, 2))
    assert work(double, x).flops == 16
    assert work(jax.grad(lambda x: double(x).sum()), x).flops == 3 * 16


def test_seconds_add_up_and_speeds_are_those_of_a_machine(monkeypatch):
    speed = workload.Speed(1e-9, 1e-6, 1e-3)
    monkeypatch.setattr(workload, "speed", lambda: speed)
    assert workload.seconds(Work(1e9, 1e6, 1e3)) == pytest.approx(3.0)
    both = Work(1, 2, 3).plus(Work(10, 20, 30), 0.5)
    np.testing.assert_allclose(both, (6, 12, 18))
    monkeypatch.undo()
    # From a slow core to the fastest accelerator.
    assert 1e-16 < workload.speed().flop < 1e-8
    assert 1e-9 < workload.speed().equation < 1e-3
