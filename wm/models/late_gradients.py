"""A scan whose weight gradients are computed once, after the backward pass.

Differentiating a loop adds one small product to every kernel's gradient per step, which
reads and writes all kernels each time. Collecting the inputs and the output gradients
of each multiplication instead makes it one product over all steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from wm.models.rssm_core import Linear, multiply
from wm.ops.spread import flat_rows
from wm.types import Tree

Kernels = dict[str, jax.Array]


def plain_linear(kernels: Kernels) -> Linear:
    """Multiply with `kernels` by name."""
    return lambda name, x: multiply(x, kernels[name])


def scan_late(
    body: Callable[[Linear, Tree, Tree, Tree], tuple[Tree, Tree]],
    kernels: Kernels,
    params: Tree,
    carry: Tree,
    xs: Tree,
) -> Tree:
    """`lax.scan` of `body`; gradients by `kernels` are one product each.

    Args:
      body: `(linear, params, carry, x) -> (carry, y)`, using each kernel exactly once
        through `linear(name, x)`.
      kernels: `[I, O]` or `[blocks, I, O]` each.
      params: what else `body` reads, differentiated step by step (biases, scales).
      carry: initial.
      xs: leaves `[T, …]`.

    Returns:
      The stacked `y`.
    """

    shapes = {
        name: jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)
        for name, kernel in kernels.items()
    }
    run = jax.custom_vjp(functools.partial(_scan, body))
    run.defvjp(functools.partial(_forward, body), functools.partial(_backward, shapes))
    return run(kernels, params, carry, xs)


def _scan(body, kernels: Kernels, params: Tree, carry: Tree, xs: Tree) -> Tree:
    linear = plain_linear(kernels)
    return jax.lax.scan(lambda carry, x: body(linear, params, carry, x), carry, xs)[1]


def _forward(body, kernels: Kernels, params: Tree, carry: Tree, xs: Tree):
    """The scan, its derivative by all but kernels, and what each kernel multiplied."""

    def perturbed(params, carry, xs, offsets):
        def step(carry, now):
            x, offset = now
            inputs: dict[str, jax.Array] = {}

            def linear(name, value):
                inputs[name] = value
                return multiply(value, kernels[name]) + offset[name]

            carry, y = body(linear, params, carry, x)
            return carry, (y, inputs)

        return jax.lax.scan(step, carry, (xs, offsets))[1]

    # The derivative by an offset is that by the product it is added to.
    offsets = _zero_outputs(body, kernels, params, carry, xs)
    (ys, inputs), pull = jax.vjp(perturbed, params, carry, xs, offsets)
    return ys, (pull, inputs)


def _backward(shapes: dict[str, jax.ShapeDtypeStruct], saved, dys: Tree):
    pull, inputs = saved
    zeros = jax.tree.map(jnp.zeros_like, inputs)
    dparams, dcarry, dxs, doutputs = pull((dys, zeros))
    dkernels = {
        name: _kernel_gradient(shapes[name], inputs[name], doutputs[name])
        for name in shapes
    }
    return dkernels, dparams, dcarry, dxs


def _zero_outputs(body, kernels, params, carry, xs) -> Kernels:
    """Zeros `[T, …]` like every product of the loop."""
    outputs: dict[str, jax.ShapeDtypeStruct] = {}

    def linear(name, value):
        y = multiply(value, kernels[name])
        outputs[name] = jax.ShapeDtypeStruct(y.shape, y.dtype)
        return y

    first = jax.tree.map(lambda x: x[0], xs)
    jax.eval_shape(lambda *a: body(linear, *a), params, carry, first)
    steps = jax.tree.leaves(xs)[0].shape[0]
    return {name: jnp.zeros((steps, *y.shape), y.dtype) for name, y in outputs.items()}


def _kernel_gradient(shape, inputs: jax.Array, doutputs: jax.Array) -> jax.Array:
    """Sum over all leading axes of inputs times output gradients."""
    rows = flat_rows(inputs)
    transpose = jax.linear_transpose(lambda kernel: multiply(rows, kernel), shape)
    return transpose(flat_rows(doutputs))[0]
