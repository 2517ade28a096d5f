"""Members side by side."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.nets import ensemble


def test_members_are_independent_networks():
    net = ensemble.ensemble_mlp(3, 1, 8, 2)
    x = jax.random.normal(jax.random.key(0), (3, 5, 4))
    params = net.init(jax.random.key(1), x)
    out = net.apply(params, x)
    for member in range(3):
        one = jax.tree.map(lambda w, e=member: w[e], params)
        hidden = jax.nn.silu(x[member] @ one["layer0"]["kernel"])
        expected = hidden @ one["out"]["kernel"] + one["out"]["bias"]
        np.testing.assert_allclose(out[member], expected, rtol=1e-5, atol=1e-6)


def test_one_after_another_is_the_same(monkeypatch):
    net = ensemble.ensemble_mlp(3, 2, 8, 2)
    x = jax.random.normal(jax.random.key(0), (3, 6, 4))
    params = net.init(jax.random.key(1), x)
    loss = lambda params: jnp.square(net.apply(params, x)).sum()
    together = net.apply(params, x), jax.grad(loss)(params)
    monkeypatch.setattr(ensemble, "MANY", 6)
    apart = net.apply(params, x), jax.grad(loss)(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        together,
        apart,
    )
