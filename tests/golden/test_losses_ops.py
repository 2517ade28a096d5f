"""Actor, critic and replay losses assembled from `wm.ops`, against the authors' code.

`losses_disc.npz` and `losses_cont.npz` were made by `danijar/dreamerv3` at e3f0224,
float32 on CPU: four successive imagination losses with the return scale carried, two
replay value losses, one bare λ-return.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.ops.distributions import Categorical, Normal
from wm.ops.normalizers import PercentileScale, PercentileState
from wm.ops.returns import lambda_return, replay_lambda_return
from wm.ops.transforms import symexp_two_hot
from wm.ops.trees import swap_time

DATA = pathlib.Path(__file__).parent / "data"
KINDS = ["disc", "cont"]
TWO_HOT = symexp_two_hot()
SCALE = PercentileScale()
sg = jax.lax.stop_gradient


@functools.cache
def golden(kind):
    with np.load(DATA / f"losses_{kind}.npz") as file:
        return dict(file)


def assert_close(actual, expected, tolerance):
    largest = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest)


def read(kind, prefix):
    data = golden(kind)
    return {k.removeprefix(prefix): v for k, v in data.items() if k.startswith(prefix)}


def make_policy(kind, heads):
    if kind == "disc":
        return Categorical(heads["policy_logits"])
    return Normal(heads["policy_mean"], heads["policy_stddev"])


@functools.partial(jax.jit, static_argnames="kind")
def imagination(kind, heads, data):
    """Batch-first `[N, H + 1]` inputs as stored; loss sum and everything compared."""
    data = {k: jnp.asarray(v) for k, v in data.items()}
    value, slow = TWO_HOT.mean(heads["value_logits"]), data["slowvalue_logits"]
    slow = TWO_HOT.mean(slow)
    weight = jnp.cumprod(data["con"], 1)
    time_first = swap_time((data["rew"], data["con"], value))
    ret = lambda_return(*(x[1:] for x in time_first), 0.95).swapaxes(0, 1)
    state = PercentileState(low=data["retnorm_lo"], high=data["retnorm_hi"])
    state = SCALE.update(state, ret)
    scale = SCALE.scale(state)
    advantage = (ret - value[:, :-1]) / scale
    policy = make_policy(kind, heads)
    log_prob = policy.log_prob(data["action"])[:, :-1]
    entropy = policy.entropy()[:, :-1]
    policy_loss = -sg(weight[:, :-1]) * (log_prob * sg(advantage) + 3e-4 * entropy)
    logits = heads["value_logits"][:, :-1]
    value_loss = TWO_HOT.loss(logits, ret) + TWO_HOT.loss(logits, slow[:, :-1])
    value_loss = sg(weight[:, :-1]) * value_loss
    out = {
        "value": value,
        "slowvalue": slow,
        "weight": weight,
        "ret": ret,
        "adv": advantage,
        "logpi": log_prob,
        "ent": entropy,
        "rscale": scale,
        "retnorm_lo": state.low,
        "retnorm_hi": state.high,
        "policy": policy_loss,
        "value_loss": value_loss,
    }
    return policy_loss.sum() + value_loss.sum(), out


def split(kind, call):
    data = read(kind, f"imag{call}/in/")
    names = [k for k in data if k.startswith("policy_")] + ["value_logits"]
    heads = {name: jnp.asarray(data.pop(name)) for name in names}
    return heads, data


@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_imagination_losses_match(kind, call):
    heads, data = split(kind, call)
    _, out = imagination(kind, heads, data)
    expected = read(kind, f"imag{call}/out/")
    for name, value in out.items():
        tolerance = 5e-6 if name in ("value", "slowvalue") else 1e-5
        assert_close(value, expected[name], tolerance)


@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_imagination_gradients_match(kind, call):
    heads, data = split(kind, call)
    gradient = jax.grad(lambda h: imagination(kind, h, data)[0])(heads)
    expected = read(kind, f"imag{call}/out/grad_")
    assert ("value_logits" in expected) == (call == 0)
    for name, value in expected.items():
        assert_close(gradient[name], value, 3e-5)


def test_return_scale_carried_over_calls_matches():
    state = SCALE.init()
    for call in range(4):
        out = read("disc", f"imag{call}/out/")
        state = SCALE.update(state, jnp.asarray(out["ret"]))
        assert_close(SCALE.scale(state), out["rscale"], 1e-5)


def replay(logits, data, horizon, lambda_):
    data = {k: jnp.asarray(v) for k, v in data.items()}
    names = ("rew", "last", "term", "boot")
    records = swap_time(tuple(data[name] for name in names))
    ret = replay_lambda_return(*records, 1 - 1 / horizon, lambda_).swapaxes(0, 1)
    logits = logits[:, :-1]
    slow = TWO_HOT.mean(data["slowvalue_logits"])[:, :-1]
    loss = TWO_HOT.loss(logits, ret) + TWO_HOT.loss(logits, slow)
    loss = (1 - data["last"][:, :-1]) * loss
    return loss.sum(), (ret, loss)


@pytest.mark.parametrize("call", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_replay_value_loss_matches(kind, call):
    data = read(kind, f"repl{call}/in/")
    logits = jnp.asarray(data.pop("value_logits"))
    constants = golden(kind)["const/horizon"], golden(kind)["const/lam"]
    grad = jax.jit(jax.grad(replay, has_aux=True))
    gradient, (ret, loss) = grad(logits, data, *constants)
    expected = read(kind, f"repl{call}/out/")
    assert_close(ret, expected["ret"], 1e-5)
    assert_close(loss, expected["repval"], 1e-5)
    if call == 0:
        assert_close(gradient, expected["grad_value_logits"], 3e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_bare_lambda_return_matches(kind):
    data = read(kind, "lambda/in/")
    names = ("rew", "last", "term", "boot")
    records = swap_time(tuple(jnp.asarray(data[name]) for name in names))
    ret = replay_lambda_return(*records, data["disc"], data["lam"])
    assert_close(ret.swapaxes(0, 1), golden(kind)["lambda/out/ret"], 1e-5)
