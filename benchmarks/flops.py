"""Useful work: floating-point operations of dots and convolutions in a jaxpr.

XLA's own `cost_analysis` counts the body of a loop once, so it cannot be used for a
recurrent model; here scans are multiplied by their length. A multiply-add counts 2.
"""

from __future__ import annotations

import math
from typing import Any

import jax


def count(function, *args) -> float:
    """Operations of one call of `function(*args)`; shapes are enough for args."""
    return _jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def _jaxpr(jaxpr) -> float:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation) -> float:
    name = equation.primitive.name
    if name == "dot_general":
        return _dot(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inner = sum(_jaxpr(jaxpr) for jaxpr in _inner(equation.params))
    if name == "scan":
        return inner * equation.params["length"]
    if name == "cond":
        return max(_jaxpr(branch.jaxpr) for branch in equation.params["branches"])
    return inner


def _dot(equation) -> float:
    (contract, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    out = equation.outvars[0].aval.shape
    return 2.0 * math.prod(out) * math.prod(left[axis] for axis in contract)


def _convolution(equation) -> float:
    """Taps that fall on padding or between dilated inputs are counted too."""
    numbers = equation.params["dimension_numbers"]
    kernel = equation.invars[1].aval.shape
    out = equation.outvars[0].aval.shape
    taps = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
    return 2.0 * math.prod(out) * taps


def _inner(params: dict[str, Any]):
    """Jaxprs among an equation's parameters. Derivative rules are not programs that
    run, so only the primal of a custom derivative counts."""
    for key, value in params.items():
        if key in ("fwd_jaxpr_thunk", "bwd", "jvp_jaxpr_fun", "branches"):
            continue
        for leaf in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(leaf, "jaxpr"):
                yield leaf.jaxpr
            elif hasattr(leaf, "eqns"):
                yield leaf
