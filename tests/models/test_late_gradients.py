"""A scan with late weight gradients is a scan."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.models.late_gradients import plain_linear, scan_late

T, B, BLOCKS = 5, 3, 2


def body(linear, bias, carry, x):
    hidden = jnp.tanh(linear("dense", jnp.concatenate([carry, x["value"]], -1)) + bias)
    carry = jnp.where(x["reset"][:, None], 0.0, linear("blocks", hidden))
    return carry, {"hidden": hidden, "carry": carry}


def plain(kernels, bias, carry, xs):
    linear = plain_linear(kernels)
    step = lambda carry, x: body(linear, bias, carry, x)
    return jax.lax.scan(step, carry, xs)[1]


def inputs():
    keys = jax.random.split(jax.random.key(0), 5)
    kernels = {
        "dense": jax.random.normal(keys[0], (7, 6)),
        "blocks": jax.random.normal(keys[1], (BLOCKS, 3, 2)),
    }
    xs = {
        "value": jax.random.normal(keys[2], (T, B, 3)),
        "reset": jax.random.bernoulli(keys[3], 0.3, (T, B)),
    }
    return kernels, jnp.full(6, 0.1), jax.random.normal(keys[4], (B, 4)), xs


def loss(run, kernels, bias, carry, value, reset):
    ys = run(kernels, bias, carry, {"value": value, "reset": reset})
    return jnp.sin(ys["hidden"]).sum() + jnp.square(ys["carry"]).sum()


def test_values_and_gradients_are_those_of_a_scan():
    kernels, bias, carry, xs = inputs()
    late = lambda *given: scan_late(body, *given)
    given = kernels, bias, carry, xs["value"], xs["reset"]
    grad = lambda run: jax.jit(
        jax.value_and_grad(lambda *a: loss(run, *a), argnums=(0, 1, 2, 3))
    )
    value, ours = grad(late)(*given)
    expected, theirs = grad(plain)(*given)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.tree.map(same, ours, theirs)


def test_one_step_and_vmap():
    kernels, bias, carry, xs = inputs()
    xs = jax.tree.map(lambda x: x[:1], xs)
    kernels = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), kernels)

    def gradient(run):
        one = lambda kernels: loss(run, kernels, bias, carry, xs["value"], xs["reset"])
        return jax.vmap(jax.grad(one))(kernels)

    late = lambda *given: scan_late(body, *given)
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.tree.map(same, gradient(late), gradient(plain))
