"""The own convolution equals the stock one, also differentiated and batched."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets import conv
from wm.nets.conv import conv2d, conv_transpose2d

NUMBERS = ("NHWC", "HWIO", "NHWC")
close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)


def stock(x, kernel, stride=1, padding="SAME"):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding.upper(), dimension_numbers=NUMBERS
    )


def stock_transpose(x, kernel, stride):
    return jax.lax.conv_transpose(
        x, kernel, (stride, stride), "SAME", dimension_numbers=NUMBERS
    )


def draws(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def value_and_gradients(f, x, kernel):
    y, pull = jax.vjp(f, x, kernel)
    return y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))


@pytest.mark.parametrize(
    ("ours", "theirs", "x", "kernel"),
    [
        (conv2d, stock, (3, 7, 8, 2), (5, 5, 2, 4)),
        (conv2d, stock, (3, 6, 6, 4), (4, 3, 4, 2)),
        (
            functools.partial(conv2d, stride=2),
            functools.partial(stock, stride=2),
            (2, 9, 8, 3),
            (4, 4, 3, 2),
        ),
        (
            functools.partial(conv2d, stride=2, padding="valid"),
            functools.partial(stock, stride=2, padding="valid"),
            (2, 11, 10, 2),
            (4, 4, 2, 5),
        ),
        (
            functools.partial(conv_transpose2d, stride=2),
            functools.partial(stock_transpose, stride=2),
            (2, 4, 3, 3),
            (4, 4, 3, 2),
        ),
        (
            functools.partial(conv_transpose2d, stride=3),
            functools.partial(stock_transpose, stride=3),
            (2, 4, 3, 2),
            (2, 5, 2, 3),
        ),
    ],
)
def test_values_and_gradients_equal_the_stock_convolution(ours, theirs, x, kernel):
    inputs = draws(x, kernel)
    for a, b in zip(
        value_and_gradients(ours, *inputs),
        value_and_gradients(theirs, *inputs),
        strict=True,
    ):
        close(a, b)


def test_a_kernel_gradient_in_parts_of_the_batch_is_the_same(monkeypatch):
    inputs = draws((12, 4, 4, 3), (3, 3, 3, 2))
    expected = value_and_gradients(stock, *inputs)
    monkeypatch.setattr(conv, "_CACHED_ELEMENTS", 4 * 4 * 3 * 5)
    for a, b in zip(value_and_gradients(conv2d, *inputs), expected, strict=True):
        close(a, b)


def test_leading_axes_are_batch_axes():
    x, kernel = draws((2, 3, 5, 5, 2), (3, 3, 2, 4))
    close(conv2d(x, kernel), jax.vmap(stock, (0, None))(x, kernel))
    close(conv2d(x[0, 0], kernel), stock(x[0, :1], kernel)[0])


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_over_either_operand_equals_a_loop(axes):
    x, kernel = draws((3, 2, 5, 6, 2), (3, 3, 3, 2, 4))
    x, kernel = pick = [
        a if axis == 0 else a[0] for a, axis in zip((x, kernel), axes, strict=True)
    ]
    f = functools.partial(value_and_gradients, functools.partial(conv2d, stride=2))
    batched = jax.vmap(f, axes)(x, kernel)
    for i in range(3):
        row = f(
            *(a if axis is None else a[i] for a, axis in zip(pick, axes, strict=True))
        )
        for a, b in zip(batched, row, strict=True):
            close(a[i], b)


def test_nested_vmap_equals_loops():
    x, kernel = draws((2, 3, 1, 4, 4, 2), (2, 3, 3, 2, 3))
    y = jax.vmap(jax.vmap(conv2d, (0, None)), (0, 0))(x, kernel)
    for i in range(2):
        for j in range(3):
            close(y[i, j], stock(x[i, j], kernel[i]))


def test_gradients_of_gradients_equal_the_stock_convolution():
    x, kernel = draws((2, 5, 5, 2), (3, 3, 2, 3))

    def penalty(f, x, kernel):
        energy = lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))
        dx, dk = jax.grad(energy, (0, 1))(x, kernel)
        return jnp.sum(dx**2) + jnp.sum(dk**3)

    ours = jax.grad(functools.partial(penalty, conv2d), (0, 1))
    theirs = jax.grad(functools.partial(penalty, stock), (0, 1))
    expected = theirs(x, kernel)
    jax.tree.map(
        functools.partial(close, rtol=1e-4, atol=1e-3), ours(x, kernel), expected
    )
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), (x, kernel))
    for i in range(2):
        batched = jax.tree.map(lambda a: a[i], jax.vmap(ours)(*stacked))
        jax.tree.map(functools.partial(close, rtol=1e-4, atol=1e-3), batched, expected)


def test_bfloat16_stays_bfloat16():
    x, kernel = (a.astype(jnp.bfloat16) for a in draws((2, 4, 4, 2), (3, 3, 2, 2)))
    outputs = value_and_gradients(conv2d, x, kernel)
    assert {a.dtype.name for a in outputs} == {"bfloat16"}


def test_an_update_in_a_scan_costs_what_it_costs_outside():
    """The stock one is 12 to 100 times slower inside (CPU seconds, optimized)."""
    steps = 4
    x, first, second = draws((steps, 8, 16, 16, 3), (4, 4, 3, 16), (4, 4, 16, 16))
    options = {"xla_backend_optimization_level": 3}

    def update(params, x):
        def loss(params):
            hidden = jax.nn.relu(conv2d(x, params[0], stride=2))
            return jnp.mean(jnp.square(conv2d(hidden, params[1])))

        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))

    alone = jax.jit(update).lower((first, second), x[0]).compile(options)
    scan = jax.jit(
        lambda params, x: jax.lax.scan(lambda p, x: (update(p, x), None), params, x)[0]
    )
    inside = scan.lower((first, second), x).compile(options)

    def seconds(call):
        best = float("inf")
        for _ in range(12):
            start = time.process_time()
            jax.block_until_ready(call())
            best = min(best, time.process_time() - start)
        return best

    outside = [seconds(lambda: alone((first, second), x[0])) for _ in range(2)]
    assert seconds(lambda: inside((first, second), x)) < 1.5 * steps * max(outside)
