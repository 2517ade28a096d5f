"""Nets are pure pairs of functions over plain dicts."""

import jax
import jax.numpy as jnp
import numpy as np

from wm.nets import mlp
from wm.nets.recurrent import block_gru


def test_params_are_plain_float32_dicts_whatever_the_compute_type():
    net = mlp.mlp(1, 4, out=2, dtype="bfloat16")
    params = net.init(jax.random.key(0), jnp.zeros((1, 3)))
    assert type(params) is dict
    assert type(params["layer0"]) is dict
    assert {x.dtype.name for x in jax.tree.leaves(params)} == {"float32"}
    assert net.apply(params, jnp.ones((1, 3))).dtype == jnp.float32


def test_init_reads_shapes_only():
    net = mlp.mlp(1, 4)
    shapes = jax.ShapeDtypeStruct((7, 3), jnp.float32)
    a = net.init(jax.random.key(0), shapes)
    b = net.init(jax.random.key(0), jnp.full((7, 3), jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_init_under_vmap_equals_a_loop():
    net = block_gru(8, 4, blocks=2)
    shapes = [jnp.zeros((1, n)) for n in (8, 3, 2)]
    keys = jax.random.split(jax.random.key(0), 2)
    together = jax.vmap(lambda key: net.init(key, *shapes))(keys)
    for i in range(2):
        alone = net.init(keys[i], *shapes)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[i], b, rtol=1e-6),
            together,
            alone,
        )
