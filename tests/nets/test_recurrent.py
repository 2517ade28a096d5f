"""Recurrent cells against numbers worked out by hand or by another formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.nets import recurrent
from wm.nets.net import from_module
from wm.nets.norms import layer_norm, rms_norm


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_gru_by_hand():
    net = recurrent.gru(1)
    params = {
        "gates": {"kernel": jnp.array([[1.0, 0.5], [2.0, -1.0]]), "bias": jnp.zeros(2)},
        "candidate": {"kernel": jnp.array([[1.0], [1.0]]), "bias": jnp.array([0.25])},
    }
    x, h = 0.5, -0.2
    reset, update = sigmoid(x + 2 * h), sigmoid(0.5 * x - h)
    candidate = np.tanh(x + reset * h + 0.25)
    expected = update * h + (1 - update) * candidate
    y = net.apply(params, jnp.array([[h]]), jnp.array([[x]]))
    np.testing.assert_allclose(y, [[expected]], rtol=1e-5)


def test_lstm_by_hand():
    """Kernel rows x, h; columns i, f, g, o."""
    kernel = np.array([[1.0, -1.0, 0.5, 2.0], [0.5, 1.0, -2.0, 1.0]], np.float32)
    bias = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    params = {"gates": {"kernel": jnp.array(kernel), "bias": jnp.array(bias)}}
    net = from_module(recurrent.Lstm(1))
    c, h, x = 0.7, -0.3, 0.5
    i, f, g, o = x * kernel[0] + h * kernel[1] + bias
    expected = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    one = lambda value: jnp.array([[value]])
    memory = net.apply(params, (one(c), one(h)), one(x))
    np.testing.assert_allclose(memory[0], [[expected]], rtol=1e-5)
    np.testing.assert_allclose(memory[1], [[sigmoid(o) * np.tanh(expected)]], rtol=1e-5)


def test_norm_gru_keeps_its_state_by_default():
    net = recurrent.norm_gru(3)
    h, x = jnp.array([[0.3, -0.5, 0.9]]), jnp.zeros((1, 2))
    params = net.init(jax.random.key(0), h, x)
    assert set(params["gates"]) == {"kernel", "scale", "shift"}
    joined = np.concatenate([h, x], -1) @ params["gates"]["kernel"]
    reset, candidate, update = np.split(
        layer_norm(joined, jnp.ones(9), jnp.zeros(9)), 3, -1
    )
    update = sigmoid(update - 1)
    expected = update * np.tanh(sigmoid(reset) * candidate) + (1 - update) * h
    np.testing.assert_allclose(net.apply(params, h, x), expected, rtol=1e-4)


def written_out(params, h, z, a, blocks):
    """`block_gru` block by block, the shared inputs repeated behind each slice."""
    silu = lambda x: x * sigmoid(x)

    def layer(name, x):
        y = x @ params[name]["kernel"] + params[name]["bias"]
        return silu(np.asarray(rms_norm(y, params[name]["scale"])))

    a = a / np.maximum(1, np.abs(a))
    shared = [layer("deter", h), layer("stoch", z), layer("action", a)]
    inputs = [np.concatenate([part, *shared], -1) for part in np.split(h, blocks, -1)]
    kernels = params["hidden0"]["kernel"]
    x = [x @ kernel for x, kernel in zip(inputs, kernels, strict=True)]
    x = np.concatenate(x, -1) + params["hidden0"]["bias"]
    x = silu(np.asarray(rms_norm(x, params["hidden0"]["scale"])))
    state = []
    for i, part in enumerate(np.split(x, blocks, -1)):
        bias = np.split(params["gates"]["bias"], blocks)[i]
        gates = part @ params["gates"]["kernel"][i] + bias
        reset, candidate, update = np.split(gates, 3, -1)
        update = sigmoid(update - 1)
        old = np.split(h, blocks, -1)[i]
        state.append(update * np.tanh(sigmoid(reset) * candidate) + (1 - update) * old)
    return np.concatenate(state, -1)


def test_block_gru_equals_its_definition_with_repeated_inputs():
    net = recurrent.block_gru(8, 4, blocks=2)
    keys = jax.random.split(jax.random.key(0), 5)
    h, z, a = (
        np.asarray(jax.random.normal(k, (3, n)))
        for k, n in zip(keys[:3], (8, 5, 2), strict=True)
    )
    params = net.init(keys[3], h, z, 3 * a)
    leaves, structure = jax.tree.flatten(params)
    draws = jax.random.split(keys[4], len(leaves))
    leaves = [
        x + 0.1 * jax.random.normal(k, x.shape)
        for x, k in zip(leaves, draws, strict=True)
    ]
    params = jax.tree.map(np.asarray, jax.tree.unflatten(structure, leaves))
    expected = written_out(params, h, z, 3 * a, blocks=2)
    np.testing.assert_allclose(net.apply(params, h, z, 3 * a), expected, atol=2e-6)


def test_the_state_keeps_its_type():
    net = recurrent.block_gru(4, 4, blocks=2, dtype="bfloat16")
    inputs = [jnp.ones((1, n)) for n in (4, 3, 2)]
    params = net.init(jax.random.key(0), *inputs)
    assert net.apply(params, *inputs).dtype == jnp.float32
    assert net.apply(params, inputs[0].astype(jnp.bfloat16), *inputs[1:]).dtype == (
        jnp.bfloat16
    )


@pytest.mark.parametrize(("deter", "layers"), [(12, 1), (16, 0)])
def test_impossible_sizes_are_refused(deter, layers):
    with pytest.raises(ValueError, match=r"blocks must divide|layers must be"):
        recurrent.block_gru(deter, 4, blocks=8, layers=layers)
