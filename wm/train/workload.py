"""The work in a program before it has run: what its jaxpr says, and roughly how long.

XLA's own `cost_analysis` counts the body of a loop once, so it cannot be used for a
recurrent model; here scans are multiplied by their length. A multiply-add counts 2.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

FREE = (
    *("broadcast_in_dim", "reshape", "squeeze", "slice", "iota", "transpose"),
    *("convert_element_type", "stop_gradient", "random_wrap", "random_unwrap"),
)
"""Equations that cost next to nothing: they become part of others."""
IN_PLACE = {"dynamic_update_slice": 1, "scatter": 2, "scatter-add": 2}
"""Which operand is written by what leaves the rest of its array alone."""
REPEATS = 5


class Work(NamedTuple):
    """Of one call of a program."""

    flops: float = 0.0
    """Of products and convolutions."""
    elements: float = 0.0
    """That the other equations read or write, whichever is more."""
    equations: float = 0.0

    def plus(self, other: Work, times: float = 1.0) -> Work:
        """Both, the other one several times."""
        return Work(*(a + times * b for a, b in zip(self, other, strict=True)))


class Speed(NamedTuple):
    """Seconds on this device, in small programs like those of agents."""

    flop: float
    element: float
    equation: float


def seconds(work: Work) -> float:
    """Roughly how long it takes here: right within a factor, not within percents."""
    return sum(x * s for x, s in zip(work, speed(), strict=True))


@functools.cache
def speed() -> Speed:
    """Measured once per process: products, and chains of small operations."""
    equation = _timed(_chain, (64,), 2_000) / 6
    element = (_timed(_chain, (1 << 18,), 20) - 6 * equation) / (6 * (1 << 18))
    product = _timed(_product, (512, 256), 50) - equation
    flops = 2 * 512 * 256 * 256
    return Speed(max(product, 0.0) / flops, max(element, 0.0), equation)


def _chain(x: jax.Array) -> jax.Array:
    """Six equations, as many as are usually fused."""
    y = jnp.maximum(x * 0.5 + 0.1, 0.3)
    return jnp.where(y > 0.2, y * 0.9, x)


def _product(x: jax.Array) -> jax.Array:
    return x @ jnp.full((256, 256), 1 / 256, x.dtype)


def _timed(body: Callable[..., jax.Array], shape: tuple[int, ...], length: int):
    """Seconds of one pass of a loop: the least of some runs."""
    loop = lambda x: jax.lax.scan(lambda x, _: (body(x), None), x, length=length)[0]
    x, call, found = jnp.ones(shape), jax.jit(loop), []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(call(x))
        found.append(time.perf_counter() - start)
    return min(found[1:]) / length


def count(function: Callable, *args: Any) -> float:
    """Floating-point operations of products and convolutions in `function(*args)`;
    shapes are enough for args."""
    return of(jax.make_jaxpr(function)(*args)).flops


def of(jaxpr: Any) -> Work:
    """Of a jaxpr, closed or not. Loops whose length is not known count once."""
    total = Work()
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        total = total.plus(_equation(equation))
    return total


def _equation(equation: Any) -> Work:
    name = equation.primitive.name
    if name == "dot_general":
        return Work(_dot(equation), 0.0, 1.0)
    if name == "conv_general_dilated":
        return Work(_convolution(equation), 0.0, 1.0)
    if name == "cond":
        return max(map(of, equation.params["branches"]), key=lambda work: work[::-1])
    inner = list(_inner(equation.params))
    if inner:
        times = equation.params["length"] if name == "scan" else 1
        return functools.reduce(lambda a, b: a.plus(of(b), times), inner, Work())
    if name in FREE:
        return Work()
    return Work(0.0, _touched(name, equation), 1.0)


def _touched(name: str, equation: Any) -> float:
    size = lambda variable: math.prod(getattr(variable.aval, "shape", ()))
    if name in IN_PLACE:
        return size(equation.invars[IN_PLACE[name]])
    out = max([size(x) for x in equation.outvars], default=0)
    if name in ("gather", "dynamic_slice"):
        return out
    return max([out, *map(size, equation.invars)])


def _dot(equation: Any) -> float:
    (contract, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    out = equation.outvars[0].aval.shape
    return 2.0 * math.prod(out) * math.prod(left[axis] for axis in contract)


def _convolution(equation: Any) -> float:
    """Taps that fall on padding or between dilated inputs are counted too."""
    numbers = equation.params["dimension_numbers"]
    kernel = equation.invars[1].aval.shape
    out = equation.outvars[0].aval.shape
    taps = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
    return 2.0 * math.prod(out) * taps


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """Jaxprs among an equation's parameters. Derivative rules are not programs that
    run, so only the primal of a custom derivative counts."""
    for key, value in params.items():
        if key in ("fwd_jaxpr_thunk", "bwd", "jvp_jaxpr_fun", "branches"):
            continue
        for leaf in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(leaf, "jaxpr") or hasattr(leaf, "eqns"):
                yield leaf
