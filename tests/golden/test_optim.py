"""LaProp with clipping and warm-up against the authors' DreamerV3 code (`optim.npz`).

Six steps on given gradients by `danijar/dreamerv3` at e3f0224, float32 on CPU.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.optimizers import MomentumState, RmsState, agc, laprop

DATA = pathlib.Path(__file__).parent / "data" / "optim.npz"
STEPS = 6
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA) as file:
        return dict(file)


def tree(golden, prefix):
    return {
        key.removeprefix(prefix): jnp.asarray(value)
        for key, value in golden.items()
        if key.startswith(prefix)
    }


def assert_close(actual, golden, prefix):
    expected = tree(golden, prefix)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(
            actual[name], value, rtol=0, atol=TOLERANCE * scale, err_msg=prefix + name
        )


@functools.cache
def run():
    """Params, updates and states after every step."""
    with np.load(DATA) as file:
        golden = dict(file)
    optimizer = laprop(
        float(golden["const/lr"]), warmup_steps=int(golden["const/warmup"])
    )
    params = tree(golden, "param0/")
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    history = []
    for step in range(STEPS):
        grads = tree(golden, f"step{step}/grad/")
        updates, state = update(grads, state, params)
        params = {name: params[name] + updates[name] for name in params}
        history.append((params, updates, state))
    return history


@pytest.mark.parametrize("step", range(STEPS))
def test_laprop_matches(golden, step):
    params, updates, state = run()[step]
    rms = next(part for part in state if isinstance(part, RmsState))
    momentum = next(part for part in state if isinstance(part, MomentumState))
    assert_close(rms.nu, golden, f"step{step}/nu/")
    assert_close(momentum.mu, golden, f"step{step}/mu/")
    assert_close(updates, golden, f"step{step}/update/")
    assert_close(params, golden, f"step{step}/param/")


@pytest.mark.parametrize("step", [0, 5])
def test_clipped_gradients_match(golden, step):
    before = "param0/" if step == 0 else f"step{step - 1}/param/"
    grads = tree(golden, f"step{step}/grad/")
    clip = agc(0.3)
    clipped, _ = clip.update(grads, clip.init(None), tree(golden, before))
    assert_close(clipped, golden, f"step{step}/agc/")


def test_first_update_changes_nothing_but_counts():
    with np.load(DATA) as file:
        before = tree(dict(file), "param0/")
    params, updates, state = run()[0]
    assert all((update == 0).all() for update in updates.values())
    assert all((params[name] == before[name]).all() for name in before)
    assert state[1].count == 1
    assert (state[1].nu["a/kernel"] > 0).all()


def test_parameter_without_gradient_keeps_update_zero():
    for _, updates, _ in run():
        assert (updates["nograd/kernel"] == 0).all()
